"""Mail through the owner's server: SMTP with STARTTLS, or with TLS from the first byte."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final
from urllib.parse import unquote, urlsplit

from api_factory.errors import ConfigurationError
from api_factory.notices.address import is_name_of_this_machine
from api_factory.notices.model import NotDelivered, Notice
from api_factory.notices.words import words_of

TIMEOUT_SECONDS: Final = 20.0
_EXAMPLE: Final = "smtp://user:password@mail.example.com:587"
_PORTS: Final = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed over; `needs_tls` False only for a server on this machine, in development."""

    host: str
    port: int
    is_tls_from_start: bool
    needs_tls: bool
    user: str | None
    password: str | None
    sender: str


def mail_server(url: str, sender: str, *, is_production: bool) -> MailServer:
    """Read `smtp://` (STARTTLS) or `smtps://`. Raises `ConfigurationError` with the way to write it."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in _PORTS or not parts.hostname or port == 0 or parts.path not in ("", "/"):
        raise ConfigurationError(f"API_FACTORY_SMTP_URL is not valid; write it like {_EXAMPLE}.")
    return MailServer(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        is_tls_from_start=parts.scheme == "smtps",
        needs_tls=is_production or not is_name_of_this_machine(parts.hostname),
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        sender=sender,
    )


async def send_mail(server: MailServer, notice: Notice, recipient: str, *, to_customer: bool) -> None:
    """Hand a notice over to the mail server, in a thread. Raises `NotDelivered`.

    Each attempt has the same Message-ID, by which a mailbox can tell a repeated one.
    """
    message = _message(server, notice, recipient, to_customer=to_customer)
    try:
        await asyncio.to_thread(_hand_over, server, message)
    except smtplib.SMTPRecipientsRefused:
        raise NotDelivered("the mail server refused the recipient") from None
    except smtplib.SMTPResponseException as error:
        raise NotDelivered(f"the mail server answered {error.smtp_code}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotDelivered(f"the mail server could not be used ({type(error).__name__})") from None


def _message(server: MailServer, notice: Notice, recipient: str, *, to_customer: bool) -> EmailMessage:
    subject, text = words_of(notice, to_customer=to_customer)
    message = EmailMessage(policy=SMTP)
    message["From"] = server.sender
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = format_datetime(notice.created_at)
    message["Message-ID"] = f"<{notice.public_id}@{server.sender.rpartition('@')[2].rstrip('>')}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office reply comes back
    message.set_content(text)
    return message


def _hand_over(server: MailServer, message: EmailMessage) -> None:
    context = ssl.create_default_context()
    if server.is_tls_from_start:
        with smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_SECONDS, context=context) as line:
            _log_in_and_send(line, server, message)
        return
    with smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS) as line:
        line.ehlo()
        if server.needs_tls or line.has_extn("starttls"):
            line.starttls(context=context)
        _log_in_and_send(line, server, message)


def _log_in_and_send(line: smtplib.SMTP, server: MailServer, message: EmailMessage) -> None:
    if server.user is not None:
        line.login(server.user, server.password or "")
    line.send_message(message)
