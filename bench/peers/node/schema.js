// The schema that every Node peer serves.
"use strict";

const ITEMS = Array.from({ length: 50 }, (_, number) => ({
  id: number,
  name: `item ${number}`,
  price: number + 0.25,
  quantity: number % 7,
  active: number % 2 === 0,
}));

const typeDefs = `
type Mirrored { text: String! number: Int! tags: [String!]! }
type Item { id: Int! name: String! price: Float! quantity: Int! active: Boolean! }
type Query {
  ping: String!
  mirror(text: String!, number: Int!, tags: [String!]!): Mirrored!
  items(count: Int! = 50): [Item!]!
}`;

const resolvers = {
  Query: {
    ping: async () => "pong",
    mirror: async (_source, asked) => asked,
    items: async (_source, { count }) => ITEMS.slice(0, count),
  },
};

module.exports = { typeDefs, resolvers };
