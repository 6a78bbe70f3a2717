"""`api-factory billing doctor`: what keeps money and access from agreeing, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict

import click

from api_factory.cli import output
from api_factory.cli.doctor import print_findings
from api_factory.cli.session import at_engine


@click.command("doctor")
@output.json_option
@click.pass_context
def doctor_command(context: click.Context) -> None:
    """Say what is wrong between Stripe and this server, and how to mend it; exit with 1 if anything fails.

    It changes nothing and shows no secret.
    """
    from api_factory.cli.checkup_billing import examine_billing

    findings = at_engine(examine_billing)
    if output.is_json():
        output.show_json([asdict(finding) for finding in findings])
    else:
        print_findings(findings)
    if any(finding.status == "fail" for finding in findings):
        output.next_step("mend what failed, then run `api-factory billing doctor` again")
        context.exit(1)
    output.next_step("api-factory billing reconcile")
