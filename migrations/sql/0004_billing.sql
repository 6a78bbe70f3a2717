-- Billing: the inbox finds its next event without reading the finished ones, an episode is open once, and
-- the ledger counts what a subscription grants.

CREATE INDEX stripe_event_due ON stripe_event (next_attempt_at, seq) WHERE state = 'pending';
CREATE INDEX stripe_event_leased ON stripe_event (locked_until) WHERE state = 'processing';
CREATE INDEX stripe_event_line ON stripe_event (line, seq) WHERE state IN ('pending', 'processing');
CREATE INDEX stripe_event_troubled ON stripe_event (seq) WHERE state IN ('needs_attention', 'dead');
CREATE INDEX stripe_event_finished ON stripe_event (finished_at) WHERE state IN ('done', 'skipped');
CREATE INDEX subscription_by_account ON subscription (account);
CREATE UNIQUE INDEX subscription_is_current_once ON subscription (account) WHERE is_current;
CREATE UNIQUE INDEX dunning_episode_is_open_once ON dunning_episode (subscription) WHERE closed_at IS NULL;
CREATE INDEX dunning_episode_clock ON dunning_episode (grace_ends_at) WHERE stage = 'grace';
CREATE INDEX dunning_attempt_due ON dunning_attempt (due_at) WHERE state = 'pending';
CREATE INDEX reconcile_run_latest ON reconcile_run (kind, started_at);
CREATE INDEX reconcile_difference_by_run ON reconcile_difference (run);

-- An override wins over what billing grants, and that over the plan. The function is changed in its one
-- expression; everything else stays as its own script wrote it.
CREATE FUNCTION af_replace_in_function(name regproc, old_text text, new_text text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    definition text := pg_get_functiondef(name);
BEGIN
    IF position(old_text IN definition) = 0 THEN
        RAISE EXCEPTION '% does not hold %', name, old_text;
    END IF;
    EXECUTE replace(definition, old_text, new_text);
END $$;
SELECT af_replace_in_function(
    'ledger_commit', 'coalesce(account.quota_units, plan.quota_units)',
    'coalesce(account.quota_units, account.granted_units, plan.quota_units)');
DROP FUNCTION af_replace_in_function;
