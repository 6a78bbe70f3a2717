DROP FUNCTION ledger_commit_once(text[], uuid[], uuid[], uuid[], boolean[], bigint[], bigint[], timestamptz[], bigint[], text[], uuid, integer[], text[], bigint[], integer[], integer[], text[], uuid[], smallint[], text[], text[], bytea[]);
DROP FUNCTION idempotency_begin(uuid, text, uuid, bytea, uuid, uuid, text, bigint, bigint, interval, interval);
DROP TABLE idempotency;
