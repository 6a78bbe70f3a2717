-- Idempotency-Key: a request that is sent again is charged once and has one outcome.
--
-- Order of locks: rows of `idempotency` by primary key come first, then all that 0001_ledger.sql lists.
-- Whoever holds an account's mutex or a row of `quota` never waits for a row of `idempotency`.

CREATE TABLE idempotency (
    key_id uuid NOT NULL,
    -- What the client calls its request; the same text under another API key is another request.
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    account_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'done')),
    -- Which attempt owns the entry. A takeover changes it, and an attempt that has lost it cannot commit.
    attempt uuid NOT NULL,
    worker_id uuid NOT NULL,
    request_id text NOT NULL,
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- The outcome. Without a body when that was too large to keep.
    status smallint,
    code text,
    media text,
    body bytea,
    PRIMARY KEY (key_id, name),
    CONSTRAINT idempotency_done_has_outcome CHECK (state = 'running' OR status IS NOT NULL)
);
CREATE INDEX idempotency_expiring ON idempotency (expires_at);

-- Takes the entry for one attempt, or says why not. The verdicts:
--   begun · replay (with the outcome) · running · mismatch (another payload has this name) ·
--   stale (what the caller's decision rests on has changed: read again and come back) ·
--   no_worker (the worker has been given up: register anew)
--
-- A running entry belongs to its attempt while its worker is registered, and never longer than p_longest.
CREATE FUNCTION idempotency_begin(
    p_key uuid, p_name text, p_account uuid, p_fingerprint bytea, p_attempt uuid, p_worker uuid, p_request text,
    p_key_epoch bigint, p_account_epoch bigint, p_ttl interval, p_longest interval,
    OUT verdict text, OUT request_id text, OUT status smallint, OUT code text, OUT media text, OUT body bytea
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    now_at constant timestamptz := af_now();
    entry idempotency;
BEGIN
    -- A key that was revoked before this call began is not told what it was answered once.
    IF NOT EXISTS (
        SELECT FROM api_key AS key JOIN account ON account.id = key.account JOIN plan ON plan.slug = account.plan
        WHERE key.id = p_key AND key.account = p_account AND key.epoch = p_key_epoch
          AND greatest(account.epoch, plan.epoch) = p_account_epoch) THEN
        verdict := 'stale';
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM worker WHERE id = p_worker) THEN
        verdict := 'no_worker';
        RETURN;
    END IF;
    -- Each round is lost only to somebody who has changed the entry meanwhile.
    LOOP
        INSERT INTO idempotency (key_id, name, account_id, fingerprint, state, attempt, worker_id, request_id,
                                 started_at, expires_at)
        VALUES (p_key, p_name, p_account, p_fingerprint, 'running', p_attempt, p_worker, p_request,
                now_at, now_at + p_ttl)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            verdict := 'begun';
            RETURN;
        END IF;
        SELECT * INTO entry FROM idempotency WHERE key_id = p_key AND name = p_name;
        CONTINUE WHEN NOT FOUND;
        IF entry.expires_at > now_at THEN
            IF entry.fingerprint <> p_fingerprint THEN
                verdict := 'mismatch';
                RETURN;
            ELSIF entry.state = 'done' THEN
                verdict := 'replay'; request_id := entry.request_id; status := entry.status;
                code := entry.code; media := entry.media; body := entry.body;
                RETURN;
            ELSIF entry.started_at + p_longest > now_at
              AND EXISTS (SELECT FROM worker WHERE id = entry.worker_id) THEN
                verdict := 'running';
                RETURN;
            END IF;
        END IF;
        UPDATE idempotency
        SET fingerprint = p_fingerprint, state = 'running', attempt = p_attempt, worker_id = p_worker,
            request_id = p_request, started_at = now_at, expires_at = now_at + p_ttl,
            status = NULL, code = NULL, media = NULL, body = NULL
        WHERE key_id = p_key AND name = p_name AND attempt = entry.attempt AND state = entry.state;
        IF FOUND THEN
            verdict := 'begun';
            RETURN;
        END IF;
    END LOOP;
END $$;

-- ledger_commit for a batch in which charges or settlements finish entries: element j of the p_entry_ arrays
-- belongs to item p_entry_item[j]. An item whose entry has been taken over, or has gone, charges nothing and
-- gives back what it held; its verdict is `fenced`. Outcome and charge are one transaction.
CREATE FUNCTION ledger_commit_once(
    p_kind text[], p_id uuid[], p_account uuid[], p_key uuid[], p_livemode boolean[],
    p_key_epoch bigint[], p_account_epoch bigint[], p_not_after timestamptz[],
    p_units bigint[], p_request text[], p_worker uuid,
    p_line_item integer[], p_line_action text[], p_line_units bigint[], p_line_errors integer[],
    p_entry_item integer[], p_entry_name text[], p_entry_attempt uuid[],
    p_entry_status smallint[], p_entry_code text[], p_entry_media text[], p_entry_body bytea[]
) RETURNS TABLE (
    verdict text, quota_limit bigint, used bigint, reserved bigint,
    is_hard boolean, key_limit bigint, key_used bigint, period_start timestamptz, period_end timestamptz, reset_seconds double precision
) LANGUAGE plpgsql
-- A plan made while the table was empty must not scan it when it is full: entries are found by primary key.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    kinds text[] := p_kind;
    owned boolean[] := array_fill(true, ARRAY[array_length(p_kind, 1)]);
    i integer;
    r record;
BEGIN
    FOREACH i IN ARRAY p_entry_item LOOP
        owned[i] := false;
    END LOOP;
    FOR r IN
        SELECT e.item
        FROM unnest(p_entry_item, p_entry_name, p_entry_attempt) AS e (item, name, attempt)
        JOIN idempotency ON idempotency.key_id = p_key[e.item] AND idempotency.name = e.name
        WHERE idempotency.attempt = e.attempt AND idempotency.state = 'running'
        ORDER BY idempotency.key_id, idempotency.name
        FOR UPDATE OF idempotency
    LOOP
        owned[r.item] := true;
    END LOOP;
    FOREACH i IN ARRAY p_entry_item LOOP
        -- A release charges nothing, and one of nothing does nothing.
        IF NOT owned[i] THEN kinds[i] := 'f'; END IF;
    END LOOP;

    RETURN QUERY
    WITH item AS MATERIALIZED (
        SELECT * FROM ledger_commit(
            kinds, p_id, p_account, p_key, p_livemode, p_key_epoch, p_account_epoch, p_not_after, p_units, p_request,
            p_worker, p_line_item, p_line_action, p_line_units, p_line_errors
        ) WITH ORDINALITY AS t (verdict, quota_limit, used, reserved, is_hard, key_limit, key_used, period_start,
                                period_end, reset_seconds, i)
    ), finished AS (
        UPDATE idempotency
        SET state = 'done', status = e.status, code = e.code, media = e.media, body = e.body
        FROM unnest(p_entry_item, p_entry_name, p_entry_attempt, p_entry_status, p_entry_code, p_entry_media,
                    p_entry_body) AS e (item, name, attempt, status, code, media, body)
        JOIN item ON item.i = e.item AND item.verdict = 'ok'
        WHERE idempotency.key_id = p_key[e.item] AND idempotency.name = e.name AND idempotency.attempt = e.attempt
    )
    SELECT CASE WHEN owned[item.i] THEN item.verdict ELSE 'fenced' END, item.quota_limit, item.used, item.reserved,
           item.is_hard, item.key_limit, item.key_used, item.period_start, item.period_end, item.reset_seconds
    FROM item ORDER BY item.i;
END $$;
