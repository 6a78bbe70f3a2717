from __future__ import annotations

import pytest

from api_factory.credentials import Credentials, from_headers
from api_factory.errors import BadUserInput, Unauthenticated

KEY = "af_live_0123456789"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([(b"accept", b"*/*")], None),
        ([(b"authorization", b"Bearer " + KEY.encode())], KEY),
        ([(b"authorization", b"bearer   " + KEY.encode() + b" ")], KEY),
        ([(b"x-api-key", KEY.encode())], KEY),
        ([(b"x-api-key", b" " + KEY.encode())], KEY),
        ([(b"x-api-key", KEY.encode()), (b"authorization", b"BEARER " + KEY.encode())], KEY),
        ([(b"x-api-key", b"")], ""),
        ([(b"x-api-key", b"\xff\x00")], "\xff\x00"),
    ],
)
def test_a_key_is_read_from_either_header(headers: list[tuple[bytes, bytes]], expected: str | None) -> None:
    assert from_headers(headers, "192.0.2.1") == Credentials(expected, "192.0.2.1")


@pytest.mark.parametrize("value", [b"Basic dXNlcjpwYXNz", b"Token abc", KEY.encode(), b"", b"Bearerabc"])
def test_another_scheme_is_refused_with_the_name_of_the_right_one_and_without_the_value(value: bytes) -> None:
    with pytest.raises(Unauthenticated, match="Authorization: Bearer <key>") as caught:
        from_headers([(b"authorization", value)], "")

    assert caught.value.headers["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'
    assert not value or value.decode() not in caught.value.message


def test_a_scheme_without_a_key_is_refused() -> None:
    with pytest.raises(Unauthenticated, match="holds no key"):
        from_headers([(b"authorization", b"Bearer ")], "")


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer one"), (b"x-api-key", b"two")],
        [(b"x-api-key", b"one"), (b"x-api-key", b"two")],
        [(b"authorization", b"Bearer one"), (b"authorization", b"Bearer two")],
    ],
)
def test_two_different_keys_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadUserInput, match="two different API keys"):
        from_headers(headers, "")


def test_credentials_do_not_show_the_key() -> None:
    assert KEY not in repr(Credentials(KEY, "192.0.2.1"))
