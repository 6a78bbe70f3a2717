"""Where notices may go, and how: addresses, signatures, TLS, mail."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

import pytest
import trustme
from standardwebhooks import Webhook, WebhookVerificationError

from api_factory.accounts import Account
from api_factory.db import Database
from api_factory.errors import ConfigurationError
from api_factory.notices import Channels, NotDelivered, Notices, channels_of, signature_of, signing_keys
from api_factory.notices.address import AddressRule
from api_factory.notices.mail import mail_server
from api_factory.notices.post import post
from api_factory.settings import load_settings
from tests.notices.conftest import SECRET, Open, Receiver, Record, hook

OTHER = "whsec_" + "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXI="


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "fec0::1",
        "ff02::1",
        "::",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "2001:db8::1",
        "not an address",
        "",
    ],
)
def test_no_address_inside_a_network_is_allowed_in_production(address: str) -> None:
    assert not AddressRule(allows_this_machine=False).allows(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"]
)
def test_a_public_address_is_allowed(address: str) -> None:
    assert AddressRule(allows_this_machine=False).allows(address)


def test_development_allows_this_machine_and_nothing_else_that_is_private() -> None:
    rule = AddressRule(allows_this_machine=True)
    assert [rule.allows(each) for each in ("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://example.com/", "is not https"),
        ("http://example.com/", "is not https"),
        ("http://127.0.0.1.example.com/", "is not https"),
        ("https://user@example.com/", "holds a user or a fragment"),
        ("https://example.com/#x", "holds a user or a fragment"),
        ("https:///x", "is no URL"),
        ("https://example.com:0/", "is no URL"),
        ("https://example.com:99999/", "is no URL"),
        ("https://exa mple.com/", "is no URL"),
        ("https://exämple.com/", "is no URL"),
        ("hooks", "is no URL"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_with_the_fix(url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=f"API_FACTORY_NOTICE_URL {sentence}"):
        AddressRule(allows_this_machine=True).check_url(url)


@pytest.mark.parametrize("url", ["http://localhost:1/x", "http://[::1]/", "http://a.localhost/"])
def test_plain_http_is_for_this_machine_in_development_only(url: str) -> None:
    AddressRule(allows_this_machine=True).check_url(url)
    with pytest.raises(ConfigurationError, match="is not https"):
        AddressRule(allows_this_machine=False).check_url(url)


async def test_a_name_that_leads_to_this_machine_is_not_connected_to(receiver: Receiver) -> None:
    url = f"http://localhost:{receiver.port}/"
    rule = AddressRule(allows_this_machine=False)
    with pytest.raises(NotDelivered, match="an address that is not public"):
        await post(url, b"{}", {}, rule, tls=ssl.create_default_context())
    assert receiver.received == []


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_one_that_is_trusted_taken(
    authority: trustme.CA,
) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)
    taken = Receiver()
    server = await asyncio.start_server(taken.take, "127.0.0.1", 0, ssl=server_side)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    rule = AddressRule(allows_this_machine=True)
    with pytest.raises(NotDelivered, match="its certificate or TLS is not valid"):
        await post(url, b"{}", {}, rule, tls=ssl.create_default_context())
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    await post(url, b"{}", {}, rule, tls=trusting)
    assert len(taken.received) == 1
    server.close()
    await server.wait_closed()


async def test_nobody_at_the_address_is_said_without_naming_it(receiver: Receiver) -> None:
    with pytest.raises(NotDelivered) as refusal:
        await post(
            "http://127.0.0.1:1/secret", b"{}", {}, AddressRule(True), tls=ssl.create_default_context()
        )
    assert refusal.value.reason == "it could not be reached (ConnectError)"


def test_while_a_secret_is_rolled_both_verify_and_others_do_not() -> None:
    body, seconds = b'{"a":1}', int(time.time())
    signature = signature_of("msg_1", seconds, body, signing_keys(f"{SECRET}, {OTHER}"))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(seconds), "webhook-signature": signature}
    assert signature.count("v1,") == 2
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(body, headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 32).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)


def test_the_signature_is_that_of_the_specification_s_example() -> None:
    # The example of the specification's repository: secret, id, time, body and signature.
    keys = signing_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = signature_of("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', keys)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["c2VjcmV0", "whsec_", "whsec_c2hvcnQ=", "whsec_!", "whsec_" + "A" * 100])
def test_a_weak_or_broken_secret_stops_the_start_and_is_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="API_FACTORY_NOTICE_SECRET is not whsec_") as refusal:
        signing_keys(secret)
    assert secret == "whsec_" or secret not in refusal.value.message


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"notice_url": "https://example.com/"}, "without API_FACTORY_NOTICE_SECRET"),
        ({"notice_mail_to": "a@example.com"}, "API_FACTORY_SMTP_URL is not set"),
        ({"notice_mail_customers": True}, "API_FACTORY_SMTP_URL is not set"),
        ({"smtp_url": "smtp://localhost"}, "without API_FACTORY_MAIL_FROM"),
        ({"smtp_url": "imap://localhost", "mail_from": "a@example.com"}, "API_FACTORY_SMTP_URL is not valid"),
        ({"smtp_url": "smtp://h:0", "mail_from": "a@example.com"}, "API_FACTORY_SMTP_URL is not valid"),
    ],
)
def test_half_a_channel_stops_the_start_with_the_missing_setting(
    written: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        channels_of(load_settings(_env_file=None, **written))


def test_nothing_set_is_no_channel() -> None:
    channels = channels_of(load_settings(_env_file=None))
    assert (channels.has_hook, channels.mail, channels.owners) == (False, None, ())


async def test_a_mail_reaches_owner_and_customer_over_starttls(
    database: Database,
    account: Account,
    record: Record,
    open_office: Open,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    office = await open_office(True)
    trusted = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    server = mail_server(f"smtp://localhost:{office.port}", "billing@example.com", is_production=True)
    channels = Channels(mail=server, owners=("owner@example.com",), mails_customers=True)
    await record(channels, hosted_invoice_url="https://invoice.stripe.com/i/1")
    assert await Notices(database, channels).deliver_due() == 2
    assert [each.state for each in await Notices(database, channels).list()] == ["delivered"] * 2
    mails = {mail["To"]: mail for mail in office.mails}
    assert mails.keys() == {"owner@example.com", "buyer@example.com"}
    to_owner, to_customer = mails["owner@example.com"], mails["buyer@example.com"]
    assert to_owner["Subject"].replace("\n", "") == f"A payment failed ({account.public_id})"
    assert to_owner["From"] == "billing@example.com"
    assert to_owner["Message-ID"].endswith("@example.com>")
    assert "amount_due: 29.00 USD" in to_owner.get_payload()
    assert to_customer["Subject"] == "A payment failed"
    assert "Hosted invoice url: https://invoice.stripe.com/i/1" in to_customer.get_payload()
    assert "Amount due: 29.00 USD" in to_customer.get_payload()
    assert account.public_id not in to_customer.get_payload()


async def test_no_mail_leaves_in_the_clear_where_tls_is_needed(
    database: Database, record: Record, open_office: Open
) -> None:
    office = await open_office(False)
    server = mail_server(f"smtp://localhost:{office.port}", "billing@example.com", is_production=True)
    channels = Channels(mail=server, owners=("owner@example.com",))
    await record(channels)
    await Notices(database, channels).deliver_due()
    (failed,) = await Notices(database, channels).list()
    assert (failed.state, office.mails) == ("pending", [])
    assert failed.last_error == "the mail server could not be used (SMTPNotSupportedError)"


async def test_in_development_a_mail_server_on_this_machine_needs_no_tls(
    database: Database, record: Record, open_office: Open
) -> None:
    office = await open_office(False)
    server = mail_server(f"smtp://127.0.0.1:{office.port}", "billing@example.com", is_production=False)
    channels = Channels(mail=server, owners=("owner@example.com",))
    await record(channels, reason="a\r\nBcc: thief@example.com")
    await Notices(database, channels).deliver_due()
    (mail,) = office.mails
    assert mail["Bcc"] is None
    assert "reason: a\\u000d\\u000aBcc: thief@example.com" in mail.get_payload()


async def test_a_channel_that_is_configured_no_more_ends_its_deliveries(
    database: Database, receiver: Receiver, record: Record
) -> None:
    await record(Channels(hook=hook(receiver)))
    notices = Notices(database, Channels())
    assert await notices.deliver_due() == 1
    (dead,) = await notices.list()
    assert (dead.state, dead.last_error) == ("dead", "API_FACTORY_NOTICE_URL is not set")
