"""The ways on which notices leave, read from the settings once."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from api_factory.errors import ConfigurationError
from api_factory.ids import public_id
from api_factory.notices.address import AddressRule
from api_factory.notices.mail import MailServer, mail_server, send_mail
from api_factory.notices.model import Channel, Delivery, NotDelivered, Notice
from api_factory.notices.post import TIMEOUT_SECONDS, post
from api_factory.notices.signing import signature_of, signing_keys
from api_factory.settings import Settings


@dataclass(frozen=True, slots=True)
class Hook:
    """The owner's webhook."""

    url: str
    keys: tuple[bytes, ...] = field(repr=False)
    rule: AddressRule
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)
    timeout_seconds: float = TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class Channels:
    """Every way that is configured; without any, notices are recorded and stay here."""

    hook: Hook | None = None
    mail: MailServer | None = None
    owners: tuple[str, ...] = ()
    mails_customers: bool = False
    unix_time: Callable[[], float] = time.time

    @property
    def has_hook(self) -> bool:
        """Tell whether the owner has a webhook."""
        return self.hook is not None

    async def send(self, delivery: Delivery) -> None:
        """Send one delivery. Raises `NotDelivered`, also when its channel is not configured any more."""
        if delivery.channel is Channel.WEBHOOK:
            await self._post(delivery.notice)
            return
        if self.mail is None or delivery.recipient is None:
            raise NotDelivered("API_FACTORY_SMTP_URL is not set", is_final=True)
        to_customer = delivery.channel is Channel.CUSTOMER_MAIL
        await send_mail(self.mail, delivery.notice, delivery.recipient, to_customer=to_customer)

    async def _post(self, notice: Notice) -> None:
        if self.hook is None:
            raise NotDelivered("API_FACTORY_NOTICE_URL is not set", is_final=True)
        body, seconds = body_of(notice), int(self.unix_time())
        headers = {
            "webhook-id": notice.public_id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": signature_of(notice.public_id, seconds, body, self.hook.keys),
        }
        await post(
            self.hook.url,
            body,
            headers,
            self.hook.rule,
            tls=self.hook.tls,
            timeout_seconds=self.hook.timeout_seconds,
        )


def body_of(notice: Notice) -> bytes:
    """Return the body of a notice: `type`, `timestamp` and `data`, as Standard Webhooks recommends."""
    account = None if notice.account_id is None else public_id("acc", notice.account_id)
    return orjson.dumps(
        {"type": notice.kind, "timestamp": notice.created_at, "data": {"account": account, **notice.facts}},
        option=orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS,
    )


def channels_of(settings: Settings) -> Channels:
    """Read the channels. Raises `ConfigurationError` that names the setting and the fix."""
    return Channels(
        hook=_hook_of(settings),
        mail=_mail_of(settings),
        owners=settings.notice_mail_to,
        mails_customers=settings.notice_mail_customers,
    )


def _hook_of(settings: Settings) -> Hook | None:
    if settings.notice_url is None:
        return None
    if settings.notice_secret is None:
        raise ConfigurationError(
            "API_FACTORY_NOTICE_URL is set without API_FACTORY_NOTICE_SECRET: a receiver could not tell who "
            "sends; make one with `echo whsec_$(openssl rand -base64 32)`."
        )
    rule = AddressRule(allows_this_machine=not settings.is_production)
    url = settings.notice_url.get_secret_value()
    rule.check_url(url)
    return Hook(url, signing_keys(settings.notice_secret.get_secret_value()), rule)


def _mail_of(settings: Settings) -> MailServer | None:
    if settings.smtp_url is None:
        if settings.notice_mail_to or settings.notice_mail_customers:
            raise ConfigurationError(
                "Mail is asked for but API_FACTORY_SMTP_URL is not set; set it, or unset "
                "API_FACTORY_NOTICE_MAIL_TO and API_FACTORY_NOTICE_MAIL_CUSTOMERS."
            )
        return None
    if settings.mail_from is None:
        raise ConfigurationError(
            "API_FACTORY_SMTP_URL is set without API_FACTORY_MAIL_FROM; set the address that mail comes from."
        )
    url = settings.smtp_url.get_secret_value()
    return mail_server(url, settings.mail_from, is_production=settings.is_production)
