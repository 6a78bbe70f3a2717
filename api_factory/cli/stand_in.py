"""The stand-in for Stripe beside the demo: a child process, kept running, that ends with the demo."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import api_factory
from api_factory.errors import ConfigurationError
from api_factory.settings import Settings, load_settings

LOGGER = logging.getLogger("api_factory.stand_in")

_HOME = Path(api_factory.__file__).resolve().parent.parent
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 10.0


class StandIn:
    """Runs `python -m fake_stripe` and points STRIPE_API_KEY, _API_BASE and _WEBHOOK_SECRET at it.

    Where the settings name a key or an API already it does nothing: the owner develops against Stripe itself.
    """

    def __init__(self) -> None:
        self.url: str | None = None
        self._child: subprocess.Popen[str] | None = None
        self._state: Path | None = None
        self._secret = f"whsec_{secrets.token_hex(24)}"
        self._next_look = 0.0

    def begin(self, settings: Settings) -> Settings:
        """Start it and return the settings that speak to it; the processes started here inherit them.

        Raises `ConfigurationError` for a live key, and when the child cannot be started.
        """
        key = settings.stripe_api_key.get_secret_value() if settings.stripe_api_key else ""
        if "_live_" in key:
            raise ConfigurationError(
                "STRIPE_API_KEY is a live key, and the demo would charge real cards; unset it to try billing "
                "with a stand-in, or set a test key."
            )
        if key or settings.stripe_api_base is not None:
            return settings
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._state = settings.data_dir.absolute() / "fake-stripe.json"
        self._start(port=0)
        os.environ["STRIPE_API_BASE"] = str(self.url)
        os.environ["STRIPE_API_KEY"] = f"sk_test_{secrets.token_hex(16)}"
        os.environ["STRIPE_WEBHOOK_SECRET"] = self._secret
        return load_settings()

    def send_events_to(self, url: str) -> None:
        """Have it send its events to this server and nowhere else."""
        if self.url is None:
            return
        endpoint = {
            "url": f"{url}/webhooks/stripe",
            "secret": self._secret,
            "enabled_events": ["*"],
            "is_only": True,
        }
        request = urllib.request.Request(  # noqa: S310 - our own child
            f"{self.url}/_fake/webhook_endpoints",
            json.dumps(endpoint).encode(),
            {"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_ANSWER_SECONDS):
            LOGGER.debug("the stand-in for Stripe sends its events to %s", endpoint["url"])

    def tend(self) -> None:
        """Start it again, at the same address, when it has ended; call it often."""
        if self._child is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_SECONDS
        if self._child.poll() is None:
            return
        LOGGER.warning("the stand-in for Stripe has ended; it is started again")
        try:
            self._start(port=int(str(self.url).rpartition(":")[2]))
        except ConfigurationError as error:
            LOGGER.error("%s", error)

    def end(self) -> None:
        """Stop it; what it knows stays in the data directory."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        _close_output(self._child)

    def _start(self, port: int) -> None:
        if self._child is not None:
            _close_output(self._child)
        # -P and our own place first: no folder of the working directory is taken for a package of ours.
        argv = [sys.executable, "-P", "-m", "fake_stripe", "--port", str(port)]
        argv += ["--state", str(self._state), "--parent", str(os.getpid())]
        places = [str(_HOME), *filter(None, [os.environ.get("PYTHONPATH")])]
        # In a session of its own: Ctrl-C is for the server, which stops this one last.
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            argv,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        )
        self.url = _address(self._child)


def _address(child: subprocess.Popen[str]) -> str:
    line = child.stdout.readline() if child.stdout else ""
    if not line:
        raise ConfigurationError(
            f"The stand-in for Stripe ended with {child.wait()}; the lines above say why. To do without it, "
            "set STRIPE_API_KEY to a test key of Stripe's."
        )
    return str(json.loads(line)["url"])


def _close_output(child: subprocess.Popen[str]) -> None:
    if child.stdout is not None:
        child.stdout.close()
