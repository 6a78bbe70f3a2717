// Mercurius on Fastify. JIT=1 compiles an operation at its first execution; USAGE=1 writes each call to PostgreSQL
// before it is answered, as somebody would who bills by it.
"use strict";

const Fastify = require("fastify");
const mercurius = require("mercurius");
const { Pool } = require("pg");
const { admit } = require("./guard");
const { typeDefs, resolvers } = require("./schema");

const COUNT_CALL = {
  name: "count-call",
  text: `INSERT INTO bench_usage (owner, month, action, calls) VALUES ($1, date_trunc('month', now()), $2, 1)
    ON CONFLICT (owner, month, action) DO UPDATE SET calls = bench_usage.calls + 1`,
};

// The address of the database comes in the PG* variables.
const pool = process.env.USAGE === "1" ? new Pool({ max: 8 }) : undefined;
const app = Fastify({ logger: false });

app.addHook("onRequest", async (request, reply) => {
  const { status, owner } = admit(request.headers.authorization);
  if (status !== 200) return reply.code(status).send({ errors: [{ message: "refused" }] });
  if (pool !== undefined) await pool.query({ ...COUNT_CALL, values: [owner, "mirror"] });
});
app.register(mercurius, { schema: typeDefs, resolvers, jit: Number(process.env.JIT || 0) });
app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
