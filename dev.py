#!/usr/bin/env python3
"""All that a checkout needs, with Python 3.11 or newer and nothing else installed.

python3 dev.py demo [OPTION...]     start the server with demo data and print a key and a ready curl
python3 dev.py serve [OPTION...]    start the server
python3 dev.py test [ARGUMENT...]   run the tests; arguments go to pytest
python3 dev.py clients [ARGUMENT...]  run the tests with other people's clients, of npm and PyPI
python3 dev.py faults [--minutes N] kill, freeze and cut everything under load, again and again for N minutes
python3 dev.py bench [OPTION...]    measure the server beside its peers; needs wrk, and node for some of them
python3 dev.py differential [--minutes N] compare the compiled executor with graphql-core for N minutes
python3 dev.py lint                 formatting, style, types and import contracts
python3 dev.py check                everything that is checked besides the tests
python3 dev.py run COMMAND...       run any command inside the environment, api-factory for one

The environment is .venv beside this file, or where API_FACTORY_VENV says. It is made and brought up to
date when that is due.
"""

# No __future__ import and no newer syntax: an older Python must get as far as the sentence below.
import os
import sys

if sys.version_info < (3, 11):
    sys.exit("API-Factory needs Python 3.11 or newer; this is %d.%d." % sys.version_info[:2])
if os.name != "posix":
    sys.exit("API-Factory runs on Linux and macOS; on Windows, use it inside WSL.")

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("API_FACTORY_VENV") or ROOT / ".venv").absolute()
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".installed"
CLIENTS_STAMP = VENV / ".installed-clients"
UNFINISHED = "unfinished"
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))

COMMANDS = {
    "demo": ["api-factory", "demo"],
    "serve": ["api-factory", "serve"],
    "test": ["python", "-m", "pytest"],
    "clients": ["python", "-m", "pytest", "-n", "2", "--dist", "loadfile", "tests/clients"],
    "faults": ["python", "-m", "pytest", "tests/faults"],
    "bench": ["python", "-m", "bench"],
    "differential": ["python", "-m", "pytest", "tests/schema/compiler"],
    "lint": ["python", "-m", "checks", "--fast"],
    "check": ["python", "-m", "checks"],
    "run": [],
}
LONG_RUNS = {"faults": "FAULTS_MINUTES", "differential": "DIFFERENTIAL_MINUTES"}
KEEPS_DIRECTORY = {"demo", "serve", "run"}


def wanted() -> str:
    """Return the fingerprint of what should be installed; it changes with anything that matters to it."""
    files = [
        ROOT / "pyproject.toml",
        ROOT / "constraints.txt",
        *(path / "pyproject.toml" for path in EXAMPLES),
    ]
    parts = [sys.version, str(ROOT), str(VENV), *(path.read_text() for path in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def installed() -> str:
    """Return the fingerprint of what is installed, or nothing."""
    return STAMP.read_text() if STAMP.exists() and PYTHON.exists() else ""


def set_up() -> None:
    """Bring the environment up to date; of several at once, one does it and the others wait."""
    if installed() == wanted():
        return
    VENV.parent.mkdir(parents=True, exist_ok=True)
    with VENV.with_name(VENV.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed() == wanted():
            return
        print(f"Setting up {VENV} (once; it takes about a minute) ...", file=sys.stderr)
        if installed() == UNFINISHED or not is_usable():
            make_environment()
        STAMP.write_text(UNFINISHED)
        install()
        STAMP.write_text(wanted())


def set_up_clients() -> None:
    """Add what only the tests with other people's clients need, for those who run them."""
    if CLIENTS_STAMP.exists() and CLIENTS_STAMP.read_text() == wanted():
        return
    with VENV.with_name(VENV.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print("Adding Node and the other clients (once) ...", file=sys.stderr)
        install("clients")
        CLIENTS_STAMP.write_text(wanted())


def is_usable() -> bool:
    """Tell whether there is an environment of this Python into which one can install."""
    imports = "import sys" if shutil.which("uv") else "import sys, pip"
    probe = [str(PYTHON), "-c", f"{imports}; print(sys.version)"]
    if not PYTHON.exists():
        return False
    done = subprocess.run(probe, capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == sys.version


def make_environment() -> None:
    """Make an empty environment, in the place of a broken one."""
    if VENV.exists() and any(VENV.iterdir()) and not (VENV / "pyvenv.cfg").exists() and not STAMP.exists():
        sys.exit(f"{VENV} exists and is no virtual environment: move it away, or set API_FACTORY_VENV.")
    shutil.rmtree(VENV, ignore_errors=True)
    if shutil.which("uv"):
        run(["uv", "venv", "--quiet", "--python", sys.executable, str(VENV)])
    elif find_spec("ensurepip"):
        run([sys.executable, "-m", "venv", str(VENV)])
    else:
        make_without_ensurepip()


def make_without_ensurepip() -> None:
    """Make the environment where Debian has split venv off, without changing anything outside it."""
    with tempfile.TemporaryDirectory() as borrowed:
        env = {**os.environ, "PYTHONPATH": f"{borrowed}:{os.environ.get('PYTHONPATH', '')}"}
        if not find_spec("virtualenv"):
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", borrowed, "virtualenv"]
            subprocess.run(pip, stdout=sys.stderr, stderr=subprocess.DEVNULL, env=env)
        made = subprocess.run(
            [sys.executable, "-m", "virtualenv", "--quiet", str(VENV)], stderr=subprocess.DEVNULL, env=env
        )
    if made.returncode != 0:
        sys.exit("This Python cannot make virtual environments. Run: apt install python3-venv")


def install(extras: str = "embedded,dev") -> None:
    """Install the project and its examples, editable, at the versions of constraints.txt."""
    packages = [f"{ROOT}[{extras}]", *(str(path) for path in EXAMPLES)]
    arguments = ["--quiet", "--constraint", str(ROOT / "constraints.txt")]
    for package in packages:
        arguments += ["--editable", package]
    if shutil.which("uv"):
        run(["uv", "pip", "install", "--python", str(PYTHON), *arguments])
    else:
        run([str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *arguments])


def run(argv: list[str]) -> None:
    """Run a step of the set-up; what it says goes to stderr, for stdout belongs to the command."""
    if subprocess.run(argv, stdout=sys.stderr).returncode != 0:
        sys.exit(f"The set-up stopped at: {' '.join(argv)}")


def execute(name: str, arguments: list[str]) -> None:
    """Become the command, inside the environment: signals reach it and its exit code is this one's."""
    argv = [*COMMANDS[name], *arguments]
    if name == "test" and not any(word.startswith(("-n", "--numprocesses", "--pdb")) for word in arguments):
        argv[3:3] = ["-n", "2"]
    if not argv:
        sys.exit("Which command? python3 dev.py run COMMAND...")
    env = {
        **os.environ,
        "VIRTUAL_ENV": str(VENV),
        "PATH": f"{VENV / 'bin'}:{os.environ.get('PATH', os.defpath)}",
    }
    env.pop("PYTHONHOME", None)
    if name in LONG_RUNS and "--minutes" in argv:
        place = argv.index("--minutes")
        env[LONG_RUNS[name]] = minutes(name, argv[place + 1 : place + 2])
        del argv[place : place + 2]
    if name not in KEEPS_DIRECTORY:
        os.chdir(ROOT)
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


def minutes(name: str, words: list[str]) -> str:
    """Return how long a command goes on, as it was written."""
    try:
        return str(float(words[0]))
    except (IndexError, ValueError):
        sys.exit(f"How many minutes? python3 dev.py {name} --minutes 30")


def main() -> None:
    """Set up, then execute the command."""
    name, *arguments = sys.argv[1:] or ["help"]
    if name not in COMMANDS:
        print(__doc__, file=sys.stdout if name in ("help", "-h", "--help") else sys.stderr)
        sys.exit(0 if name in ("help", "-h", "--help") else 2)
    try:
        set_up()
        if name == "clients":
            set_up_clients()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"Cannot write the environment ({error}); API_FACTORY_VENV names another place for it.")
    execute(name, arguments)


if __name__ == "__main__":
    main()
