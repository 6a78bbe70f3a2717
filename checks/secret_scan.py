"""No secret is committed; a made-up one carries ``pragma: allowlist secret`` on its line."""

from __future__ import annotations

import subprocess
import sys

from checks.files import ROOT, committed

NO_SECRETS = ["--exclude-files", r"(^|/)(vendor/|constraints\.txt$)", "--exclude-secrets", "^password$"]
# Tests and documents are full of made-up keys: there only the forms of real providers are looked for.
GUESSES = ["Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector", "BasicAuthDetector"]
MADE_UP = {"tests", "docs"}


def main() -> int:
    """Scan every committed file; 1 if something looks like a secret."""
    names = [path.relative_to(ROOT) for path in committed()]
    made_up = [str(name) for name in names if MADE_UP & set(name.parts)]
    real = [str(name) for name in names if not MADE_UP & set(name.parts)]
    without_guesses = [option for guess in GUESSES for option in ("--disable-plugin", guess)]
    found = [_scan(real, []), _scan(made_up, without_guesses)]
    return 1 if any(found) else 0


def _scan(names: list[str], options: list[str]) -> int:
    scan = ["detect-secrets-hook", *NO_SECRETS, *options, *names]
    return subprocess.run(scan, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
