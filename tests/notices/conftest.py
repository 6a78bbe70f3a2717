"""A receiver of webhooks and a mail server, both real and on this machine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message

import pytest
import trustme
from aiosmtpd.handlers import Message as MessageHandler
from aiosmtpd.smtp import SMTP

from api_factory.accounts import Account, Accounts, Plan, Plans
from api_factory.audit import Actor, Audit
from api_factory.db import Database
from api_factory.notices import Channels, NewNotice, Notices
from api_factory.notices.address import AddressRule
from api_factory.notices.channels import Hook

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
BY = Actor("staff", "ada")


@dataclass(frozen=True)
class Received:
    """One request as it came over the socket."""

    line: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """The owner's end: answers what it is told to, in order, and the last of it for ever."""

    port: int = 0
    answers: list[bytes] = field(default_factory=lambda: [b"HTTP/1.1 204 No Content\r\n\r\n"])
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?from=af"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(head[0], headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:  # says nothing for as long as somebody listens
            await reader.read()
        writer.write(answer)
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.take, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


class Mailbox(MessageHandler):
    """Keeps what was handed over."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Message] = []

    def handle_message(self, message: Message) -> None:
        self.mails.append(message)


@dataclass
class Office:
    """A mail server and what it was handed."""

    port: int
    mails: list[Message]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


Open = Callable[[bool], Awaitable[Office]]


@pytest.fixture
async def open_office(authority: trustme.CA) -> AsyncIterator[Open]:
    """Start a mail server; one that `needs_tls` takes nothing before STARTTLS."""
    started: list[asyncio.Server] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def start(needs_tls: bool) -> Office:
        box = Mailbox()
        tls = {"tls_context": context, "require_starttls": True} if needs_tls else {}
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(box, hostname="test", loop=loop, **tls), "127.0.0.1", 0
        )
        started.append(server)
        return Office(server.sockets[0].getsockname()[1], box.mails)

    yield start
    for server in started:
        server.close()
        await server.wait_closed()


def hook(receiver: Receiver, *, this_machine: bool = True, timeout_seconds: float = 5.0) -> Hook:
    from api_factory.notices import signing_keys

    return Hook(
        receiver.url, signing_keys(SECRET), AddressRule(this_machine), timeout_seconds=timeout_seconds
    )


@pytest.fixture
async def account(database: Database) -> Account:
    audit = Audit(database)
    await Plans(database, audit).apply([Plan(slug="free", name="Free", quota_units=10)], by=BY)
    return await Accounts(database, audit).create("buyer@example.com", by=BY)


Record = Callable[..., Awaitable[bool]]


@pytest.fixture
def record(database: Database, account: Account) -> Record:
    """Record one notice about the account, in a transaction of its own."""

    async def write(channels: Channels, dedupe_key: str = "payment_failed:in_1:1", **facts: object) -> bool:
        notice = NewNotice(
            kind="billing.payment_failed",
            dedupe_key=dedupe_key,
            account_id=account.id,
            facts={"invoice_id": "in_1", "amount_due": 2_900, "currency": "usd", **facts},
        )
        async with database.transaction():
            return await Notices(database, channels).record(notice)

    return write
