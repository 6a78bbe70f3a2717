// GraphQL Yoga on Node's HTTP server.
"use strict";

const { createServer } = require("node:http");
const { createSchema, createYoga } = require("graphql-yoga");
const { admit } = require("./guard");
const { typeDefs, resolvers } = require("./schema");

const guard = {
  onRequest({ request, endResponse, fetchAPI }) {
    const { status } = admit(request.headers.get("authorization"));
    if (status === 200) return;
    endResponse(new fetchAPI.Response('{"errors":[{"message":"refused"}]}', { status }));
  },
};

const yoga = createYoga({
  schema: createSchema({ typeDefs, resolvers }),
  plugins: [guard],
  logging: false,
  graphiql: false,
  landingPage: false,
});
createServer(yoga).listen(Number(process.env.PORT), "127.0.0.1");
