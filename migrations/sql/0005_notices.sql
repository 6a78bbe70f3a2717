-- What the owner is told, after the commit of what it tells of.

-- One thing that happened, written in the transaction of what happened; `dedupe_key` names the transition.
CREATE TABLE notice (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    dedupe_key text NOT NULL UNIQUE,
    account_id uuid,
    facts jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX notice_by_time ON notice (created_at);
CREATE INDEX notice_by_account ON notice (account_id, created_at);

-- A notice on its way through one channel. While a worker has it, `lease` is the worker's and `next_attempt_at`
-- the moment at which another may take it.
CREATE TABLE notice_delivery (
    notice_id uuid NOT NULL REFERENCES notice (id) ON DELETE CASCADE,
    channel text NOT NULL CHECK (channel IN ('webhook', 'owner_mail', 'customer_mail')),
    recipient text NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    lease uuid,
    last_error text,
    finished_at timestamptz,
    PRIMARY KEY (notice_id, channel, recipient)
);
CREATE INDEX notice_delivery_due ON notice_delivery (next_attempt_at) WHERE state = 'pending';
CREATE INDEX notice_delivery_unfinished ON notice_delivery (state) WHERE state <> 'delivered';
