"""GraphiQL: a page for developers whose files all come from this server."""

from __future__ import annotations

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


async def send_asset(scope: Any, send: Any) -> None:
    """Answer a request below `ASSETS_PATH` as ASGI: one of the page's scripts and styles, or 404."""
    found = _files().get(scope["path"].removeprefix(ASSETS_PATH))
    is_read = scope["method"] in ("GET", "HEAD")
    status = 404 if found is None else 200 if is_read else 405
    media, body = found if found is not None and is_read else ("text/plain", b"")
    headers = [
        (b"content-type", f"{media}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"public, max-age=3600" if status == 200 else b"no-store"),
    ]
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


@cache
def _files() -> dict[str, tuple[str, bytes]]:
    paths = (path for path in _DIRECTORY.iterdir() if path.suffix in _TYPES)
    return {path.name: (_TYPES[path.suffix], path.read_bytes()) for path in paths}
