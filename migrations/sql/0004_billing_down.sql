-- Whoever owes stays without access: the older version knows only one kind of suspension.
UPDATE account SET status = 'SUSPENDED', suspended_reason = billing_hold, billing_hold = NULL WHERE status = 'UNPAID';
DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('ledger_commit'::regproc),
                    'coalesce(account.quota_units, account.granted_units, plan.quota_units)',
                    'coalesce(account.quota_units, plan.quota_units)');
END $$;
DROP INDEX stripe_event_due, stripe_event_leased, stripe_event_line, stripe_event_troubled,
    stripe_event_finished, subscription_by_account, subscription_is_current_once,
    dunning_episode_is_open_once, dunning_episode_clock, dunning_attempt_due, reconcile_run_latest,
    reconcile_difference_by_run;
