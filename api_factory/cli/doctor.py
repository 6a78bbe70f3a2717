"""`api-factory doctor`: what is wrong, and how to mend it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from api_factory.cli import output
from api_factory.cli.session import actions_option, database_turn, prepared_settings
from api_factory.printable import escaped

if TYPE_CHECKING:
    from api_factory.cli.findings import Finding
    from api_factory.settings import Settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address a server is to take.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="And its port.")
@actions_option
@output.json_option
@click.pass_context
def doctor_command(context: click.Context, host: str, port: int, modules: tuple[str, ...]) -> None:
    """Say what is wrong and how to mend it; exit with 1 when something keeps a server from working.

    It changes nothing, shows no secret, and starts no database that is not there yet.
    """
    findings = _examine(host, port, modules)
    if output.is_json():
        output.show_json([asdict(finding) for finding in findings])
    else:
        print_findings(findings)
    if any(finding.status == "fail" for finding in findings):
        output.next_step("mend what failed, then run `api-factory doctor` again")
        context.exit(1)
    output.next_step("api-factory demo, or api-factory serve")


def _examine(host: str, port: int, modules: tuple[str, ...]) -> list[Finding]:
    from api_factory.cli import checkup
    from api_factory.cli.findings import examine, failed_by, ok

    found = examine(None, (("python", checkup.check_python), ("packages", checkup.check_packages)))
    found += examine((host, port), (("port", checkup.check_port),))
    try:
        settings = prepared_settings(modules)
    except Exception as error:
        return [*found, failed_by("settings", error)]
    found.append(ok("settings", f"{settings.env}: nothing missing or weak"))
    found += examine(
        settings,
        (
            ("data directory", checkup.check_directory),
            ("pepper", checkup.check_pepper),
            ("actions", checkup.check_actions),
            ("plans", checkup.check_plans),
            ("redis", checkup.check_redis),
            ("tables", checkup.check_tables),
            ("embedded", checkup.check_binaries),
        ),
    )
    return found + _examine_database(settings)


def _examine_database(settings: Settings) -> list[Finding]:
    from api_factory.cli.checkup_database import examine_database
    from api_factory.cli.findings import failed_by, ok
    from api_factory.wiring import embedded_database

    if settings.uses_embedded_database and not (settings.embedded_directory / "data").exists():
        return [ok("database", f"made in {settings.embedded_directory} at the first start")]
    try:
        with database_turn(settings), embedded_database(settings):
            return asyncio.run(examine_database(settings))
    except Exception as error:
        return [failed_by("database", error)]


def print_findings(findings: list[Finding]) -> None:
    """Print each finding on a line, with the way to mend it below."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        status = click.style(f"{finding.status:<4}", fg=_COLOURS[finding.status])
        output.line(f"{status}  {finding.check:<{width}}  {escaped(finding.detail)}")
        if finding.fix:
            output.line(f"{'':<{width + 6}}  {click.style('mend:', bold=True)} {escaped(finding.fix)}")
