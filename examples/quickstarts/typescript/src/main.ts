// Calls an API-Factory with urql: a paid call, what is left of the quota, and a refusal.
import { Client, type CombinedError, fetchExchange, makeOperation } from "@urql/core";
import { retryExchange } from "@urql/exchange-retry";
import { graphql } from "./gql/index.js";

const Echo = graphql(`
  query Echo($text: String!) {
    echo(text: $text)
  }
`);
const Quota = graphql(`
  query Quota {
    viewer {
      quota {
        used
        included
      }
    }
  }
`);

/** The code of a refusal, and what else is said for programs to read. */
function reasonOf(error: CombinedError): { code?: string; retryAfter?: number } {
  return error.graphQLErrors[0]?.extensions ?? {};
}

/** Sends an operation that met a rate limit once more, no sooner than the server said. */
const waitWhenTold = retryExchange({
  maxDelayMs: 60_000,
  maxNumberAttempts: 3,
  retryWith: (error, operation) => {
    const { code, retryAfter = 0 } = reasonOf(error);
    if (code !== "RATE_LIMITED") return null;
    const retry = { count: 0, ...operation.context.retry, delay: retryAfter * 1000 };
    return makeOperation(operation.kind, operation, { ...operation.context, retry });
  },
});

function clientFor(key?: string): Client {
  return new Client({
    url: `${process.env.API_URL ?? "http://127.0.0.1:8000"}/graphql`,
    preferGetMethod: false,
    fetchOptions: { headers: key ? { Authorization: `Bearer ${key}` } : {} },
    exchanges: [waitWhenTold, fetchExchange],
  });
}

const key = process.env.API_KEY;
if (!key) throw new Error("Put an API key into API_KEY; `python3 dev.py demo` prints one.");

const client = clientFor(key);
const answer = await client.query(Echo, { text: "Hello from TypeScript" });
if (answer.error) throw answer.error;
console.log(answer.data?.echo);

const standing = await client.query(Quota, {});
if (standing.error) throw standing.error;
const quota = standing.data?.viewer.quota;
console.log(`${quota?.used} of ${quota?.included ?? "unlimited"} units used`);

const refused = await clientFor().query(Echo, { text: "Let me in" });
if (refused.error) console.log(`Refused without a key: ${reasonOf(refused.error).code}`);
