// urql does what its first argument says and prints what came of it, as one line of JSON.
import { Client, fetchExchange, gql, makeOperation } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";
import { retryExchange } from "@urql/exchange-retry";
import { callUntilRefused, keyHeaders, newQuery, recordingFetch, report } from "./requests.mjs";

const ECHO = gql`
  query Echo($text: String!) {
    echo(text: $text)
  }
`;
const CREATE_KEY = gql`
  mutation CreateKey($input: CreateKeyInput!) {
    createKey(input: $input) {
      apiKey {
        name
      }
      userErrors {
        code
      }
    }
  }
`;

// A refused operation goes out again, no sooner than the server said: the exchange waits 1.5 to 2.5 times
// the delay that it finds.
const retryWhenAllowed = retryExchange({
  maxDelayMs: 60_000,
  retryWith: (error, operation) => {
    const refusal = error.graphQLErrors[0]?.extensions ?? {};
    if (refusal.code !== "RATE_LIMITED") return null;
    const retry = { count: 0, ...operation.context.retry, delay: refusal.retryAfter * 1000 };
    return makeOperation(operation.kind, operation, { ...operation.context, retry });
  },
});

const client = (options, ...exchanges) =>
  new Client({
    url: process.env.GRAPHQL_URL,
    fetch: recordingFetch,
    fetchOptions: { headers: keyHeaders },
    exchanges: [...exchanges, fetchExchange],
    ...options,
  });

function outcome({ data, error }) {
  if (!error) return { data };
  if (error.networkError) throw error.networkError;
  return { errors: error.graphQLErrors.map(({ message, extensions }) => ({ message, ...extensions })) };
}

const echo = (urql, text, query = ECHO) => () =>
  urql.query(query, { text }, { requestPolicy: "network-only" }).toPromise();

const scenarios = {
  query: () => echo(client({ preferGetMethod: process.argv[3] === "get" }), "from urql")(),
  mutation: () => client({}).mutation(CREATE_KEY, { input: { name: "from urql" } }).toPromise(),
  retry: () => callUntilRefused(echo(client({ preferGetMethod: false }, retryWhenAllowed), "at last")),
  persisted: async () => {
    const preferGetForPersistedQueries = process.argv[3] === "get";
    const persisted = () =>
      client({ preferGetMethod: false }, persistedExchange({ preferGetForPersistedQueries }));
    const query = gql(newQuery());
    await echo(persisted(), "first", query)();
    return echo(persisted(), "again", query)();
  },
};

report(outcome(await scenarios[process.argv[2]]()));
