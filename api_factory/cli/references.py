"""How a person names a key on the command line."""

from __future__ import annotations

import re
from uuid import UUID

import click

from api_factory.ids import parse_public_id, uuid_from_base62

# What the list shows and a scanner finds: the key without its secret.
_PREFIX = re.compile(r"af_(?:live|test)_([0-9A-Za-z]{22})")


def key_id_of(text: str) -> UUID:
    """Return the id behind `key_…` or behind the public beginning of a key, `af_live_…`.

    Raises:
        click.BadParameter: It is neither. The text is not repeated: it may be a whole key.
    """
    prefix = _PREFIX.fullmatch(text)
    found = uuid_from_base62(prefix[1]) if prefix else parse_public_id("key", text)
    if found is None:
        raise click.BadParameter("This is no id of a key; `api-factory key list` shows them, such as key_….")
    return found
