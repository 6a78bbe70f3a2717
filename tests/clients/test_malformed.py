"""Clients that do not keep to HTTP: each gets an answer below 500 or none, and nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clients.conftest import PATIENCE_SECONDS, Server, serving

BODY = b'{"query":"{ ping }"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
POST = b"POST /graphql HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nConnection: close\r\n"
PONG = {"data": {"ping": "pong"}}
MANY = 100

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
def besieged() -> Iterator[Server]:
    """A server of this file's own: its sockets are counted."""
    with serving() as started:
        yield started


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Wire]:
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def sent(server: Server, *pieces: bytes, hangs_up: bool = False) -> bytes:
    """Send pieces one after the other; return all that comes until the server ends the connection.

    Whoever hangs up says after the last piece that there will be no more: a whole answer is not certain then.
    """
    async with connected(server) as (reader, writer), asyncio.timeout(PATIENCE_SECONDS):
        # The server may answer and hang up before it has heard everything.
        with contextlib.suppress(OSError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if hangs_up:
                writer.write_eof()
        with contextlib.suppress(OSError):
            return await reader.read()
        return b""


def status_of(reply: bytes) -> int | None:
    return int(reply.split(b" ", 2)[1]) if reply else None


def json_of(reply: bytes) -> object:
    return json.loads(reply.partition(b"\r\n\r\n")[2])


async def is_well(server: Server) -> bool:
    reply = await sent(server, POST + LENGTH + b"\r\n" + BODY)
    return status_of(reply) == 200 and json_of(reply) == PONG


def sockets_of(pid: int) -> int:
    links = (link for link in Path(f"/proc/{pid}/fd").iterdir())
    return sum(_is_socket(link) for link in links)


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except FileNotFoundError:
        return False


async def until_sockets_are(server: Server, most: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sockets_of(server.pid) > most:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"POST /graphql HTTP/9.9\r\n\r\n", 400),
        (POST + b"Content-Length: -1\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 1e3\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 20\r\nContent-Length: 21\r\n\r\n" + BODY, 400),
        (POST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + BODY, 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n" + BODY, 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + BODY, 400),
        (POST + b"Content-Length: 4\r\n\r\n\xff\xfe{}", 400),
        (POST + b"Content-Length: 0\r\n\r\n", 400),
        (POST + LENGTH + b"Content-Encoding: br\r\n\r\n" + BODY, 415),
        (POST.replace(b"/json", b"/xml") + LENGTH + b"\r\n" + BODY, 415),
        (POST + b"Content-Length: 99999999\r\n\r\n" + BODY, 413),
        (POST.replace(b"POST", b"BREW") + LENGTH + b"\r\n" + BODY, 400),
        (POST.replace(b"POST", b"PATCH") + LENGTH + b"\r\n" + BODY, 405),
    ],
)
async def test_a_request_that_is_not_http_or_not_ours_is_refused(
    besieged: Server, request_bytes: bytes, status: int
) -> None:
    assert status_of(await sent(besieged, request_bytes)) == status
    assert await is_well(besieged)


async def test_a_connection_that_asks_nothing_is_ended_without_an_answer(besieged: Server) -> None:
    for nothing in (b"", b"\r\n\r\n"):
        assert await sent(besieged, nothing, hangs_up=True) == b""


async def test_a_body_in_single_bytes_is_put_together(besieged: Server) -> None:
    pieces = [bytes([byte]) for byte in BODY]
    assert json_of(await sent(besieged, POST + LENGTH + b"\r\n", *pieces)) == PONG


async def test_a_body_in_chunks_of_one_byte_is_put_together(besieged: Server) -> None:
    chunks = [b"1\r\n%c\r\n" % byte for byte in BODY]
    reply = await sent(besieged, POST + b"Transfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n")
    assert json_of(reply) == PONG


async def test_clients_that_never_finish_keep_nobody_waiting_and_leave_nothing(besieged: Server) -> None:
    assert await is_well(besieged)
    before = sockets_of(besieged.pid)
    async with asyncio.TaskGroup() as stalling:
        stop = asyncio.Event()
        for number in range(MANY):
            stalling.create_task(_stall(besieged, stop, POST + LENGTH + b"\r\n" + BODY[: number % len(BODY)]))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sockets_of(besieged.pid) < before + MANY:
                await asyncio.sleep(0.05)
        assert await is_well(besieged)
        stop.set()
    await until_sockets_are(besieged, before)


async def _stall(server: Server, stop: asyncio.Event, beginning: bytes) -> None:
    async with connected(server) as (_, writer):
        writer.write(beginning)
        await writer.drain()
        await stop.wait()


async def test_clients_that_hang_up_in_the_middle_leave_nothing(besieged: Server) -> None:
    assert await is_well(besieged)
    before = sockets_of(besieged.pid)
    whole = POST + LENGTH + b"\r\n" + BODY
    for number in range(MANY):
        async with connected(besieged) as (_, writer):
            writer.write(whole[: len(whole) * number // MANY + 1])
            await writer.drain()
            _reset_at_close(writer)
    await until_sockets_are(besieged, before)
    assert await is_well(besieged)


def _reset_at_close(writer: asyncio.StreamWriter) -> None:
    # No good-bye: the reply, if there is one, meets a connection that is gone.
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_requests_on_one_connection_are_answered_in_their_order(besieged: Server) -> None:
    kept = POST.replace(b"Connection: close\r\n", b"")
    named = [b'{"query":"{ n%d: ping }"}' % number for number in range(20)]
    pieces = [kept + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in named]
    replies = await sent(besieged, b"".join(pieces[:-1]), pieces[-1].replace(kept, POST))
    places = [replies.index(b'"n%d":"pong"' % number) for number in range(20)]
    assert places == sorted(places)
    assert replies.count(b"HTTP/1.1 200") == 20


WHOLE = POST + LENGTH + b"\r\n" + BODY
EDITS = st.lists(
    st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4
)


@given(edits=EDITS, cuts=st.lists(st.integers(0, len(WHOLE)), max_size=3))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_becomes_of_the_bytes_no_answer_is_a_fault(
    besieged: Server, edits: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    request = WHOLE
    for place, length, put in edits:
        request = request[:place] + put + request[place + length :]
    bounds = [0, *sorted(cuts), len(request)]
    pieces = [request[begin:end] for begin, end in pairwise(bounds)]
    for reply in (await sent(besieged, *pieces, hangs_up=True)).split(b"HTTP/1.1 ")[1:]:
        assert int(reply[:3]) < 500


async def test_after_all_of_it_the_server_is_well_and_every_balance_is_right(besieged: Server) -> None:
    assert await is_well(besieged)
    assert (await asyncio.to_thread(besieged.command, "usage", "verify"))["drift"] == 0
