// Apollo Server on its own HTTP server.
"use strict";

const { ApolloServer } = require("@apollo/server");
const { startStandaloneServer } = require("@apollo/server/standalone");
const { GraphQLError } = require("graphql");
const { admit } = require("./guard");
const { typeDefs, resolvers } = require("./schema");

async function context({ req }) {
  const { status, owner } = admit(req.headers.authorization);
  if (status !== 200) throw new GraphQLError("refused", { extensions: { http: { status } } });
  return { owner };
}

startStandaloneServer(new ApolloServer({ typeDefs, resolvers, introspection: false }), {
  listen: { port: Number(process.env.PORT), host: "127.0.0.1" },
  context,
});
