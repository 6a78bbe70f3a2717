"""The tables of keys and their secrets."""

from __future__ import annotations

from piccolo.columns import (
    JSONB,
    UUID,
    Array,
    BigInt,
    Boolean,
    Bytea,
    ForeignKey,
    SmallInt,
    Timestamptz,
    Varchar,
)
from piccolo.columns.base import OnDelete
from piccolo.constraints import Check
from piccolo.table import Table

from api_factory.accounts.tables import Account
from api_factory.columns import UUID7


class ApiKey(Table, tablename="api_key"):
    """A key: what its holder may do, whatever secret he holds at the time."""

    id = UUID(primary_key=True, default=UUID7())
    account = ForeignKey(references=Account, on_delete=OnDelete.restrict, null=False)
    name = Varchar(length=200)
    livemode = Boolean(default=True)
    status = Varchar(length=9, default="ACTIVE")
    suspended_reason = Varchar(length=500, null=True, default=None)
    suspended_by = Varchar(
        length=20, null=True, default=None, help_text="The kind of actor; a key resumes what a key suspended."
    )
    scopes = Array(base_column=Varchar(length=63))
    allowed_actions = Array(base_column=Varchar(length=200), null=True, default=None)
    cidrs = Array(
        base_column=Varchar(length=43), help_text="Networks it may be used from; empty is anywhere."
    )
    cap_units = BigInt(null=True, default=None, help_text="Units a period this key alone may use.")
    trusted_documents_only = Boolean(default=False, help_text="It runs only documents of the manifest.")
    metadata = JSONB(default="{}")
    created_at = Timestamptz()
    expires_at = Timestamptz(null=True, default=None)
    revoked_at = Timestamptz(null=True, default=None)
    last_used_at = Timestamptz(null=True, default=None)
    epoch = BigInt(default=0, index=True)

    api_key_status_known = Check("status IN ('ACTIVE', 'SUSPENDED', 'REVOKED')")
    api_key_cap_not_negative = Check("cap_units >= 0")


class ApiKeySecret(Table, tablename="api_key_secret"):
    """One secret of a key: its hash under a version of the pepper, and until when it works."""

    id = UUID(primary_key=True, default=UUID7())
    key = ForeignKey(references=ApiKey, on_delete=OnDelete.cascade, null=False, index=True)
    digest = Bytea()
    pepper_version = SmallInt()
    hint = Varchar(length=4, help_text="The last characters, to recognise it by.")
    created_at = Timestamptz()
    not_after = Timestamptz(null=True, default=None)
