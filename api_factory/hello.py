"""The two actions every server has, to try it with: `ping` needs no key, `echo` costs one unit."""

from __future__ import annotations

from api_factory.actions.declaration import action


@action(public=True, charge="free")
async def ping() -> str:
    """Answer pong, without a key and for free."""
    return "pong"


@action
async def echo(text: str) -> str:
    """Return the text unchanged: the smallest call that is metered.

    Args:
        text: What to return.
    """
    return text
