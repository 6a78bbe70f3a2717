"""The table of the audit log."""

from __future__ import annotations

from piccolo.columns import JSONB, BigSerial, Timestamptz, Varchar
from piccolo.table import Table


class AuditEntry(Table, tablename="audit_entry"):
    """Who did what to what, in the same transaction as the deed."""

    id = BigSerial(primary_key=True)
    at = Timestamptz()
    actor_kind = Varchar(length=20)
    actor_id = Varchar(length=200)
    verb = Varchar(length=100, help_text="actor:subject:action, such as `key:key:revoked`.")
    target_kind = Varchar(length=20)
    target_id = Varchar(length=200, index=True)
    before = JSONB(null=True, default=None)
    after = JSONB(null=True, default=None)
    request_id = Varchar(length=100, null=True, default=None)
