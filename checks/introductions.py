"""What stands above the tables of the reference."""

from __future__ import annotations

from typing import Final

CLI: Final = """\
Data goes to stdout, talk to stderr. Exit code 0: done; 1: refused or failed; 2: a mistake in the command.
Every command that acts takes `--json`, and each `--help`. In a checkout, `python3 dev.py run api-factory …`
runs it."""

ERRORS: Final = """\
GraphQL carries the code in `extensions.code`, REST in `code` of `application/problem+json` (RFC 9457). A code
never changes. `retryAfter` in the extensions and the header `Retry-After`, both in seconds, stand wherever a
retry helps. The guard's refusals keep their status for every client; a wrong GraphQL document is 400, or 200
for clients that read plain `application/json` only.

`PAYMENT_REQUIRED` has `payUrl` in its extensions: the open invoice; once it is paid the keys work again."""

GRAPHQL: Final = """\
The whole schema with its applied directives: [schema.graphql](schema.graphql), here with the built-in actions
only; a running server shows its own at `/schema.graphql`. The directives printed are the ones enforced, in
one pass over the selected fields and before any resolver runs: see [the guard](../explanation/guard.md) and
[the directives](../explanation/directives.md).

## Requests

`POST /graphql` with `Content-Type: application/json` and one operation, or a query by `GET` with the same
names as parameters and an `Accept` that names `application/graphql-response+json` or `application/json`.
Batches, uploads and subscriptions are not served.

- `query`: the text of the document.
- `documentId`, in its place: an id of [the manifest](../how-to/use-persisted-documents.md), or `sha256:` and
  the hash of a document.
- `operationName`: which operation, when the document has several.
- `variables`: an object.
- `extensions.persistedQuery`: `{"version": 1, "sha256Hash": …}`, Apollo's automatic persisted queries.
- `extensions.cost`: `true` to be told [the cost](../explanation/limits.md#what-an-operation-costs) in the
  reply, `"dryRun"` to be told nothing else.

What is refused before it runs has `errors` and no `data`, at most five of them, each with `extensions.code`.
What the guard refuses has its own status for every client; a wrong document has 400, or 200 for a client that
accepts `application/json` only: [error codes](errors.md), and
[what a request meets](../explanation/graphql-hardening.md) on its way."""

METRICS: Final = """\
`GET /metrics`, in the Prometheus text format. With several workers every counter is the sum over all of them.
No label holds a key or an account, and no label takes its values from a client.
`api_factory_ledger_drift_units` appears after the first verification, which runs every ten minutes."""

REST: Final = """\
Each action also answers at `/api/v1/actions/{name}`; `/api/v1/openapi.json` describes it with its arguments.
A reply of an action is `{"data": …, "units": …, "requestId": …}`; a refusal is `application/problem+json`.
`/admin/` is reserved for the operator's pages, which are not there yet."""

SETTINGS: Final = """\
From the environment, from `.env` in the working directory, or from files of the same name in the folder that
`API_FACTORY_SECRETS_DIR` names. The environment wins. They are checked once, at the start; in production a
missing or weak secret stops it with one sentence that names the setting and the fix.

Without `REDIS_URL`, several workers of one machine count in an embedded Valkey.

Besides: `API_FACTORY_POSTGRES_BIN` names the folder of the PostgreSQL programs for the embedded server, and
`API_FACTORY_VENV` another place than `.venv` for `dev.py`."""
