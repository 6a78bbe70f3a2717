"""Where a buyer may be sent back to."""

from __future__ import annotations

import pytest

from api_factory.billing.returns import ReturnAddresses
from api_factory.errors import ConfigurationError, ReturnAddressNotAllowed

ALLOWED = ReturnAddresses.of(["https://app.example.com"], allows_this_machine=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com",
        "https://app.example.com/done?session={CHECKOUT_SESSION_ID}",
        "https://app.example.com:443/",
        "HTTPS://APP.example.com/x#y",
    ],
)
def test_an_address_of_an_allowed_origin_is_taken(url: str) -> None:
    ALLOWED.check("successUrl", url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/done",
        "//app.example.com/",
        "http://app.example.com/",
        "https://app.example.com.evil.example/",
        "https://evil.example/?https://app.example.com",
        "https://app.example.com@evil.example/",
        "https://app.example.com:8443/",
        "https://app.example.com\\@evil.example/",
        "https://evil.example\\.app.example.com/",
        "https://app.example.com /",
        "https://app.example.com/\r\nx",
        "javascript:alert(1)",
        "https://app.exämple.com/",
        "https://app.example.com:port/",
        "https://app.example.com/" + "x" * 5_000,
        "http://localhost/",
    ],
)
def test_any_other_address_is_refused_with_the_input_and_the_setting(url: str) -> None:
    with pytest.raises(ReturnAddressNotAllowed, match="API_FACTORY_BILLING_RETURN_ORIGINS") as refusal:
        ALLOWED.check("successUrl", url)
    assert (refusal.value.field, refusal.value.message.split()[0]) == ("successUrl", "successUrl")


def test_in_development_this_machine_is_allowed_whatever_the_port() -> None:
    development = ReturnAddresses.of([], allows_this_machine=True)
    for url in ("http://localhost:3000/done", "http://127.0.0.1/", "http://[::1]:8000/"):
        development.check("returnUrl", url)
    with pytest.raises(ReturnAddressNotAllowed):
        development.check("returnUrl", "http://localhost.example.com/")


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://app.example.com/path", "http://app.example.com", "*", "https://"]
)
def test_what_is_no_origin_stops_the_start(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="is no origin; write each as"):
        ReturnAddresses.of([origin], allows_this_machine=False)
