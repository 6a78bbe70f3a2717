"""What ``dev.py`` promises, on a small project beside a copy of it; only one test installs from packages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Stands for uv: makes an environment at once and notes what it was asked for.
FAKE_UV = """\
#!{python}
import subprocess, sys, pathlib
with open({log!r}, "a") as log:
    print(*sys.argv[1:], file=log)
if sys.argv[1] == "venv":
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", sys.argv[-1]], check=True)
"""

# A build backend without dependencies: pip needs no network for it.
BACKEND = """\
import zipfile
NAME = "api_factory-0.1.dist-info"
def get_requires_for_build_editable(config_settings=None): return []
def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "api_factory-0.1-py3-none-any.whl"
    with zipfile.ZipFile(directory + "/" + name, "w") as wheel:
        wheel.writestr("small_project.py", "ANSWER = 42")
        wheel.writestr(NAME + "/METADATA", "Metadata-Version: 2.1\\nName: api-factory\\nVersion: 0.1\\n"
            "Provides-Extra: embedded\\nProvides-Extra: dev\\n")
        wheel.writestr(NAME + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(NAME + "/RECORD", "")
    return name
"""
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

Dev = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "dev.py", project)
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "backend.py").write_text(BACKEND)
    (project / "constraints.txt").write_text("")
    uv = tmp_path / "tools" / "uv"
    uv.parent.mkdir()
    uv.write_text(FAKE_UV.format(python=sys.executable, log=str(tmp_path / "uv.log")))
    uv.chmod(0o755)
    return project


def environment(project: Path, *, with_uv: bool = True) -> dict[str, str]:
    tools = [str(project.parent / "tools")] if with_uv else []
    return {
        "PATH": ":".join([*tools, "/usr/bin", "/bin"]),
        "HOME": str(project.parent / "home"),
        "PIP_NO_INDEX": "1",
    }


@pytest.fixture
def dev(project: Path) -> Dev:
    def run(
        *arguments: str, with_uv: bool = True, before: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        start = [sys.executable, "dev.py", *arguments]
        if before:  # changes what dev.py finds in its interpreter
            code = (
                f"import sys, runpy; {before}; del sys.argv[0]; runpy.run_path('dev.py', run_name='__main__')"
            )
            start = [sys.executable, "-c", code, "dev.py", *arguments]
        env = {**environment(project, with_uv=with_uv), **more}
        return subprocess.run(start, cwd=project, env=env, capture_output=True, text=True, timeout=300)

    return run


def uv_calls(project: Path) -> list[str]:
    log = project.parent / "uv.log"
    return log.read_text().splitlines() if log.exists() else []


def test_the_first_run_installs_with_pip_and_runs_the_command_inside(project: Path, dev: Dev) -> None:
    code = "import sys, small_project; print(sys.prefix, small_project.ANSWER)"
    done = dev("run", "python", "-c", code, with_uv=False)
    assert done.stdout == f"{project / '.venv'} 42\n"
    assert done.returncode == 0


def test_uv_is_used_where_there_is_one(project: Path, dev: Dev) -> None:
    assert dev("run", "true").returncode == 0
    assert [call.split()[0] for call in uv_calls(project)] == ["venv", "pip"]
    assert uv_calls(project)[1].endswith(
        f"--constraint {project}/constraints.txt --editable {project}[embedded,dev]"
    )


def test_the_examples_are_installed_too(project: Path, dev: Dev) -> None:
    example = project / "examples" / "words"
    example.mkdir(parents=True)
    (example / "pyproject.toml").write_text("[project]\n")
    dev("run", "true")
    assert uv_calls(project)[1].endswith(f"--editable {example}")


def test_the_second_run_sets_nothing_up(project: Path, dev: Dev) -> None:
    assert dev("run", "true").stderr.startswith("Setting up")
    calls = uv_calls(project)
    assert dev("run", "true").stderr == ""
    assert uv_calls(project) == calls


def test_only_the_tests_with_other_clients_install_what_those_need_and_only_once(
    project: Path, dev: Dev
) -> None:
    (project / "pytest.py").write_text("import sys; print(sys.argv[1:])")
    dev("test", "-n0")
    assert [call for call in uv_calls(project) if call.endswith("[clients]")] == []
    for _ in range(2):
        assert dev("clients", "-q").stdout == "['-n', '2', '--dist', 'loadfile', 'tests/clients', '-q']\n"
    assert [call for call in uv_calls(project) if call.endswith("[clients]")] == [uv_calls(project)[-1]]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_should_be_installed_installs_into_the_same_environment(
    project: Path, dev: Dev, name: str
) -> None:
    dev("run", "true")
    (project / ".venv" / "kept").touch()
    with (project / name).open("a") as file:
        file.write("# changed\n")
    assert dev("run", "true").stderr.startswith("Setting up")
    assert (project / ".venv" / "kept").exists()
    assert [call.split()[0] for call in uv_calls(project)] == ["venv", "pip", "pip"]


@pytest.mark.parametrize("damage", ["interrupted", "no interpreter", "only a directory"])
def test_a_broken_environment_is_made_again(project: Path, dev: Dev, damage: str) -> None:
    dev("run", "true")
    venv = project / ".venv"
    (venv / "rubbish").touch()
    if damage == "interrupted":
        (venv / ".installed").write_text("unfinished")
    elif damage == "no interpreter":
        (venv / "bin" / "python").unlink()
        (venv / "bin" / "python").symlink_to("/nowhere/python")
    else:
        shutil.rmtree(venv)
        venv.mkdir()
    assert dev("run", "python", "-c", "print('works')").stdout == "works\n"
    assert not (venv / "rubbish").exists()


def test_a_directory_that_is_no_environment_is_left_alone(project: Path, dev: Dev) -> None:
    mine = project / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    done = dev("run", "true", API_FACTORY_VENV=str(mine))
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert (mine / "letter.txt").read_text() == "dear"


def test_the_environment_can_be_elsewhere(project: Path, dev: Dev) -> None:
    elsewhere = project.parent / "deep" / "elsewhere"
    done = dev("run", "python", "-c", "import sys; print(sys.prefix)", API_FACTORY_VENV=str(elsewhere))
    assert done.stdout == f"{elsewhere}\n"
    assert not (project / ".venv").exists()


def test_of_two_at_once_one_installs_and_the_other_waits(project: Path) -> None:
    argv = [sys.executable, "dev.py", "run", "python", "-c", "print('works')"]
    where: dict[str, Any] = {"cwd": project, "env": environment(project)}
    both = [subprocess.Popen(argv, **where, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [one.communicate(timeout=120) for one in both]
    assert [out for out, _ in answers] == ["works\n", "works\n"]
    assert [call.split()[0] for call in uv_calls(project)] == ["venv", "pip"]


def test_a_failed_set_up_fails_and_is_tried_again(project: Path, dev: Dev) -> None:
    (project / "backend.py").write_text("a syntax error")
    failed = dev("run", "true", with_uv=False)
    assert failed.returncode == 1
    assert "The set-up stopped at:" in failed.stderr
    (project / "backend.py").write_text(BACKEND)
    assert dev("run", "true", with_uv=False).returncode == 0


def test_without_ensurepip_an_installed_virtualenv_is_used(project: Path, dev: Dev) -> None:
    module = project.parent / "modules" / "virtualenv.py"
    module.parent.mkdir()
    module.write_text("import sys, venv; venv.create(sys.argv[-1], with_pip=True)")
    missing = "sys.modules['ensurepip'] = None"
    done = dev("run", "true", with_uv=False, before=missing, PYTHONPATH=str(module.parent))
    assert done.returncode == 0
    assert (project / ".venv" / "bin" / "pip").exists()


def test_without_any_way_to_make_an_environment_the_mending_line_is_said(project: Path, dev: Dev) -> None:
    done = dev("run", "true", with_uv=False, before="sys.modules['ensurepip'] = None")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "This Python cannot make virtual environments. Run: apt install python3-venv\n"
    )


def test_an_older_python_is_told_so_in_one_sentence(dev: Dev) -> None:
    done = dev("demo", before="sys.version_info = (3, 9, 2)")
    assert (done.returncode, done.stderr) == (1, "API-Factory needs Python 3.11 or newer; this is 3.9.\n")


def test_the_exit_code_is_the_commands(dev: Dev) -> None:
    assert dev("run", "sh", "-c", "exit 7").returncode == 7


def hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_signals_reach_the_command_for_it_has_taken_the_place(project: Path, dev: Dev) -> None:
    dev("run", "true")
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    argv = [sys.executable, "dev.py", "run", "python", "-c", code]
    # A shell starts what runs in the background deaf to Ctrl-C, and children inherit that.
    where: dict[str, Any] = {"cwd": project, "env": environment(project), "preexec_fn": hear_interrupts}
    with subprocess.Popen(argv, **where, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert int(child.stdout.readline()) == child.pid
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == -signal.SIGINT


def test_an_unknown_command_shows_the_known_ones_and_sets_nothing_up(project: Path, dev: Dev) -> None:
    done = dev("dmeo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "python3 dev.py demo" in done.stderr
    assert dev("--help").stdout == done.stderr
    assert not (project / ".venv").exists()


def test_a_command_that_is_not_there_is_named(dev: Dev) -> None:
    done = dev("run", "no-such-command")
    assert done.returncode == 1
    assert done.stderr.endswith("no-such-command: No such file or directory\n")


@pytest.mark.parametrize(
    ("given", "expected"),
    [(["tests/keys"], ["-n", "2", "tests/keys"]), (["-n0"], ["-n0"]), (["--pdb", "x"], ["--pdb", "x"])],
)
def test_tests_run_in_parallel_unless_told_otherwise(
    project: Path, dev: Dev, given: list[str], expected: list[str]
) -> None:
    (project / "pytest.py").write_text("import os, sys; print(os.getcwd(), sys.argv[1:])")
    assert dev("test", *given).stdout == f"{project} {expected}\n"


def test_the_users_directory_stays_for_a_command_of_his(project: Path) -> None:
    below = project / "below"
    below.mkdir()
    done = subprocess.run(
        [sys.executable, "../dev.py", "run", "pwd"],
        cwd=below,
        env=environment(project),
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{os.path.realpath(below)}\n"
