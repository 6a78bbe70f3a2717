"""API-Factory: typed Python functions become an API that can be charged for.

An author needs four names: `action` marks a function, `ActionError` is a failure his client should read,
`Caller` is who calls, and `ID` is an opaque identifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api_factory.actions import ID, ActionError, Caller, action

    __version__: str

__all__ = ["ID", "ActionError", "Caller", "__version__", "action"]


def __getattr__(name: str) -> object:
    """Load a public name at its first use, so that importing any part of the engine stays cheap."""
    if name == "__version__":
        value: object = _version()
    elif name in __all__:
        from api_factory import actions

        value = getattr(actions, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("api-factory")
    except PackageNotFoundError:
        return "0+unknown"
