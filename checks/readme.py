"""Runs the commands of the README, or of the pages named, and compares what they print with what is written.

A fence marked ``console run`` holds commands behind ``$`` and what each prints; ``…`` stands for anything,
and white space does not count. One marked ``console serve`` starts a server, which answers until the page
ends. One marked ``python file=NAME`` is written to that file. All happens in a copy of the checkout.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = ("README.md", "docs/tutorial/first-paid-call.md")
WRITTEN_URL: Final = "http://127.0.0.1:8000"
WRITTEN_KEY: Final = "af_live_…"
PATIENCE_SECONDS: Final = 120

_FENCE = re.compile(r"^```(\w+) (run|serve|file=\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LEFT_OUT = {"__pycache__", "dist", "build", "node_modules"}


class Failure(Exception):
    """A page does not tell the truth."""


@dataclass(frozen=True, slots=True)
class Block:
    """One marked fence: what to do with it, its text, and the line where it stands."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """One command and what the page says it prints; empty says nothing."""

    text: str
    expected: str


@dataclass(slots=True)
class Reader:
    """Somebody who does what a page says, in a folder of his own."""

    folder: Path
    state: Path
    environment: dict[str, str]
    url: str = WRITTEN_URL
    key: str = WRITTEN_KEY
    servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def follow(self, block: Block) -> None:
        """Do what one block says. Raises `Failure`."""
        if block.kind.startswith("file="):
            path = self._here() / block.kind.removeprefix("file=")
            path.write_text(self._real(block.text))
        elif block.kind == "serve":
            self._serve(commands(block.text)[0].text)
        else:
            for command in commands(block.text):
                self._run(command)

    def leave(self) -> None:
        """End the servers as an operator would. Raises `Failure` when one does not end well."""
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        codes = [server.wait(PATIENCE_SECONDS) for server in self.servers]
        if any(codes):
            raise Failure(f"a server ended with {codes}")

    def _run(self, command: Command) -> None:
        done = subprocess.run(
            ["bash", "-c", self._script(command.text)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        print(f"$ {command.text}\n{done.stdout.rstrip()}", flush=True)
        if done.returncode:
            raise Failure(f"{command.text}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        if command.expected and not is_as_written(command.expected, done.stdout):
            raise Failure(f"{command.text}\nshould print\n{command.expected}\nand printed\n{done.stdout}")

    def _serve(self, command: str) -> None:
        log = (self.folder.parent / "server.log").open("w")
        with log:
            server = subprocess.Popen(
                ["bash", "-c", self._script(f"exec {command} --json --port 0", keeps=False)],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.servers.append(server)
        print(f"$ {command} &")
        ready = server.stdout.readline() if server.stdout else ""
        if not ready:
            raise Failure(f"{command} did not start:\n{Path(log.name).read_text()}")
        said = json.loads(ready)
        self.url, self.key = said["url"], said.get("key", self.key)

    def _script(self, command: str, *, keeps: bool = True) -> str:
        # Each command is a shell of its own that finds what the one before it has exported, and its folder.
        keep = f'code=$?; {{ export -p; echo "cd $(printf %q "$PWD")"; }} > {self.state}; exit $code'
        return f". {self.state}\n{self._real(command)}\n" + (keep if keeps else "")

    def _real(self, text: str) -> str:
        """Return a text of the page with the addresses of this run."""
        text = text.replace(WRITTEN_URL, self.url).replace(WRITTEN_KEY, self.key)
        return re.sub(r"(?<![\w/])dev\.py", str(ROOT / "dev.py"), text)

    def _here(self) -> Path:
        last = self.state.read_text().splitlines()[-1]
        return Path(shlex.split(last)[1])


def blocks(page: str) -> list[Block]:
    """Return the marked fences of a page in their order."""
    return [
        Block(found[2], found[3], page.count("\n", 0, found.start()) + 1) for found in _FENCE.finditer(page)
    ]


def commands(block: str) -> list[Command]:
    """Return the commands of a console block, each with the lines that follow it."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    found = (re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*)\n?(.*)", part, re.DOTALL) for part in parts)
    return [Command(match[1], match[2].strip()) for match in found if match is not None]


def is_as_written(expected: str, printed: str) -> bool:
    """Tell whether an output is the one written, in which `…` stands for anything."""
    parts = ("".join(part.split()) for part in expected.split("…"))
    pattern = ".*".join(re.escape(part) for part in parts)
    return re.fullmatch(pattern, "".join(printed.split()), re.DOTALL) is not None


@contextlib.contextmanager
def reader(root: Path) -> Iterator[Reader]:
    """Put somebody before a copy of the checkout, with nothing set; at the end his servers are stopped."""
    with tempfile.TemporaryDirectory(prefix="api-factory-readme-") as scratch:
        folder, state = Path(scratch) / "checkout", Path(scratch) / "state"
        shutil.copytree(root, folder, ignore=_left_out)
        state.write_text(f"cd {shlex.quote(str(folder))}\n")
        names = ("DATABASE_URL", "REDIS_URL", "KEY")
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in names and (name == "API_FACTORY_VENV" or not name.startswith("API_FACTORY_"))
        }
        kept["PATH"] = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
        somebody = Reader(folder, state, kept)
        try:
            yield somebody
            somebody.leave()
        finally:
            for server in somebody.servers:
                server.kill()
                server.wait()


def run(page: Path, root: Path = ROOT) -> None:
    """Do what a page says, in a copy of `root`. Raises `Failure` naming the line."""
    found = blocks(page.read_text())
    if not found:
        raise Failure(f"{page.name} holds no command to run")
    with reader(root) as somebody:
        for block in found:
            try:
                somebody.follow(block)
            except (Failure, subprocess.TimeoutExpired) as failure:
                raise Failure(f"{page.name}:{block.line}: {failure}") from None


def _left_out(_: str, names: list[str]) -> list[str]:
    # Whatever is hidden is caches, the environment, and somebody's own database.
    return [name for name in names if name in _LEFT_OUT or name.startswith(".")]


def main() -> int:
    """Run the pages named on the command line, or all; 1 when one does not tell the truth."""
    for name in sys.argv[1:] or PAGES:
        print(f"=== {name}", flush=True)
        try:
            run(ROOT / name)
        except Failure as failure:
            print(f"FAILED: {failure}", file=sys.stderr)
            return 1
    print("Every command does what its page says.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
