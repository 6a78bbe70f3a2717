// Relay runs what relay-compiler made of relay/queries.js and prints what it keeps, as one line of JSON.
import { pathToFileURL } from "node:url";
import relay from "relay-runtime";
import { keyHeaders, recordingFetch, report } from "./requests.mjs";

const { Environment, Network, RecordSource, Store, fetchQuery } = relay;

// Relay sends requests as the application says; this is the one of its documentation.
async function send({ id, text }, variables) {
  const reply = await recordingFetch(process.env.GRAPHQL_URL, {
    method: "POST",
    headers: {
      ...keyHeaders,
      "content-type": "application/json",
      accept: "application/graphql-response+json",
    },
    // With a manifest relay-compiler leaves out the text.
    body: JSON.stringify(text ? { query: text, variables } : { documentId: id, variables }),
  });
  return reply.json();
}

const compiled = async (name) => (await import(pathToFileURL(`${process.argv[2]}/${name}.graphql.js`))).default;
const environment = new Environment({ network: Network.create(send), store: new Store(new RecordSource()) });
const run = async (name, variables) =>
  fetchQuery(environment, await compiled(name), variables, { fetchPolicy: "network-only" }).toPromise();

try {
  const { viewer } = await run("queriesKeysQuery", { first: 1 });
  await run("queriesKeysPageQuery", { first: 1 });
  await run("queriesViewerQuery", { id: viewer.id });
  const types = Object.values(environment.getStore().getSource().toJSON()).map(({ __typename }) => __typename);
  report({ types: [...new Set(types)].sort() });
} catch (error) {
  if (!error.source) throw error;
  report({ errors: error.source.errors.map(({ message, extensions }) => ({ message, ...extensions })) });
}
