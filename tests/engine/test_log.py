from __future__ import annotations

import asyncio
import io
import logging
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from api_factory import log

# Built from parts: no line of this file may look like a secret itself.
SECRETS = {
    "live key": "af_live_" + "7hQ2kd9PzXc_" + "Qm4VtR8yNw3sLb6fJx1cHg5aTe0uKi_" + "9aZ3Kd",
    "test key": "af_test_" + "x" * 40,
    "stripe key": "sk_live_" + "51HqLyjWDarjtT1zdp7dc",
    "restricted stripe key": "rk_test_" + "51HqLyjWDarjtT1zdp7dc",
    "webhook secret": "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw/+==",
}
CARRIERS = {name: (secret, secret) for name, secret in SECRETS.items()} | {
    "bearer": ("Authorization: Bearer gho.st+token/1234==", "gho.st+token/1234=="),
    "shouted bearer": ("BEARER opaque-token-1", "opaque-token-1"),
    "basic": ('"authorization": "Basic dXNlcjpwYXNzd29yZA=="', "dXNlcjpwYXNzd29yZA"),
    "database address": ("postgresql://app:hunter2secret@db:5432/app", "hunter2secret"),
    "password with signs": ('redis://:p@ss:wo"rd/x@cache:6379/0', 'p@ss:wo"rd/x'),
    "connection string": ("host=db password='hunter 2 secret' dbname=app", "hunter 2 secret"),
    "query": ("postgresql://db/app?user=app&password=hunter2secret&x=1", "hunter2secret"),
}


@dataclass
class Holder:
    secret: str


@pytest.fixture(params=["json", "text"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    yield from captured(request.param)


@pytest.fixture
def json_lines() -> Iterator[io.StringIO]:
    yield from captured("json")


@pytest.fixture
def text_lines() -> Iterator[io.StringIO]:
    yield from captured("text")


def ours() -> log.Handler:
    """Our handler, alone: pytest's own raises where ours must not."""
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if isinstance(handler, log.Handler)]
    (handler,) = root.handlers
    assert isinstance(handler, log.Handler)
    return handler


def captured(form: Literal["json", "text"]) -> Iterator[io.StringIO]:
    """Logging as configured, written to memory, and put back as it was."""
    root = logging.getLogger()
    level = root.level
    log.configure(form, "info")
    stream = io.StringIO()
    ours().setStream(stream)
    yield stream
    root.removeHandler(ours())
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def only(stream: io.StringIO) -> dict[str, object]:
    (line,) = stream.getvalue().splitlines()
    fields: dict[str, object] = orjson.loads(line)
    return fields


logger = logging.getLogger("api_factory.test")


@pytest.mark.parametrize(("text", "secret"), CARRIERS.values(), ids=CARRIERS)
def test_a_secret_never_appears(written: io.StringIO, text: str, secret: str) -> None:
    ours()
    logger.info("got " + text)
    logger.info("got %s and %r", text, {"deep": [text.encode()]})
    logger.info("extra", extra={"header": text, "nested": {"list": [(text,), {text}], text: Holder(text)}})
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise RuntimeError("outer " + text) from error
    except RuntimeError:
        logger.exception("failed", stack_info=True)
    logger.info("not a number: %d", text)
    token = log.bind(caller=text)
    log.access("POST", "/graphql?" + text, 200, 0.01)
    log.unbind(token)
    output = written.getvalue()
    assert len(output.splitlines()) >= 6
    for form in (secret, orjson.dumps(secret).decode()[1:-1], repr(secret)[1:-1]):
        assert form not in output
    assert log.REDACTED in output


def test_what_kind_of_secret_it_was_stays_readable() -> None:
    assert log.redact("key " + SECRETS["live key"] + " refused") == "key af_live_[redacted] refused"
    assert log.redact("postgresql://app:pass@db/app") == "postgresql://app:[redacted]@db/app"
    assert log.redact("Bearer abc, next") == "Bearer [redacted], next"


@pytest.mark.parametrize("text", ["http://localhost:8000/graphql", "the af_live_ prefix", "a plain line"])
def test_what_is_no_secret_stays(text: str) -> None:
    assert log.redact(text) == text


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30), st.text(max_size=30))
def test_a_key_is_found_whatever_surrounds_it(before: str, after: str) -> None:
    assert SECRETS["test key"] not in log.redact(before + SECRETS["test key"] + after)


def test_fields_named_after_secrets_are_never_shown(json_lines: io.StringIO) -> None:
    headers = {"Authorization": "opaque", "X-API-Key": "opaque", "accept": "a"}
    logger.info("x", extra={"token": "opaque", "webhook_secret": "opaque", "headers": headers, "tokens": 3})
    assert "opaque" not in json_lines.getvalue()
    line = only(json_lines)
    assert line["headers"] == {"Authorization": log.REDACTED, "X-API-Key": log.REDACTED, "accept": "a"}
    assert line["tokens"] == 3


def test_a_record_that_cannot_be_formatted_is_named_but_not_shown(
    written: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    ours()
    logger.info("%d units", SECRETS["live key"])
    assert written.getvalue().startswith("A log record could not be written (api_factory.test, line ")
    assert SECRETS["live key"] not in capsys.readouterr().err


def test_a_closed_stream_does_no_harm(written: io.StringIO) -> None:
    handler = ours()
    broken = io.StringIO()
    broken.close()
    handler.setStream(broken)
    logger.info("nobody reads this")
    handler.setStream(written)


def test_a_line_is_one_json_object_with_its_context(json_lines: io.StringIO) -> None:
    token = log.bind(request_id="req_1")
    inner = log.bind(account="acc_1", key="key_1")
    logger.warning("slow %s", "query", extra={"ms": 12.5, "message_id": 7})
    log.unbind(inner)
    log.unbind(token)
    line = only(json_lines)
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "api_factory.test",
        "message": "slow query",
        "request_id": "req_1",
        "account": "acc_1",
        "key": "key_1",
        "ms": 12.5,
        "message_id": 7,
    }


def test_extras_cannot_pose_as_the_record_itself(json_lines: io.StringIO) -> None:
    logger.info("true", extra={"level": "critical", "logger": "forged"})
    line = only(json_lines)
    assert (line["level"], line["logger"], line["message"]) == ("info", "api_factory.test", "true")


async def test_the_context_belongs_to_one_task(json_lines: io.StringIO) -> None:
    async def request(number: int) -> None:
        log.bind(request_id=number)
        await asyncio.sleep(0)
        logger.info("x", extra={"expected": number})

    await asyncio.gather(*(request(number) for number in range(20)))
    logger.info("after")
    lines = [orjson.loads(line) for line in json_lines.getvalue().splitlines()]
    assert [line["request_id"] for line in lines[:20]] == [line["expected"] for line in lines[:20]]
    assert "request_id" not in lines[20]


def test_any_value_can_be_logged(json_lines: io.StringIO) -> None:
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    extra = {
        "huge": 2**70,
        "odd": float("nan"),
        "lone": "\ud800",
        "raw": b"\xff\x00",
        "deep": deep,
        "none": None,
        "yes": True,
    }
    # Else pytest-xdist would have to send the lone surrogate in a report, which it cannot.
    ours()
    logger.info("ünï \ud800", extra=extra)
    line = only(json_lines)
    assert line["message"] == "ünï \\ud800"
    assert (line["huge"], line["odd"], line["lone"]) == (str(2**70), None, "\\ud800")
    assert (line["raw"], line["none"], line["yes"]) == ("\\xff\x00", None, True)


@given(st.text() | st.binary() | st.integers() | st.floats() | st.dictionaries(st.integers(), st.text()))
def test_no_value_breaks_a_line(value: object) -> None:
    for formatter in (log.JsonFormatter(), log.TextFormatter()):
        record = logging.makeLogRecord({"name": "x", "msg": "x", "levelname": "INFO", "value": value})
        line = formatter.format(record)
        assert "\n" not in line
        line.encode()


def test_text_lines_are_readable_and_cannot_be_forged(text_lines: io.StringIO) -> None:
    logger.info("hello\n12:00:00 INFO forged\x1b[31m", extra={"path": "/a b\r\n", "n": 3, "empty": ""})
    (line,) = text_lines.getvalue().splitlines()
    assert line[8:] == (
        ' INFO api_factory.test hello\\n12:00:00 INFO forged\\x1b[31m path="/a b\\r\\n" n=3 empty=""'
    )


def test_an_exception_is_part_of_its_line(json_lines: io.StringIO) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("failed")
    logger.error("again", exc_info=(None, None, None))
    first, second = map(orjson.loads, json_lines.getvalue().splitlines())
    assert first["exception"].endswith("ValueError: broken")
    assert "exception" not in second


def test_a_formatted_traceback_of_elsewhere_is_redacted_too() -> None:
    record = logging.makeLogRecord(
        {"name": "x", "levelname": "INFO", "msg": "x", "exc_text": "Trace " + SECRETS["live key"]}
    )
    assert log.TextFormatter().format(record).endswith("Trace af_live_[redacted]")


def test_a_request_has_one_line(json_lines: io.StringIO) -> None:
    log.access("POST", "/graphql", 429, 0.0123456, code="RATE_LIMITED")
    line = only(json_lines)
    assert line["logger"] == "api_factory.access"
    assert [line[name] for name in ("method", "path", "status", "ms", "code")] == [
        "POST",
        "/graphql",
        429,
        12.346,
        "RATE_LIMITED",
    ]


def test_requests_are_silent_above_info(json_lines: io.StringIO) -> None:
    log.configure("json", "warning")
    ours().setStream(json_lines)
    log.access("GET", "/", 200, 0.001)
    assert json_lines.getvalue() == ""


def test_uvicorn_speaks_through_here_and_leaves_requests_to_us(json_lines: io.StringIO) -> None:
    configuration = log.uvicorn_config("json", "info")
    assert pickle.loads(pickle.dumps(configuration)) == configuration
    uvicorn.Config("nothing:app", log_config=configuration)
    ours().setStream(json_lines)
    logging.getLogger("uvicorn.access").info("a request")
    logging.getLogger("uvicorn.error").info("Started")
    assert only(json_lines)["message"] == "Started"


FIELDS: dict[str, Any] = {
    "surface": "graphql",
    "code": "OK",
    "address": "203.0.113.9",
    "password": "hunter2",
    "count": 3,
    "ratio": 0.25,
    "flag": True,
    "nothing": None,
    "deep": {"token": "x", "list": [SECRETS["live key"]]},
}


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "path", ["/graphql", "/a b\n\x1b[0m", "/é\udc80", *(f"/{s}" for s in SECRETS.values())]
)
def test_gathered_lines_say_what_single_ones_say(form: Literal["json", "text"], path: str) -> None:
    """The short way of a request's line and the formatters' long one differ in nothing but the time."""
    gathered = io.StringIO()
    lines = log.RequestLines(gathered, form)
    for single in captured(form):
        context = {"request_id": "abc123", "caller": SECRETS["live key"]}
        token = log.bind(**context)
        log.access("GET", path, 200, 0.0123, **FIELDS)
        log.unbind(token)
        lines.add({**context, "method": "GET", "path": path, "status": 200, "ms": 12.3, **FIELDS})
        if form == "json":
            one, other = only(single), only(gathered)
            assert {**one, "time": ""} == {**other, "time": ""}
            assert list(one) == list(other)
            assert len(str(one["time"])) == len(str(other["time"]))
        else:
            assert single.getvalue()[8:] == gathered.getvalue()[8:]
        assert not any(secret in gathered.getvalue() for secret in SECRETS.values())


async def test_the_lines_of_one_turn_of_the_loop_are_one_write() -> None:
    class Counting(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            return super().write(text)

    stream = Counting()
    lines = log.RequestLines(stream, "text")
    for number in range(10):
        lines.add({"path": f"/{number}"})
    assert stream.getvalue() == ""
    await asyncio.sleep(0)
    assert stream.writes == 1
    assert [line.rpartition("=")[2] for line in stream.getvalue().splitlines()] == [
        f"/{n}" for n in range(10)
    ]


def test_a_closed_stream_takes_no_request_down() -> None:
    stream = io.StringIO()
    stream.close()
    log.RequestLines(stream, "json").add({"path": "/"})
