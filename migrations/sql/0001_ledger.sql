-- The ledger: quota counters, usage events, reservations, workers, and the one function that moves them.
--
-- Order of locks, everywhere: the plans' mutex, then the accounts' (advisory, shared here, exclusive for
-- the control plane), account rows of `quota` by primary key, key rows of `quota` by primary key, then reservations.

-- Every "now" of the control plane and of the ledger. One name, so that a test can move time.
CREATE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

INSERT INTO change_epoch (id, epoch) VALUES (1, 0);
CREATE INDEX api_key_by_account ON api_key (account, id);
CREATE INDEX plan_by_epoch ON plan (epoch);
CREATE INDEX audit_entry_by_time ON audit_entry (at);

-- One row an account, kind of key and period; one more a key that has a cap of its own. The period is
-- part of the primary key, so nothing is ever reset. `key_id` is the nil UUID in an account's row.
CREATE TABLE quota (
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    livemode boolean NOT NULL,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    hard_limit bigint,
    used bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0,
    overdrawn boolean NOT NULL DEFAULT false,
    PRIMARY KEY (account_id, key_id, livemode, period_start),
    CONSTRAINT quota_used_not_negative CHECK (used >= 0),
    CONSTRAINT quota_reserved_not_negative CHECK (reserved >= 0),
    -- The last wall. `overdrawn` is true only of a row that stands above a lowered limit and did not grow.
    CONSTRAINT quota_never_exceeded CHECK (hard_limit IS NULL OR used + reserved <= hard_limit OR overdrawn)
) WITH (fillfactor = 50);

-- What was charged: a row an action, key and batch; the calls themselves in the two arrays.
CREATE TABLE usage_event (
    at timestamptz NOT NULL,
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    livemode boolean NOT NULL,
    period_start timestamptz NOT NULL,
    action text NOT NULL,
    units bigint NOT NULL,
    calls integer NOT NULL,
    errors integer NOT NULL,
    request_ids text[] NOT NULL,
    request_units bigint[] NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX usage_event_by_account ON usage_event (account_id, at);
-- Catches what falls outside the months made ahead, so that a charge can never fail for want of one.
CREATE TABLE usage_event_default PARTITION OF usage_event DEFAULT;

CREATE TABLE worker (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL
);

CREATE TABLE reservation (
    id uuid PRIMARY KEY,
    worker_id uuid NOT NULL,
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    livemode boolean NOT NULL,
    period_start timestamptz NOT NULL,
    is_capped boolean NOT NULL,
    units bigint NOT NULL CHECK (units >= 0),
    state text NOT NULL CHECK (state IN ('open', 'settled', 'released', 'voided')),
    request_id text NOT NULL,
    created_at timestamptz NOT NULL,
    closed_at timestamptz
);
CREATE INDEX reservation_open ON reservation (worker_id) WHERE state = 'open';
CREATE INDEX reservation_closed ON reservation (closed_at) WHERE state <> 'open';

-- Months counted from the anchor in UTC: from the 31st they begin on the last day of shorter months.
CREATE FUNCTION af_period(anchor timestamptz, moment timestamptz, OUT starts timestamptz, OUT ends timestamptz)
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    a timestamp := anchor AT TIME ZONE 'UTC';
    m timestamp := moment AT TIME ZONE 'UTC';
    months integer := (extract(year FROM m) - extract(year FROM a)) * 12 + extract(month FROM m) - extract(month FROM a);
BEGIN
    IF a + make_interval(months => months) > m THEN
        months := months - 1;
    END IF;
    starts := (a + make_interval(months => months)) AT TIME ZONE 'UTC';
    ends := (a + make_interval(months => months + 1)) AT TIME ZONE 'UTC';
END $$;

-- Makes the partitions of this month and of those ahead; returns how many were missing.
CREATE FUNCTION usage_make_partitions(months_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    first_day timestamp := date_trunc('month', af_now() AT TIME ZONE 'UTC');
    lower_bound timestamptz;
    upper_bound timestamptz;
    partition_name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(1634101619);
    FOR n IN 0..months_ahead LOOP
        lower_bound := (first_day + make_interval(months => n)) AT TIME ZONE 'UTC';
        upper_bound := (first_day + make_interval(months => n + 1)) AT TIME ZONE 'UTC';
        partition_name := 'usage_event_' || to_char(first_day + make_interval(months => n), 'YYYY_MM');
        CONTINUE WHEN to_regclass(partition_name) IS NOT NULL;
        -- Rows that fell into the default partition would keep this month's from being attached.
        EXECUTE format('CREATE TABLE %I (LIKE usage_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition_name);
        EXECUTE format(
            'WITH moved AS (DELETE FROM usage_event_default WHERE at >= %L AND at < %L RETURNING *) '
            'INSERT INTO %I SELECT * FROM moved', lower_bound, upper_bound, partition_name);
        EXECUTE format(
            'ALTER TABLE usage_event ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            partition_name, lower_bound, upper_bound);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- One batch of the ledger in the order of arrival: charges ('c'), reservations ('r'), their settlements
-- ('s') and releases ('f', whatever became of the key). Item i is the i-th element of every p_ array; a line
-- belongs to item p_line_item.
--
-- An item is admitted only if used + reserved + units <= limit under the lock of the rows that move.
-- A refused item leaves no trace on any counter. The verdicts:
--   ok · quota · cap (the key's own) · unknown · revoked · expired · suspended · account_suspended ·
--   stale (what the caller's decision rests on has changed: read again and come back) · released ·
--   fenced (the reservation is not open any more) · no_worker (the worker has been given up: register anew)
CREATE FUNCTION ledger_commit(
    p_kind text[], p_id uuid[], p_account uuid[], p_key uuid[], p_livemode boolean[],
    p_key_epoch bigint[], p_account_epoch bigint[], p_not_after timestamptz[],
    p_units bigint[], p_request text[], p_worker uuid,
    p_line_item integer[], p_line_action text[], p_line_units bigint[], p_line_errors integer[]
) RETURNS TABLE (
    verdict text, quota_limit bigint, used bigint, reserved bigint,
    is_hard boolean, key_limit bigint, key_used bigint, period_start timestamptz, period_end timestamptz, reset_seconds double precision
) LANGUAGE plpgsql
-- Planned once a connection, and for tables of any size: planning costs more than running, and a plan made
-- while the tables were empty must not scan them when they are full. Every row is found by its primary key.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    nil constant uuid := '00000000-0000-0000-0000-000000000000';
    n constant integer := coalesce(array_length(p_kind, 1), 0);
    reserves constant boolean := 'r' = ANY (p_kind);
    closes constant boolean := p_kind && ARRAY['s', 'f'];
    now_at timestamptz;
    -- an element an item
    v text[]; starts timestamptz[]; ends timestamptz[]; included bigint[]; hard bigint[]; cap bigint[]; held bigint[];
    account_row integer[] := array_fill(NULL::integer, ARRAY[n]); key_row integer[] := account_row;
    -- an element a locked row
    row_item integer[]; row_key uuid[]; row_used bigint[]; row_reserved bigint[]; row_limit bigint[];
    row_changed boolean[];
    missing boolean; capped boolean; open_ids uuid[]; worker_lives boolean;
    r record; i integer; a integer; k integer; rows integer := 0; moved boolean := false;
BEGIN
    IF n = 0 THEN RETURN; END IF;

    -- Plans first, then accounts in the order of their hashes: whoever changes them locks the same.
    PERFORM pg_advisory_xact_lock_shared(1634102384);
    PERFORM pg_advisory_xact_lock_shared(mutex)
    FROM (SELECT hashtextextended(t::text, 0) AS mutex FROM unnest(p_account) AS t ORDER BY 1) AS mutexes;
    now_at := af_now();

    -- What holds now. The snapshot of this statement is newer than the mutex, so a change that has
    -- returned to its caller is seen here, and one that has not waits until this batch has committed.
    SELECT array_agg(s.verdict), array_agg(s.starts), array_agg(s.ends), array_agg(s.included), array_agg(s.hard),
           array_agg(s.cap), array_agg(s.held), bool_or(s.cap IS NOT NULL),
           bool_or(s.verdict = 'ok' AND (
               NOT EXISTS (SELECT FROM quota WHERE quota.account_id = s.account_id AND quota.key_id = nil
                                               AND quota.livemode = s.livemode AND quota.period_start = s.starts)
               OR s.cap IS NOT NULL
               AND NOT EXISTS (SELECT FROM quota WHERE quota.account_id = s.account_id AND quota.key_id = s.key_id
                                                   AND quota.livemode = s.livemode AND quota.period_start = s.starts)))
    INTO v, starts, ends, included, hard, cap, held, capped, missing
    FROM (
        SELECT item.account_id, item.key_id, item.livemode,
               CASE WHEN key.id IS NULL OR account.id IS NULL THEN 'unknown'
                    WHEN item.kind IN ('s', 'f') AND reservation.id IS NULL THEN 'fenced'
                    WHEN key.status = 'REVOKED' THEN 'revoked'
                    WHEN key.expires_at <= now_at THEN 'expired'
                    WHEN item.not_after <= now_at THEN 'expired'
                    WHEN key.status = 'SUSPENDED' THEN 'suspended'
                    WHEN account.status <> 'ACTIVE' THEN 'account_suspended'
                    WHEN key.epoch <> item.key_epoch
                      OR greatest(account.epoch, plan.epoch) <> item.account_epoch THEN 'stale'
                    ELSE 'ok' END AS verdict,
               -- A reservation is closed in the period in which it was made.
               coalesce(reservation.period_start, period.starts) AS starts, period.ends,
               CASE WHEN item.livemode THEN coalesce(account.quota_units, plan.quota_units)
                    ELSE plan.test_quota_units END AS included,
               CASE WHEN NOT item.livemode THEN plan.test_quota_units
                    WHEN plan.overage = 'soft' THEN NULL
                    ELSE coalesce(account.quota_units, plan.quota_units) END AS hard,
               CASE WHEN reservation.id IS NULL OR reservation.is_capped THEN key.cap_units END AS cap,
               coalesce(reservation.units, 0) AS held
        FROM unnest(p_kind, p_id, p_account, p_key, p_livemode, p_key_epoch, p_account_epoch, p_not_after)
             WITH ORDINALITY AS item (kind, id, account_id, key_id, livemode, key_epoch, account_epoch, not_after, i)
        LEFT JOIN api_key AS key ON key.id = item.key_id AND key.account = item.account_id
                                AND key.livemode = item.livemode
        LEFT JOIN account ON account.id = item.account_id
        LEFT JOIN plan ON plan.slug = account.plan
        LEFT JOIN reservation ON closes AND item.kind IN ('s', 'f') AND reservation.id = item.id
                             AND reservation.key_id = item.key_id
        LEFT JOIN LATERAL af_period(account.period_anchor, coalesce(reservation.period_start, now_at)) AS period ON true
        ORDER BY item.i
    ) AS s;

    -- Rows that are not there yet, once a period.
    IF missing THEN
        INSERT INTO quota (account_id, key_id, livemode, period_start, period_end, hard_limit)
        SELECT t.account_id, nil, t.livemode, t.starts, t.ends, t.hard
        FROM unnest(p_account, p_livemode, starts, ends, hard, v) AS t (account_id, livemode, starts, ends, hard, v)
        WHERE t.v = 'ok'
        UNION
        SELECT t.account_id, t.key_id, t.livemode, t.starts, t.ends, t.cap
        FROM unnest(p_account, p_key, p_livemode, starts, ends, cap, v)
             AS t (account_id, key_id, livemode, starts, ends, cap, v)
        WHERE t.v = 'ok' AND t.cap IS NOT NULL
        ORDER BY 1, 2, 3, 4
        ON CONFLICT DO NOTHING;
    END IF;

    -- Locks the rows in the one order, accounts before keys, and numbers them as it goes: LATERAL visits them
    -- one by one in the order of the inner query.
    FOR r IN
        SELECT w.items, quota.used, quota.reserved
        FROM (SELECT t.account_id, t.livemode, t.starts, array_agg(t.i::integer) AS items
              FROM unnest(p_account, p_livemode, starts) WITH ORDINALITY AS t (account_id, livemode, starts, i)
              GROUP BY 1, 2, 3 ORDER BY 1, 2, 3) AS w
        CROSS JOIN LATERAL (
            SELECT quota.used, quota.reserved FROM quota
            WHERE quota.account_id = w.account_id AND quota.key_id = nil AND quota.livemode = w.livemode
              AND quota.period_start = w.starts FOR NO KEY UPDATE) AS quota
    LOOP
        rows := rows + 1;
        row_item[rows] := r.items[1]; row_key[rows] := nil; row_used[rows] := r.used; row_reserved[rows] := r.reserved;
        FOREACH i IN ARRAY r.items LOOP account_row[i] := rows; END LOOP;
    END LOOP;
    IF capped THEN
        FOR r IN
            SELECT w.items, quota.used, quota.reserved
            FROM (SELECT t.account_id, t.key_id, t.livemode, t.starts, array_agg(t.i::integer) AS items
                  FROM unnest(p_account, p_key, p_livemode, starts, cap)
                       WITH ORDINALITY AS t (account_id, key_id, livemode, starts, cap, i)
                  WHERE t.cap IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4) AS w
            CROSS JOIN LATERAL (
                SELECT quota.used, quota.reserved FROM quota
                WHERE quota.account_id = w.account_id AND quota.key_id = w.key_id AND quota.livemode = w.livemode
                  AND quota.period_start = w.starts FOR NO KEY UPDATE) AS quota
        LOOP
            rows := rows + 1;
            row_item[rows] := r.items[1]; row_key[rows] := p_key[r.items[1]];
            row_used[rows] := r.used; row_reserved[rows] := r.reserved;
            FOREACH i IN ARRAY r.items LOOP key_row[i] := rows; END LOOP;
        END LOOP;
    END IF;

    -- Whoever closes a reservation holds these row locks, so its state is final from here on.
    IF closes THEN
        open_ids := ARRAY(SELECT id FROM reservation
                          WHERE id = ANY (p_id) AND state = 'open' AND worker_id = p_worker);
    END IF;
    IF reserves THEN
        worker_lives := EXISTS (SELECT FROM worker WHERE id = p_worker);
    END IF;

    row_limit := array_fill(NULL::bigint, ARRAY[rows]); row_changed := array_fill(false, ARRAY[rows]);
    FOR i IN 1..n LOOP
        a := account_row[i]; k := key_row[i];
        IF a IS NOT NULL THEN row_limit[a] := hard[i]; END IF;
        IF k IS NOT NULL THEN row_limit[k] := cap[i]; END IF;
        moved := false;
        IF p_kind[i] IN ('s', 'f') THEN
            IF v[i] = 'fenced' OR NOT p_id[i] = ANY (open_ids) THEN
                v[i] := 'fenced';
            ELSE
                IF p_kind[i] = 'f' THEN v[i] := 'released'; END IF;
                -- A stale settlement stays open: its caller reads again and comes back.
                IF v[i] <> 'stale' THEN
                    open_ids := array_remove(open_ids, p_id[i]);
                    moved := true;
                    row_reserved[a] := row_reserved[a] - held[i];
                    IF k IS NOT NULL THEN row_reserved[k] := row_reserved[k] - held[i]; END IF;
                END IF;
                IF v[i] = 'ok' THEN
                    IF p_units[i] > held[i] THEN
                        RAISE EXCEPTION 'a settlement of % units exceeds the % reserved', p_units[i], held[i];
                    END IF;
                    row_used[a] := row_used[a] + p_units[i];
                    IF k IS NOT NULL THEN row_used[k] := row_used[k] + p_units[i]; END IF;
                END IF;
            END IF;
        ELSIF v[i] <> 'ok' THEN
            NULL;
        ELSIF p_kind[i] = 'r' AND NOT worker_lives THEN
            v[i] := 'no_worker';
        ELSIF p_units[i] > 0 THEN
            IF row_used[a] + row_reserved[a] + p_units[i] > hard[i] THEN
                v[i] := 'quota';
            ELSIF k IS NOT NULL AND row_used[k] + row_reserved[k] + p_units[i] > cap[i] THEN
                v[i] := 'cap';
            ELSIF p_kind[i] = 'r' THEN
                moved := true;
                row_reserved[a] := row_reserved[a] + p_units[i];
                IF k IS NOT NULL THEN row_reserved[k] := row_reserved[k] + p_units[i]; END IF;
            ELSE
                moved := true;
                row_used[a] := row_used[a] + p_units[i];
                IF k IS NOT NULL THEN row_used[k] := row_used[k] + p_units[i]; END IF;
            END IF;
        END IF;
        IF moved THEN
            row_changed[a] := true;
            IF k IS NOT NULL THEN row_changed[k] := true; END IF;
        END IF;
        verdict := v[i]; quota_limit := included[i]; period_start := starts[i]; period_end := ends[i];
        used := coalesce(row_used[a], 0); reserved := coalesce(row_reserved[a], 0);
        is_hard := hard[i] IS NOT NULL; key_limit := cap[i]; key_used := coalesce(row_used[k] + row_reserved[k], 0);
        reset_seconds := greatest(0, extract(epoch FROM ends[i] - now_at));
        RETURN NEXT;
    END LOOP;

    UPDATE quota SET used = m.used, reserved = m.reserved, hard_limit = m.hard,
                     overdrawn = coalesce(m.used + m.reserved > m.hard
                                          AND m.used + m.reserved <= quota.used + quota.reserved, false)
    FROM unnest(row_item, row_key, row_used, row_reserved, row_limit, row_changed)
         AS m (item, key_id, used, reserved, hard, changed)
    WHERE m.changed AND quota.account_id = p_account[m.item] AND quota.key_id = m.key_id
      AND quota.livemode = p_livemode[m.item] AND quota.period_start = starts[m.item];

    INSERT INTO usage_event (at, account_id, key_id, livemode, period_start, action, units, calls, errors,
                             request_ids, request_units)
    SELECT now_at, p_account[line.item], p_key[line.item], p_livemode[line.item], starts[line.item], line.action,
           sum(line.units), count(*), sum(line.errors), array_agg(p_request[line.item]), array_agg(line.units)
    FROM unnest(p_line_item, p_line_action, p_line_units, p_line_errors) AS line (item, action, units, errors)
    WHERE v[line.item] = 'ok' AND p_kind[line.item] IN ('c', 's')
    GROUP BY 2, 3, 4, 5, 6;

    IF reserves THEN
        INSERT INTO reservation (id, worker_id, account_id, key_id, livemode, period_start, is_capped, units, state,
                                 request_id, created_at)
        SELECT item.id, p_worker, item.account_id, item.key_id, item.livemode, item.starts, item.cap IS NOT NULL,
               item.units, 'open', item.request, now_at
        FROM unnest(p_kind, p_id, p_account, p_key, p_livemode, starts, cap, p_units, p_request, v)
             AS item (kind, id, account_id, key_id, livemode, starts, cap, units, request, v)
        WHERE item.kind = 'r' AND item.v = 'ok';
    END IF;
    IF closes THEN
        UPDATE reservation SET state = CASE WHEN item.v = 'ok' THEN 'settled' ELSE 'released' END, closed_at = now_at
        FROM unnest(p_kind, p_id, v) AS item (kind, id, v)
        WHERE item.kind IN ('s', 'f') AND item.v NOT IN ('fenced', 'stale') AND reservation.id = item.id;
    END IF;
END $$;

-- Gives back what workers held that have not been heard of for the lease; returns the reservations voided.
CREATE FUNCTION ledger_reap(lease interval) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    nil constant uuid := '00000000-0000-0000-0000-000000000000';
    voided integer;
BEGIN
    DELETE FROM worker WHERE heartbeat_at < af_now() - lease;
    IF NOT EXISTS (SELECT FROM reservation WHERE state = 'open'
                   AND NOT EXISTS (SELECT FROM worker WHERE worker.id = reservation.worker_id)) THEN
        RETURN 0;
    END IF;
    PERFORM FROM quota JOIN (
        SELECT DISTINCT account_id, livemode, period_start FROM reservation AS r
        WHERE r.state = 'open' AND NOT EXISTS (SELECT FROM worker WHERE worker.id = r.worker_id)) AS w
        ON quota.account_id = w.account_id AND quota.key_id = nil AND quota.livemode = w.livemode
       AND quota.period_start = w.period_start
    ORDER BY quota.account_id, quota.livemode, quota.period_start FOR NO KEY UPDATE OF quota;
    PERFORM FROM quota JOIN (
        SELECT DISTINCT account_id, key_id, livemode, period_start FROM reservation AS r
        WHERE r.state = 'open' AND r.is_capped
          AND NOT EXISTS (SELECT FROM worker WHERE worker.id = r.worker_id)) AS w
        USING (account_id, key_id, livemode, period_start)
    ORDER BY quota.account_id, quota.key_id, quota.livemode, quota.period_start FOR NO KEY UPDATE OF quota;
    WITH dead AS (
        UPDATE reservation SET state = 'voided', closed_at = af_now()
        WHERE state = 'open' AND NOT EXISTS (SELECT FROM worker WHERE worker.id = reservation.worker_id)
        RETURNING account_id, key_id, livemode, period_start, is_capped, units
    ), given_back AS (
        UPDATE quota SET reserved = quota.reserved - sums.units
        FROM (SELECT account_id, nil AS key_id, livemode, period_start, sum(units) AS units FROM dead GROUP BY 1, 3, 4
              UNION ALL
              SELECT account_id, key_id, livemode, period_start, sum(units) FROM dead WHERE is_capped
              GROUP BY 1, 2, 3, 4) AS sums
        WHERE quota.account_id = sums.account_id AND quota.key_id = sums.key_id
          AND quota.livemode = sums.livemode AND quota.period_start = sums.period_start
        RETURNING 1
    )
    SELECT count(*) INTO voided FROM dead;
    RETURN voided;
END $$;

SELECT usage_make_partitions(2);
