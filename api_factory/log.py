"""Logs: one line a record, with the request it belongs to, and never a secret.

Whatever reaches a line (message, arguments, extras, traceback) passes `redact` first. Lines go to
standard error, as JSON or, for the eyes of a developer, as plain text.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.config
import re
import sys
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, TextIO

import orjson

Format = Literal["json", "text"]

REDACTED: Final = "[redacted]"
_SECRET = re.compile(
    r"""
      (?P<name> af_(?:live|test)_ | [rsp]k_(?:live|test)_ | whsec_ ) [0-9A-Za-z_+/=-]+
    | (?P<scheme> \b[Bb][Ee][Aa][Rr][Ee][Rr]\s+ ) [^\s"',;]+
    | (?P<header> \b[Aa]uthorization["']?\s*[:=]\s*["']?\w+\s+ ) [^\s"',;]+
    | (?P<user> (?<=://)[^\s:/@]{0,256}: ) \S{0,1024}@          # greedy: a password may hold an @
    | (?P<field> \b(?:password|passwd|client_secret)["']?\s*[=:]\s* ) (?:"[^"]*"|'[^']*'|[^\s&,;}]+)
    """,
    re.VERBOSE,
)
_SECRET_NAME = re.compile(
    r"authorization|(?:set-)?cookie|(?:\w+[-_])?(?:api[-_]?key|password|pepper|secret|token)", re.IGNORECASE
)
_HARMLESS_NAMES = frozenset(
    {"request_id", "account_id", "key_id", "method", "path", "status", "ms", "surface", "code", "address"}
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROL |= {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
_INTEGER_MAX = 2**63
_DEPTH_MAX = 8

_NOTHING: Mapping[str, object] = MappingProxyType({})
_context: ContextVar[Mapping[str, object]] = ContextVar("log_context", default=_NOTHING)
_access = logging.getLogger("api_factory.access")
_request_lines: RequestLines | None = None


def bind(**fields: object) -> Token[Mapping[str, object]]:
    """Add fields to every line of the current task and those it starts; hand the token to `unbind`."""
    return _context.set({**_context.get(), **fields})


def unbind(token: Token[Mapping[str, object]]) -> None:
    """Restore the fields as they were before the `bind` that gave the token."""
    _context.reset(token)


def redact(text: str) -> str:
    """Replace all that looks like a key, a bearer token, a Stripe secret or a password.

    What says which kind of secret it was stays: `af_live_[redacted]`.
    """
    return _SECRET.sub(_redaction, text)


def configure(format: Format, level: str) -> None:  # noqa: A002 - the setting's name
    """Send every logger of this process through here."""
    logging.config.dictConfig(uvicorn_config(format, level))


def uvicorn_config(format: Format, level: str) -> dict[str, Any]:  # noqa: A002 - the setting's name
    """Return the same configuration as a dictionary for uvicorn's `log_config`; it can be pickled.

    Uvicorn's own access lines are off: `access` writes one with the request's context.
    """
    quiet = {"handlers": [], "propagate": False, "level": "CRITICAL"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": JsonFormatter if format == "json" else TextFormatter}},
        "handlers": {"stderr": {"()": Handler, "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            "uvicorn": {"handlers": [], "propagate": True},
            "uvicorn.error": {"handlers": [], "propagate": True},
            "uvicorn.access": quiet,
            # They write a line for every request to Stripe, with the customer in it.
            **{name: {"level": _at_least_warning(level)} for name in ("httpcore", "httpx", "stripe")},
        },
    }


def _at_least_warning(level: str) -> str:
    return "ERROR" if level == "error" else "WARNING"


def access(method: str, path: str, status: int, seconds: float, **fields: object) -> None:
    """Write the one line of a request, at level INFO; `seconds` is how long its answer took."""
    if not _access.isEnabledFor(logging.INFO):
        return
    extra = {"method": method, "path": path, "status": status, "ms": round(seconds * 1000, 3), **fields}
    if _request_lines is not None:
        _request_lines.add({**_context.get(), **extra})
        return
    # makeRecord, not info(): looking for the caller's frame would cost more than the line.
    _access.handle(_access.makeRecord(_access.name, logging.INFO, "", 0, "request", (), None, extra=extra))


def gather_request_lines(format: Format) -> None:  # noqa: A002 - the setting's name
    """Write the lines of requests from now on all at once, at the end of each turn of the event loop.

    They say the same as before, to standard error; a record and a formatter for each would cost a request
    a sixth of its time. A process that is killed loses the lines of the turn it was in.
    """
    global _request_lines
    _request_lines = RequestLines(sys.stderr, format)


class RequestLines:
    """The lines of requests until they are written, every field redacted as `Handler`'s formatters do it."""

    def __init__(self, stream: TextIO, format: Format) -> None:  # noqa: A002 - the setting's name
        """Write to `stream`."""
        self._stream = stream
        self._render = _json_line if format == "json" else _text_line
        self._waiting: list[str] = []

    def add(self, fields: Mapping[str, object]) -> None:
        """Take the line of one request; outside of a running loop it is written at once."""
        self._waiting.append(self._render(fields))
        if len(self._waiting) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Write what waits."""
        lines, self._waiting = self._waiting, []
        with contextlib.suppress(OSError, ValueError):
            self._stream.write("\n".join((*lines, "")))
            self._stream.flush()


def _json_line(fields: Mapping[str, object]) -> str:
    now = time.time()
    line: dict[str, object] = {
        "time": f"{_second(int(now))}.{int(now % 1 * 1000):03d}+00:00",
        "level": "info",
        "logger": _access.name,
        "message": "request",
    }
    for name, value in fields.items():
        line.setdefault(name, _told(name, value))
    return orjson.dumps(line).decode()


def _text_line(fields: Mapping[str, object]) -> str:
    parts = [f"{name}={_plain(_told(name, value))}" for name, value in fields.items()]
    return f"{_second(int(time.time()))[11:]} INFO {_access.name} request {' '.join(parts)}"


@lru_cache(maxsize=2)
def _second(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _told(name: str, value: object) -> object:
    if name not in _HARMLESS_NAMES:
        return _field(name, value)
    if isinstance(value, str):
        # Letters and digits alone are no secret that `redact` knows; the rest has mostly been said before.
        return value if value.isalnum() else _told_text(value)
    return value if value.__class__ in (int, float) else _value(value)


@lru_cache(maxsize=4096)
def _told_text(text: str) -> str:
    return _text(text)


class Handler(logging.StreamHandler[Any]):
    """Writes to standard error; a record that cannot be formatted is named and not shown."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say where the bad record came from; its arguments, which may hold a secret, stay unsaid."""
        with contextlib.suppress(OSError, ValueError):
            where = f"{record.name}, line {record.lineno}"
            self.stream.write(f"A log record could not be written ({where}).{self.terminator}")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the context, the extras, the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, redacted."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _text(record.getMessage()),
        }
        for name, value in _fields(record):
            line.setdefault(name, value)
        trace = _trace(self, record)
        if trace:
            line["exception"] = trace
        return orjson.dumps(line).decode()


class TextFormatter(logging.Formatter):
    """`12:00:00 INFO api_factory.keys message name=value`, on one line; a traceback follows below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, redacted; control characters are escaped, so nobody can forge a line."""
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        message = _text(record.getMessage()).translate(_CONTROL)
        parts = [moment, record.levelname, record.name, message]
        parts += [f"{name}={_plain(value)}" for name, value in _fields(record)]
        trace = _trace(self, record)
        return " ".join(parts) + ("\n" + trace if trace else "")


def _fields(record: logging.LogRecord) -> Iterable[tuple[str, object]]:
    for name, value in _context.get().items():
        yield name, _field(name, value)
    for name, value in vars(record).items():
        if name not in _STANDARD:
            yield _text(name), _field(name, value)


def _field(name: str, value: object, depth: int = 0) -> object:
    return REDACTED if _SECRET_NAME.fullmatch(name) else _value(value, depth)


def _value(value: object, depth: int = 0) -> object:
    """Return what JSON can hold, every string in it redacted."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value) if -_INTEGER_MAX <= value < _INTEGER_MAX else str(value)
    if depth < _DEPTH_MAX:
        if isinstance(value, Mapping):
            return {_text(str(key)): _field(str(key), item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_value(item, depth + 1) for item in value]
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "backslashreplace")
    return _text(str(value))


def _redaction(match: re.Match[str]) -> str:
    kind = match.lastgroup or 0
    return match[kind] + REDACTED + ("@" if kind == "user" else "")


def _text(text: str) -> str:
    if not text.isascii():
        # Lone surrogates, which no encoding can write.
        text = text.encode("utf-8", "backslashreplace").decode()
    return redact(text)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return _text("\n".join(parts))


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    text = text.translate(_CONTROL)
    return f'"{text}"' if " " in text or not text else text
