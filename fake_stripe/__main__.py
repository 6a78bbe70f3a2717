"""`python -m fake_stripe`: run it until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import socket
import sys
from types import FrameType

import uvicorn

from fake_stripe.app import Server
from fake_stripe.clock import Clock
from fake_stripe.lifeline import end_with_parent
from fake_stripe.state import load
from fake_stripe.world import World


def main() -> None:
    """Serve one account; the first line on stdout is its address as JSON."""
    options = _options()
    listener = socket.create_server((options.host, options.port))
    base_url = f"http://{options.host}:{listener.getsockname()[1]}"
    clock = Clock(stands_at=options.stands_at)
    world = World(seed=options.seed or secrets.token_hex(8), clock=clock, base_url=base_url)
    if options.state:
        load(world, options.state)
    if options.parent:
        end_with_parent(options.parent)
    server = uvicorn.Server(
        uvicorn.Config(Server(world, options.state).app(), log_level="warning", access_log=False)
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)  # uvicorn closes in order, then passes the signal on to here
    print(json.dumps({"url": base_url}), flush=True)
    server.run(sockets=[listener])


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fake_stripe", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=12111, help="0: a free one")
    parser.add_argument("--seed", help="makes ids, secrets and faults the same in every run")
    parser.add_argument(
        "--stands-at", type=int, metavar="SECONDS", help="a clock that only /_fake/advance moves"
    )
    parser.add_argument("--state", metavar="FILE", help="keeps the account over restarts")
    parser.add_argument("--parent", type=int, metavar="PID", help="ends when this process has ended")
    return parser.parse_args()


if __name__ == "__main__":
    main()
