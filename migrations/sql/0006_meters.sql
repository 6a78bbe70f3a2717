-- Metered units. The ledger's counters are what is billed: `meter_reading` says how far each was judged, so every unit
-- is judged once, under the plan that was in force, and what Stripe is to be told lies in `meter_window`.
--
-- Order of locks: the meter's mutex of an account is the innermost, and nothing is waited for under it.

CREATE INDEX account_by_plan ON account (plan);

-- Units up to `judged_units` of the counter of this period have been judged.
CREATE TABLE meter_reading (
    account_id uuid NOT NULL,
    period_start timestamptz NOT NULL,
    judged_units bigint NOT NULL CHECK (judged_units >= 0),
    judged_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, period_start)
);

-- What one closed window adds to the meter: written once, sent until Stripe has it, never changed. While a worker has
-- a row, `lease` is the worker's and `next_attempt_at` the moment at which another may take it. `uncertain_since` is
-- the first attempt whose outcome nobody knows.
CREATE TABLE meter_window (
    identifier text PRIMARY KEY CHECK (length(identifier) <= 100),
    account_id uuid NOT NULL,
    customer_id text NOT NULL,
    meter text NOT NULL,
    period_start timestamptz NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    units bigint NOT NULL CHECK (units > 0),
    counted_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    lease uuid,
    uncertain_since timestamptz,
    last_error text,
    finished_at timestamptz,
    UNIQUE (account_id, meter, period_start, window_start)
);
CREATE INDEX meter_window_due ON meter_window (next_attempt_at) WHERE state = 'pending';
CREATE INDEX meter_window_unsent ON meter_window (state) WHERE state <> 'sent';
CREATE INDEX meter_window_by_customer ON meter_window (customer_id, counted_at);

-- Nothing that was used before there were meters is billed.
INSERT INTO meter_reading (account_id, period_start, judged_units, judged_at)
SELECT account_id, period_start, used, af_now() FROM quota
WHERE livemode AND key_id = '00000000-0000-0000-0000-000000000000';

-- Closes the account's window: judges, under the plan as it stands, what was used of live keys since the last time,
-- and writes down what of it Stripe is to be told. Returns how many windows hold something.
--
-- `beyond` bills what exceeds both the included units and what was judged before: units that a larger plan included
-- stay included when a smaller one follows. Units of a period whose invoice may be final by now are counted at this
-- moment, in the present period, for Stripe bills no others.
CREATE FUNCTION meter_close(p_account uuid) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    nil constant uuid := '00000000-0000-0000-0000-000000000000';
    draft constant interval := '30 minutes';
    meter constant text := 'api_factory_units';
    now_at timestamptz;
    standing record;
    r record;
    billed bigint;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('meter' || p_account::text, 0));
    now_at := af_now();
    SELECT account.stripe_customer_id AS customer,
           coalesce(account.quota_units, account.granted_units, plan.quota_units) AS included,
           CASE WHEN plan.overage = 'soft' THEN plan.billed_units ELSE 'none' END AS rule
    INTO standing FROM account JOIN plan ON plan.slug = account.plan WHERE account.id = p_account;
    FOR r IN
        SELECT quota.period_start, quota.period_end, quota.used, coalesce(reading.judged_units, 0) AS judged,
               coalesce(reading.judged_at, quota.period_start) AS judged_at
        FROM quota LEFT JOIN meter_reading AS reading USING (account_id, period_start)
        WHERE quota.account_id = p_account AND quota.key_id = nil AND quota.livemode
          AND quota.period_end > now_at - interval '40 days' AND quota.used > coalesce(reading.judged_units, 0)
        ORDER BY quota.period_start
    LOOP
        billed := CASE standing.rule
            WHEN 'all' THEN r.used - r.judged
            WHEN 'beyond' THEN greatest(0, r.used - greatest(r.judged, coalesce(standing.included, r.used)))
            ELSE 0 END;
        INSERT INTO meter_reading (account_id, period_start, judged_units, judged_at)
        VALUES (p_account, r.period_start, r.used, now_at)
        ON CONFLICT (account_id, period_start) DO UPDATE SET judged_units = excluded.judged_units,
                                                             judged_at = excluded.judged_at;
        CONTINUE WHEN billed = 0 OR standing.customer IS NULL;
        -- The counter's position names the window: whoever closes it again gives it the same name.
        INSERT INTO meter_window (identifier, account_id, customer_id, meter, period_start, window_start, window_end,
                                  units, counted_at, next_attempt_at)
        VALUES (concat_ws(':', standing.customer, meter, (extract(epoch FROM r.period_start) * 1000000)::bigint,
                          r.judged),
                p_account, standing.customer, meter, r.period_start, r.judged_at, now_at, billed,
                CASE WHEN r.period_end <= now_at AND now_at < r.period_end + draft
                     THEN r.period_end - interval '1 second' ELSE now_at END,
                now_at);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Whoever changes what an account's units cost closes its window first: what was used before is judged by what held
-- before. The change holds the mutex that keeps charges out, so no unit falls between.
CREATE FUNCTION meter_close_before_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM meter_close(OLD.id);
    RETURN NEW;
END $$;
CREATE TRIGGER meter_close_before_change
BEFORE UPDATE OF plan, quota_units, granted_units, period_anchor, stripe_customer_id ON account
FOR EACH ROW WHEN (
    (OLD.plan, OLD.quota_units, OLD.granted_units, OLD.period_anchor, OLD.stripe_customer_id)
    IS DISTINCT FROM (NEW.plan, NEW.quota_units, NEW.granted_units, NEW.period_anchor, NEW.stripe_customer_id))
EXECUTE FUNCTION meter_close_before_change();

CREATE FUNCTION meter_close_before_plan_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM meter_close(account.id) FROM account WHERE account.plan = OLD.slug;
    RETURN NEW;
END $$;
CREATE TRIGGER meter_close_before_plan_change
BEFORE UPDATE OF overage, billed_units, quota_units ON plan
FOR EACH ROW WHEN (
    (OLD.overage, OLD.billed_units, OLD.quota_units)
    IS DISTINCT FROM (NEW.overage, NEW.billed_units, NEW.quota_units))
EXECUTE FUNCTION meter_close_before_plan_change();
