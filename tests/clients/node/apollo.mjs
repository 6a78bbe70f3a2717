// Apollo Client does what its first argument says and prints what came of it, as one line of JSON.
import { createHash } from "node:crypto";
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from "@apollo/client/core";
import { ErrorLink } from "@apollo/client/link/error";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { mergeMap, timer } from "rxjs";
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

const sha256 = (text) => createHash("sha256").update(text).digest("hex");

// A refused operation goes out once more, after as many seconds as the server said.
const retryWhenAllowed = () =>
  new ErrorLink(({ error, operation, forward }) => {
    const refusal = CombinedGraphQLErrors.is(error) ? error.errors[0].extensions : {};
    if (refusal.code !== "RATE_LIMITED") return undefined;
    return timer(refusal.retryAfter * 1000).pipe(mergeMap(() => forward(operation)));
  });

function client(...links) {
  const http = new HttpLink({ uri: process.env.GRAPHQL_URL, fetch: recordingFetch, headers: keyHeaders });
  return new ApolloClient({ cache: new InMemoryCache(), link: ApolloLink.from([...links, http]) });
}

async function outcome(call) {
  try {
    return { data: (await call()).data };
  } catch (error) {
    if (!CombinedGraphQLErrors.is(error)) throw error;
    return { errors: error.errors.map(({ message, extensions }) => ({ message, ...extensions })) };
  }
}

const echo = (apollo, text, query = ECHO) => () =>
  apollo.query({ query, variables: { text }, fetchPolicy: "no-cache" });

const scenarios = {
  query: () => outcome(echo(client(), "from Apollo")),
  mutation: () =>
    outcome(() => client().mutate({ mutation: CREATE_KEY, variables: { input: { name: "from Apollo" } } })),
  retry: async () => {
    const apollo = client(retryWhenAllowed());
    return outcome(() => callUntilRefused(echo(apollo, "at last")));
  },
  persisted: async () => {
    const useGETForHashedQueries = process.argv[3] === "get";
    const persisted = () => client(new PersistedQueryLink({ sha256, useGETForHashedQueries }));
    const query = gql(newQuery());
    await outcome(echo(persisted(), "first", query));
    return outcome(echo(persisted(), "again", query));
  },
};

report(await scenarios[process.argv[2]]());
