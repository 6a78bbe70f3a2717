"""How commands reach a Redis or Valkey: one server, a service watched by Sentinels, or a cluster.

A wire carries one batch of commands there and the replies back, in order; connecting and the exchange are
each given up after 0.2 s. It sends a batch a second time in one case only: a connection that was idle turns
out to be closed. What a server did with a batch whose replies were lost is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import redis.asyncio
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import ReadOnlyError, RedisClusterException, RedisError, ResponseError

EXCHANGE_SECONDS: Final = 0.2
CONNECT_SECONDS: Final = 0.2

Command = Sequence[str | int]
Reply = bytes | None | ResponseError

FAILURES: Final = (RedisError, RedisClusterException, OSError, TimeoutError)
"""All that an exchange may raise for a store that is away."""


class Wire(Protocol):
    """Carries batches of commands; several at once go by connections of their own."""

    @property
    def connections(self) -> int:
        """How often it has connected: at the other end of a new connection may be a server that forgot."""

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Return the reply to each command, which may be a refusal. Raises one of `FAILURES`."""

    async def close(self) -> None:
        """End every connection; the wire can be used again."""


class DirectWire:
    """Connections of redis-py to one server, kept open between batches."""

    def __init__(self, connect: Callable[[], Sequence[redis.asyncio.Redis]]) -> None:
        """Take what makes the client, and others that it needs; it is called at the first exchange."""
        self._connect = connect
        self._clients: Sequence[redis.asyncio.Redis] = ()
        self._idle: list[AbstractConnection] = []
        self._connections = 0

    @property
    def connections(self) -> int:
        """How often it has connected."""
        return self._connections

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Return the reply to each command. Raises one of `FAILURES`."""
        packed = b"".join(map(_packed, commands))
        if self._idle:
            try:
                return await self._talk(self._idle.pop(), packed, len(commands))
            except TimeoutError:
                raise
            except (ConnectionFailed, OSError):
                # The server closed it long ago, or has restarted or become a replica since.
                await self._disconnect_idle()
        return await self._talk(await self._fresh(), packed, len(commands))

    async def close(self) -> None:
        """End every connection."""
        await self._disconnect_idle()
        clients, self._clients = self._clients, ()
        for client in clients:
            await client.aclose()

    async def _fresh(self) -> AbstractConnection:
        self._clients = self._clients or self._connect()
        pool = self._clients[0].connection_pool
        connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connections += 1
        return connection

    async def _talk(self, connection: AbstractConnection, packed: bytes, count: int) -> list[Reply]:
        replies: list[Reply] = []
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                await connection.send_packed_command(packed, check_health=False)
                for _ in range(count):
                    replies.append(await _reply(connection))
        except BaseException:
            # Replies that come late would be taken for those of the next batch.
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return replies

    async def _disconnect_idle(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)


class ClusterWire:
    """A client of a cluster, which sends each command to the server that holds its keys."""

    def __init__(self, connect: Callable[[], RedisCluster]) -> None:
        """Take what makes a client; it is called at the first exchange, and after each failure."""
        self._connect = connect
        self._client: RedisCluster | None = None
        self._connections = 0

    @property
    def connections(self) -> int:
        """How many clients it has made; these connect again to a server of the cluster without a word."""
        return self._connections

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Return the reply to each command. Raises one of `FAILURES`."""
        if self._client is None:
            self._client = self._connect()
            self._connections += 1
        client = self._client
        try:
            async with asyncio.timeout(CONNECT_SECONDS + EXCHANGE_SECONDS):
                await client.initialize()
                pipeline = client.pipeline()
                for command in commands:
                    pipeline.execute_command(*command)
                replies = await pipeline.execute(raise_on_error=False)
            return [_reply_or_failure(reply) for reply in replies]
        except BaseException:
            # The client may hold a map of servers that are gone, and connections half read.
            if self._client is client:
                self._client = None
            await client.aclose()
            raise

    async def close(self) -> None:
        """End every connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


async def _reply(connection: AbstractConnection) -> Reply:
    try:
        reply: bytes | None = await connection.read_response(disable_decoding=True, disconnect_on_error=False)
    except ReadOnlyError as refusal:
        raise ConnectionFailed(str(refusal)) from refusal
    except ResponseError as refusal:
        return refusal
    return reply


def _reply_or_failure(reply: Any) -> Reply:
    if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
        raise reply
    answered: Reply = reply
    return answered


def _packed(command: Command) -> bytes:
    # redis-py's own packing takes as long as all the rest of a check.
    words = [str(word).encode() for word in command]
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))
