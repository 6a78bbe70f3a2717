import type { CodegenConfig } from "@graphql-codegen/cli";

// The server hands its schema to everybody as a file, so this needs no key.
const server = process.env.API_URL ?? "http://127.0.0.1:8000";

const config: CodegenConfig = {
  schema: `${server}/schema.graphql`,
  documents: "src/**/*.ts",
  generates: { "src/gql/": { preset: "client", presetConfig: { fragmentMasking: false } } },
  emitLegacyCommonJSImports: false,
  config: {
    useTypeImports: true,
    enumsAsTypes: true,
    defaultScalarType: "unknown",
    scalars: { BigInt: "number", DateTime: "string" },
  },
};

export default config;
