"""GraphiQL: a page for developers whose files all come from this server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

PATH: Final = "/graphql"
ASSETS_PATH: Final = f"{PATH}/assets/"
"""Where the page expects its files."""

PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
"""The page's own policy: no script and no style but the files of this server."""

_DIRECTORY: Final = Path(__file__).parent / "static" / "graphiql"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}


@cache
def page() -> bytes:
    """Return the page."""
    return (_DIRECTORY / "page.html").read_bytes()


@dataclass(frozen=True, slots=True)
class Asset:
    """One of the page's scripts and styles."""

    media: str
    body: bytes


def find_asset(path: str) -> Asset | None:
    """Return the file that a path below `ASSETS_PATH` names; None when there is none."""
    return _files().get(path.removeprefix(ASSETS_PATH))


async def send_asset(asset: Asset, scope: Any, send: Any) -> None:
    """Answer a GET or HEAD with a file as ASGI."""
    headers = [
        (b"content-type", f"{asset.media}; charset=utf-8".encode()),
        (b"content-length", str(len(asset.body)).encode()),
        (b"cache-control", b"public, max-age=3600"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else asset.body})


@cache
def _files() -> dict[str, Asset]:
    paths = (path for path in _DIRECTORY.iterdir() if path.suffix in _TYPES)
    return {path.name: Asset(_TYPES[path.suffix], path.read_bytes()) for path in paths}
