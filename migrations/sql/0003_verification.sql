-- What the last verifications found, for every worker's gauge: a row for the periods that began lately and
-- one for all of them.
CREATE TABLE verification (
    scope text PRIMARY KEY CHECK (scope IN ('recent', 'all')),
    at timestamptz NOT NULL,
    seconds double precision NOT NULL,
    drift bigint NOT NULL,
    counters bigint NOT NULL,
    calls bigint NOT NULL
);

-- From when on events are kept; no row: all of them. Periods that began earlier keep their balances, which
-- cannot be recomputed any more.
CREATE TABLE usage_retained (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    since timestamptz NOT NULL
);

-- Drops the months that ended before the last `months` whole ones; returns how many partitions that were.
-- The parent is locked against the ledger meanwhile: call it under a short lock_timeout.
CREATE FUNCTION usage_drop_partitions(months integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    first_kept timestamp := date_trunc('month', af_now() AT TIME ZONE 'UTC') - make_interval(months => months);
    partition_name text;
    dropped integer := 0;
BEGIN
    IF months < 2 THEN
        RAISE EXCEPTION 'events of the present period and the one before it have to be kept';
    END IF;
    PERFORM pg_advisory_xact_lock(1634101619);
    FOR partition_name IN
        SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
        WHERE inhparent = 'usage_event'::regclass AND relname ~ '^usage_event_\d{4}_\d{2}$'
          AND to_date(right(relname, 7), 'YYYY_MM') < first_kept
        ORDER BY relname
    LOOP
        EXECUTE format('DROP TABLE %I', partition_name);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM usage_event_default WHERE at < first_kept AT TIME ZONE 'UTC';
    IF dropped > 0 OR FOUND THEN
        INSERT INTO usage_retained (since) VALUES (first_kept AT TIME ZONE 'UTC')
        ON CONFLICT (id) DO UPDATE SET since = greatest(usage_retained.since, excluded.since);
    END IF;
    RETURN dropped;
END $$;
