"""One signed request to the owner's webhook, to the address that was checked and no other."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Final

import httpcore

import api_factory
from api_factory.notices.address import AddressRule
from api_factory.notices.model import NotDelivered

TIMEOUT_SECONDS: Final = 15.0
LONGEST_PAUSE_SECONDS: Final = 86_400
_GONE: Final = 410


class _CheckedNetwork(httpcore.AnyIOBackend):
    """Connects only to addresses that the rule allows; a name is resolved once, here."""

    def __init__(self, rule: AddressRule) -> None:
        self._rule = rule

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        # One forbidden address among several may be the one that answers next time: all have to pass.
        if not addresses or not all(map(self._rule.allows, addresses)):
            raise NotDelivered("its name leads to an address that is not public", is_final=False)
        return await super().connect_tcp(addresses[0], port, timeout, local_address, socket_options)


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    rule: AddressRule,
    *,
    tls: ssl.SSLContext,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Send the body as JSON; return when the receiver answers 2xx, whatever else it says is not read.

    Raises `NotDelivered`, final when the receiver answers 410, as Standard Webhooks asks.
    """
    sent = {
        "content-type": "application/json",
        "user-agent": f"api-factory/{api_factory.__version__}",
        "connection": "close",
        **headers,
    }
    try:
        async with (
            asyncio.timeout(timeout_seconds),
            httpcore.AsyncConnectionPool(tls, network_backend=_CheckedNetwork(rule)) as pool,
            pool.stream("POST", url, headers=[*sent.items()], content=body) as response,
        ):
            _judge(response)
    except TimeoutError:
        raise NotDelivered(f"no answer within {timeout_seconds:.0f} seconds") from None
    except OSError as error:
        raise NotDelivered(_reason(error)) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
        raise NotDelivered(_reason(error)) from None


def _judge(response: httpcore.Response) -> None:
    if 200 <= response.status < 300:
        return
    raise NotDelivered(
        f"it answered {response.status}",
        is_final=response.status == _GONE,
        retry_after_seconds=_pause(response.headers),
    )


def _pause(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Read Retry-After, in seconds (RFC 9110, 10.2.3); a date is left to the schedule."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 10:
            return min(int(value), LONGEST_PAUSE_SECONDS)
    return None


def _reason(error: Exception) -> str:
    if _is_about_tls(error):
        return "its certificate or TLS is not valid"
    if isinstance(error, socket.gaierror):
        return "its name has no address"
    return f"it could not be reached ({type(error).__name__})"


def _is_about_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
