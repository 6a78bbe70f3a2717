// Runs the audit of graphql-http and prints what it found, as one line of JSON.
import { auditServer } from "graphql-http";

const results = await auditServer({ url: process.env.GRAPHQL_URL });
console.log(JSON.stringify(results.map(({ id, name, status, reason }) => ({ id, name, status, reason }))));
