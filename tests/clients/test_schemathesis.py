"""schemathesis makes up operations from the schema, right and wrong: each is answered or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.clients.conftest import PATIENCE_SECONDS, Server

CASES_PER_FIELD = 15
FAULTS_OF_THE_SERVER = {"INTERNAL", "UNAVAILABLE"}


def test_no_operation_that_is_made_up_meets_a_fault_of_the_server(server: Server, tmp_path: Path) -> None:
    report = tmp_path / "report.har"
    # Its own check calls every expected refusal of an action a server's error, so the report is read instead.
    options = {
        "--header": f"Authorization: Bearer {server.key()}",
        "--phases": "fuzzing",
        "--exclude-checks": "not_a_server_error",
        "--max-examples": str(CASES_PER_FIELD),
        "--seed": "20260301",
        "--generation-database": "none",
        "--report": "har",
        "--report-har-path": str(report),
    }
    done = subprocess.run(
        [str(Path(sys.executable).parent / "schemathesis"), "run", server.graphql, "--continue-on-failure"]
        + [word for option in options.items() for word in option],
        env=server.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
    )
    assert report.exists(), done.stdout + done.stderr
    outcomes = outcomes_of(report)
    assert sum(outcomes.values()) >= 200, done.stdout
    assert outcomes["200 OK"] >= 50
    assert [outcome for outcome in outcomes if outcome.startswith("5")] == []
    assert [outcome for outcome in outcomes if outcome.split()[1] in FAULTS_OF_THE_SERVER] == []


def outcomes_of(report: Path) -> Counter[str]:
    """Count the replies by their status and the code of each of their errors, or OK."""
    found: Counter[str] = Counter()
    for entry in json.loads(report.read_text())["log"]["entries"]:
        reply = entry["response"]
        errors = json.loads(reply["content"]["text"]).get("errors", [])
        for code in {error["extensions"]["code"] for error in errors} or {"OK"}:
            found[f"{reply['status']} {code}"] += 1
    return found
