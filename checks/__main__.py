"""Runs every check and fails if one fails; ``--fast`` runs those that one waits for."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

from checks.files import ROOT, committed

PACKAGES = ("api_factory", "api", "schema", "admin", "fake_stripe")


@dataclass(frozen=True, slots=True)
class Check:
    """One command that exits with 0 if all is well."""

    title: str
    argv: list[str]


def fast() -> list[Check]:
    """The checks of ``dev.py lint``."""
    return [
        Check("Formatting", ["ruff", "format", "--check", "."]),
        Check("Style", ["ruff", "check", "."]),
        Check("Types", ["mypy"]),
        Check("Import contracts", ["lint-imports", "--no-logo"]),
    ]


def thorough() -> list[Check]:
    """The further checks of ``dev.py check``."""
    yaml = [str(path) for path in committed(".yml", ".yaml")]
    return [
        Check("House rules", ["python", "-m", "checks.house"]),
        Check("Migrations match the tables", ["api-factory", "migrate", "--check"]),
        Check("Reference is up to date", ["python", "checks/reference.py", "--check"]),
        Check("Schema keeps its promises", ["python", "-m", "checks.schema_changes"]),
        Check("Links in the documents", ["python", "-m", "checks.links"]),
        Check("Secrets", ["python", "-m", "checks.secret_scan"]),
        Check("Security", ["bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", *PACKAGES]),
        Check("Dockerfile", ["hadolint", "Dockerfile"]),
        Check("YAML", ["yamllint", "--strict", *yaml]),
        Check("Workflows", ["zizmor", "--offline", "--quiet", ".github/workflows"]),
        Check("Shell scripts", ["shellcheck", ".ci/run"]),
    ]


def run(check: Check) -> bool:
    """Run one check under its heading and tell whether it passed."""
    print(f"\n=== {check.title}", flush=True)
    began = time.monotonic()
    passed = subprocess.run(check.argv, cwd=ROOT, check=False).returncode == 0
    print(f"--- {'ok' if passed else 'FAILED'} in {time.monotonic() - began:.1f} s", flush=True)
    return passed


def main() -> int:
    """Run the checks and name those that failed at the end."""
    checks = fast() if "--fast" in sys.argv[1:] else [*fast(), *thorough()]
    failed = [check.title for check in checks if not run(check)]
    print(f"\n{len(checks) - len(failed)} of {len(checks)} checks passed.")
    if failed:
        print(f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
