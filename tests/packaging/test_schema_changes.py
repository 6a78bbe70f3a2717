"""The check of the schema finds what breaks a client, and lets pass what was agreed to."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks import schema_changes
from checks.schema_changes import Change, changes, complaints, read_accepted, release

DIRECTIVES = """
directive @public on FIELD_DEFINITION
directive @requiresKey(scopes: [Scope!]!) on FIELD_DEFINITION
directive @cost(weight: Int!) on FIELD_DEFINITION
enum Scope { RUN READ }
"""
RELEASED = """
type Query {
  ping: String! @public
  echo(text: String!, times: Int = 1): String @requiresKey(scopes: [RUN]) @cost(weight: 1)
  plan: Plan @public
}
type Plan { name: String! kind: Kind! }
enum Kind { FREE PAID }
"""


def found(old: str, new: str) -> list[Change]:
    return list(changes(DIRECTIVES + RELEASED, DIRECTIVES + RELEASED.replace(old, new)))


def test_the_same_schema_has_no_changes() -> None:
    assert found("", "") == []


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("name: String! kind", "kind", "FIELD_REMOVED: Field Plan.name was removed."),
        (
            "name: String!",
            "name: String",
            "FIELD_CHANGED_KIND: Field Plan.name changed type from String! to ",
        ),
        (", times: Int = 1", "", "ARG_REMOVED: Argument Query.echo(times:) was removed."),
        (
            "(text",
            "(loud: Boolean!, text",
            "REQUIRED_ARG_ADDED: A required argument Query.echo(loud:) was added",
        ),
        ("FREE PAID", "PAID", "VALUE_REMOVED_FROM_ENUM: Enum value Kind.FREE was removed."),
        (
            "ping: String! @public",
            "ping: String! @requiresKey(scopes: [])",
            "KEY_REQUIRED: Query.ping needs an",
        ),
        ("[RUN]", "[RUN, READ]", "SCOPE_REQUIRED: Query.echo needs the scope READ."),
    ],
)
def test_what_breaks_a_client_is_found(old: str, new: str, change: str) -> None:
    (one,) = found(old, new)
    assert one.what.startswith(change)
    assert one.is_breaking
    assert list(complaints([one], {})) == [f"breaks clients: {one.what}"]


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("FREE PAID", "FREE PAID OLD", "VALUE_ADDED_TO_ENUM"),
        ("times: Int = 1", "times: Int = 2", "ARG_DEFAULT_VALUE_CHANGE"),
        (
            "weight: 1",
            "weight: 2",
            "TERMS_CHANGED: Query.echo has @cost(weight: 2) instead of @cost(weight: 1).",
        ),
    ],
)
def test_what_may_surprise_a_client_is_reported_and_passes(old: str, new: str, change: str) -> None:
    (one,) = found(old, new)
    assert one.what.startswith(change)
    assert not one.is_breaking
    assert list(complaints([one], {})) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("ping", "pong: String! @public ping"), ("[RUN]", "[]"), ("@requiresKey(scopes: [RUN])", "@public")],
)
def test_what_takes_nothing_from_a_client_is_no_change(old: str, new: str) -> None:
    assert found(old, new) == []


def test_a_breaking_change_passes_with_its_reason_and_an_acceptance_ends_with_its_change() -> None:
    change = Change("FIELD_REMOVED: Field Query.a was removed.", is_breaking=True)
    assert list(complaints([change], {change.what: "nobody calls it"})) == []
    (without_reason,) = complaints([change], {change.what: " "})
    assert "without a reason" in without_reason
    (left_over,) = complaints([], {change.what: "nobody calls it"})
    assert "no change of the schema" in left_over


def test_a_release_makes_the_schema_the_released_one_and_accepts_nothing(tmp_path: Path) -> None:
    accepted = tmp_path / "accepted.toml"
    accepted.write_text('# How.\n\n[[accepted]]\nchange = "X: y"\nreason = "z"\n')
    assert read_accepted(tmp_path) == {"X: y": "z"}
    release("type Query { a: Int }\n", tmp_path)
    assert (tmp_path / "schema.graphql").read_text() == "type Query { a: Int }\n"
    assert accepted.read_text() == "# How.\n"
    assert read_accepted(tmp_path) == {}


def test_the_released_schema_is_compared_with_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema_changes.main() == 0
    assert capsys.readouterr().out.endswith("breaks a client unawares.\n")
