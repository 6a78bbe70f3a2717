"""localstripe as a process: somebody else's stand-in for Stripe, which knows nothing of ours.

It is under the GPL, so it is no dependency: it is installed apart from the environment, started as a program,
spoken to over HTTP, and imported by nobody. What it runs on (aiohttp, python-dateutil) the environment has.
https://github.com/adrienverge/localstripe
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import stripe

VERSION = "1.15.10"
KEY = "sk_test_localstripe"
_PLACE = Path(sys.prefix) / "peers" / f"localstripe-{VERSION}"
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class LocalStripe:
    """A running localstripe."""

    url: str

    def client(self) -> Any:
        """Return the services of the official client, pointed here."""
        return stripe.StripeClient(KEY, base_addresses={"api": self.url}, max_network_retries=0).v1

    def send_events_to(self, url: str, secret: str) -> None:
        """Have every event sent there, signed with the secret; it takes a second for each."""
        hook = {"url": url, "secret": secret}
        httpx.post(f"{self.url}/_config/webhooks/tests", json=hook, trust_env=False).raise_for_status()

    def use_card(self, customer: str, number: str) -> None:
        """Make a test card the customer's default."""
        card = {"number": number, "exp_month": 12, "exp_year": 2035, "cvc": "123"}
        v1 = self.client()
        method = v1.payment_methods.create({"type": "card", "card": card}).id
        v1.payment_methods.attach(method, {"customer": customer})
        v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method}})

    def refuse_authentication(self, intent: str) -> None:
        """Let the bank's question about a payment be answered with no."""
        secret = self.client().payment_intents.retrieve(intent).client_secret
        answer = {"key": "pk_test_localstripe", "client_secret": secret, "success": "false"}
        url = f"{self.url}/v1/payment_intents/{intent}/_authenticate"
        httpx.post(url, data=answer, trust_env=False).raise_for_status()


@contextmanager
def running(folder: Path) -> Iterator[LocalStripe]:
    """Run one until the block ends; what it writes down goes into the folder."""
    _install()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {**os.environ, "PYTHONPATH": str(_PLACE), "TMPDIR": str(folder)}
    argv = [sys.executable, "-P", "-m", "localstripe.server", "--from-scratch", "--port", str(port)]
    process = subprocess.Popen(argv, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_it_answers(url, process)
        yield LocalStripe(url)
    finally:
        process.terminate()
        process.wait(20)


def _install() -> None:
    _PLACE.parent.mkdir(exist_ok=True)
    with (_PLACE.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several workers of pytest one installs
        if _PLACE.is_dir():
            return
        draft = _PLACE.with_name("draft")
        shutil.rmtree(draft, ignore_errors=True)
        pip = ["uv", "pip"] if shutil.which("uv") else [sys.executable, "-m", "pip"]
        argv = [*pip, "install", "--quiet", "--no-deps", "--target", str(draft), f"localstripe=={VERSION}"]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        draft.rename(_PLACE)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"localstripe ended with {process.returncode}"
        try:
            if httpx.get(f"{url}/v1/customers", auth=(KEY, ""), trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("localstripe does not answer")
