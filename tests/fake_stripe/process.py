"""The fake Stripe as a process, driven by the official package alone; its controls by plain HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import stripe

from tests.fake_stripe.judged import JudgedClient

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk_test_fake"


@dataclass(frozen=True, slots=True)
class FakeStripe:
    """A running fake Stripe: where it is, and what can be done to it."""

    url: str
    process: subprocess.Popen[str]

    def client(self, key: str = KEY, **options: Any) -> stripe.StripeClient:
        """Return the official client, pointed here; every answer is judged. It tries again only if asked."""
        options.setdefault("max_network_retries", 0)
        options.setdefault("http_client", JudgedClient())
        return stripe.StripeClient(key, base_addresses={"api": self.url}, **options)

    @property
    def v1(self) -> Any:
        """The first version's services of a client that keeps its connection."""
        return _kept_client(self.url).v1

    def control(self, path: str, **values: Any) -> Any:
        """Post JSON to `/_fake/{path}` and return the JSON of its answer."""
        return _answer(httpx.post(f"{self.url}/_fake/{path}", json=values, timeout=60, trust_env=False))

    def look(self, path: str = "", **query: Any) -> Any:
        """Return the JSON of `/_fake{path}`."""
        return _answer(httpx.get(f"{self.url}/_fake{path}", params=query, trust_env=False))

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        _answer(httpx.delete(f"{self.url}/_fake/faults", trust_env=False))

    def advance(self, **values: int) -> int:
        """Move its clock on (`days=31`, `seconds=10` or `to=...`); return its time."""
        return int(self.control("advance", **values)["now"])

    def pay(self, session: str, card: str = "pm_card_visa", **values: Any) -> Any:
        """Do what a buyer does on the Checkout page."""
        return self.control(f"checkout/{session}/pay", card=card, **values)

    def settle(self) -> None:
        """Wait until nothing is left to deliver."""
        assert self.control("settle", timeout_seconds=30)["is_settled"]


@cache
def _kept_client(url: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        KEY, base_addresses={"api": url}, max_network_retries=0, http_client=JudgedClient()
    )


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[FakeStripe]:
    """Run one until the block ends. Same `--seed` and `--stands-at`: the same ids and the same story."""
    argv = [sys.executable, "-P", "-m", "fake_stripe", "--port", "0", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=variables)
    try:
        assert process.stdout is not None
        yield FakeStripe(json.loads(process.stdout.readline())["url"], process)
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


def _answer(response: httpx.Response) -> Any:
    if response.is_error:
        raise AssertionError(f"{response.status_code} {response.text}")
    return response.json()
