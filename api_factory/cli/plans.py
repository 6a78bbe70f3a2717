"""`api-factory plan`: what is on offer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api_factory.cli import output
from api_factory.cli.session import actor, at_engine

if TYPE_CHECKING:
    from api_factory.accounts import Plan

_COLUMNS = ("slug", "name", "price", "interval", "quota_units", "rate", "overage", "key_limit")


@click.group("plan")
def plan_command() -> None:
    """List plans, or apply a file of them."""


@plan_command.command("list")
@click.option("--archived", is_flag=True, help="Also those that are not on offer any more.")
@output.json_option
def list_plans(archived: bool) -> None:
    """List the plans on offer."""
    plans = at_engine(lambda engine: engine.plans.list(include_archived=archived))
    output.show_rows([_record(plan) for plan in plans], _COLUMNS)
    output.next_step("api-factory account set-plan ACCOUNT PLAN, or api-factory plan apply plans.toml")


@plan_command.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@output.json_option
def apply(file: Path) -> None:
    """Make the plans of a TOML FILE the ones on offer; those it does not name are archived."""
    from api_factory.accounts import load_plans

    plans = load_plans(file)
    changes = at_engine(lambda engine: engine.plans.apply(plans, by=actor()))
    output.show({"created": changes.created, "changed": changes.changed, "archived": changes.archived})
    output.next_step(
        f"set API_FACTORY_PLANS_FILE={file.absolute()}, which every start applies; "
        "`api-factory billing setup` makes the Stripe prices of new plans"
    )


def _record(plan: Plan) -> dict[str, object]:
    from api_factory.money import format_amount

    return {
        "slug": plan.slug,
        "name": plan.name,
        "description": plan.description,
        "price": plan.price_cents if output.is_json() else format_amount(plan.price_cents, plan.currency),
        "currency": plan.currency,
        "interval": plan.billing_interval,
        "stripe_lookup_key": plan.stripe_lookup_key,
        "quota_units": plan.quota_units,
        "test_quota_units": plan.test_quota_units,
        "rate": plan.rate,
        "scopes": None if plan.scopes is None else sorted(plan.scopes),
        "overage": plan.overage,
        "billed_units": plan.billed_units,
        "overage_lookup_key": plan.overage_lookup_key,
        "overage_price": plan.overage_price_cents,
        "overage_per_units": plan.overage_per_units,
        "trial_days": plan.trial_days,
        "trial_quota_units": plan.trial_quota_units,
        "quantity": plan.quantity_rule,
        "key_limit": plan.key_limit,
        "archived": plan.archived,
    }
