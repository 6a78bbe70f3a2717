// What relay-compiler compiles: a query, a refetchable fragment and a connection of our schema.
import { graphql } from "relay-runtime";

export const keys = graphql`
  query queriesKeysQuery($first: Int!) {
    viewer {
      id
      ...queriesViewer
    }
    ...queriesKeys @arguments(first: $first)
  }
`;

export const page = graphql`
  fragment queriesKeys on Query
  @refetchable(queryName: "queriesKeysPageQuery")
  @argumentDefinitions(first: { type: "Int!" }, after: { type: "String" }) {
    apiKeys(first: $first, after: $after) @connection(key: "queries_apiKeys") {
      edges {
        node {
          id
          name
          status
        }
      }
    }
  }
`;

export const viewer = graphql`
  fragment queriesViewer on Viewer @refetchable(queryName: "queriesViewerQuery") {
    name
    plan {
      name
    }
  }
`;
