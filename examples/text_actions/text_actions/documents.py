"""Documents an account keeps: an action with a side effect, and the query that reads it back.

They are in a SQLite file beside the server's own data, so they outlive a restart and every worker sees them.
An account sees its own documents and no others; the oldest make room for new ones.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from api_factory import ActionError, Caller, action
from text_actions import language
from text_actions.checks import check_text

DOCUMENTS_PER_ACCOUNT_MAX = 100
TITLE_LENGTH_MAX = 200

_TABLE = """
    CREATE TABLE IF NOT EXISTS document (
        id TEXT PRIMARY KEY, account_id TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
        remembered_at TEXT NOT NULL
    )
"""
_DROP_OLDEST = """
    DELETE FROM document WHERE account_id = :account_id AND rowid NOT IN (
        SELECT rowid FROM document WHERE account_id = :account_id ORDER BY rowid DESC LIMIT :maximum
    )
"""


@dataclass(frozen=True, slots=True)
class DocumentReceipt:
    """What was kept, and under which id it can be read back."""

    id: UUID
    remembered_at: datetime
    words: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document of the calling account."""

    id: UUID
    title: str
    text: str
    remembered_at: datetime


# A mutation reserves its units before it runs: nobody gets the side effect without paying for it.
@action(kind="mutation", charge="reserve", units=3)
def remember_document(text: str, caller: Caller, title: str = "Untitled") -> DocumentReceipt:
    """Keep a text; the account's hundred latest are kept.

    Args:
        text: Text of at most 100,000 characters.
        caller: Who calls; the server fills it in, and clients see no such argument.
        title: A name of at most 200 characters.
    """
    check_text(text)
    if len(title) > TITLE_LENGTH_MAX:
        raise ActionError(f"The title is longer than {TITLE_LENGTH_MAX} characters.", code="TITLE_TOO_LONG")
    new = Document(uuid4(), title, text, datetime.now(UTC))
    row = (str(new.id), caller.account_id, new.title, new.text, new.remembered_at.isoformat())
    with _database() as database:
        database.execute("INSERT INTO document VALUES (?, ?, ?, ?, ?)", row)
        database.execute(
            _DROP_OLDEST, {"account_id": caller.account_id, "maximum": DOCUMENTS_PER_ACCOUNT_MAX}
        )
    return DocumentReceipt(new.id, new.remembered_at, len(language.words(text)))


@action
def document(id: UUID, caller: Caller) -> Document | None:  # noqa: A002 - the name clients know
    """Return a document of the calling account, or null: hidden and missing ones answer alike.

    Args:
        id: The id from the receipt.
        caller: Who calls; the server fills it in.
    """
    select = "SELECT title, text, remembered_at FROM document WHERE id = ? AND account_id = ?"
    with _database() as database:
        row = database.execute(select, (str(id), caller.account_id)).fetchone()
    return Document(id, row[0], row[1], datetime.fromisoformat(row[2])) if row else None


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction: committed at the end, rolled back if it fails."""
    directory = Path(os.environ.get("API_FACTORY_DATA_DIR", ".api-factory"))
    directory.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(directory / "documents.sqlite3")) as connection, connection:
        connection.execute(_TABLE)
        yield connection
