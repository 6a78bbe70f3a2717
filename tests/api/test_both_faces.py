"""One catalogue has one meaning: what REST reads, refuses, writes and charges, GraphQL does as well."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api_factory.actions import ActionError, action
from api_factory.errors import InternalError, InvalidKey

MASKED = "Something went wrong here; quote the request id when you report it."
MADE: list[str] = []


class Mood(Enum):
    """How it is."""

    CALM = 1


@dataclass(frozen=True)
class Guest:
    """Who comes."""

    full_name: str

    def __post_init__(self) -> None:
        MADE.append(self.full_name)
        if self.full_name == "value":
            raise ValueError("full_name is not a name")
        if self.full_name == "silent":
            raise ValueError
        if self.full_name == "action":
            raise ActionError("Closed today.", "CLOSED")
        if self.full_name == "crash":
            raise RuntimeError("the password is hunter2")


@dataclass(frozen=True)
class Party:
    """Who comes together."""

    guests: list[Guest]


@action
async def invite(party: Party, host: Guest | None = None) -> int:
    """Count the guests."""
    return len(party.guests)


@action
def seat(guests: frozenset[Guest]) -> int:
    """Count the guests, in a thread."""
    return len(guests)


SEEN: list[Any] = []


@action
async def take_moment(value: datetime) -> bool:
    """Take a moment."""
    SEEN.append(value)
    return True


@action
async def take_date(value: date) -> bool:
    """Take a day."""
    SEEN.append(value)
    return True


@action
async def take_time(value: time) -> bool:
    """Take a time."""
    SEEN.append(value)
    return True


@action
async def take_uuid(value: UUID) -> bool:
    """Take a UUID."""
    SEEN.append(value)
    return True


@action
async def take_decimal(value: Decimal) -> bool:
    """Take a decimal number."""
    SEEN.append(value)
    return True


@action
async def take_int(value: int) -> bool:
    """Take a whole number."""
    SEEN.append(value)
    return True


@action
async def take_free(value: dict[str, Any] = {}) -> bool:  # noqa: B006 - authors write it
    """Take an object."""
    SEEN.append(value)
    return True


@action
async def take_counts(value: dict[str, int]) -> bool:
    """Take an object of whole numbers."""
    SEEN.append(value)
    return True


@dataclass
class Card:
    """What has a number of its own unless one is given."""

    number: UUID = field(default_factory=uuid4)


@action
async def take_card(value: Card) -> bool:
    """Take a card."""
    SEEN.append(value)
    return True


@dataclass
class Report:
    """Every kind of result in a field."""

    score: float = 0.5
    made_at: datetime | None = None
    more: dict[str, Any] = field(default_factory=dict)


RESULT: list[Any] = []


@action
async def give_text() -> str:
    """Return text."""
    return RESULT[0]


@action
async def give_int() -> int:
    """Return a whole number."""
    return RESULT[0]


@action
async def give_float() -> float:
    """Return a number."""
    return RESULT[0]


@action
async def give_decimal() -> Decimal:
    """Return a decimal number."""
    return RESULT[0]


@action
async def give_moment() -> datetime:
    """Return a moment."""
    return RESULT[0]


@action
async def give_date() -> date:
    """Return a day."""
    return RESULT[0]


@action
async def give_floats() -> list[float]:
    """Return numbers."""
    return RESULT[0]


@action
async def give_set() -> set[str]:
    """Return texts."""
    return RESULT[0]


@action
async def give_mood() -> Mood:
    """Return a mood."""
    return RESULT[0]


@action
async def give_maybe() -> str | None:
    """Return text or nothing."""
    return RESULT[0]


@action
async def give_dict() -> dict[str, Any]:
    """Return an object."""
    return RESULT[0]


@action
async def give_counts() -> dict[str, int]:
    """Return an object of whole numbers."""
    return RESULT[0]


@action
async def give_any() -> Any:
    """Return any JSON."""
    return RESULT[0]


@action
async def give_report() -> Report:
    """Return a dataclass."""
    return RESULT[0]


@action
async def leak() -> str:
    """Fail in the server's own words."""
    raise InternalError("the password is hunter2")


FUNCTIONS = tuple(found for found in dict(globals()).values() if hasattr(found, "__api_factory_action__"))


@dataclass
class Answer:
    """What both faces say in their own form."""

    code: str
    message: str
    data: Any
    settled: list[list[bool]]


@dataclass
class Faces:
    """Both faces of one application over a guard that is a fake."""

    engine: Any
    http: httpx.AsyncClient

    async def rest(self, name: str, arguments: dict[str, Any]) -> Answer:
        """Call by REST."""
        self.engine.guard.settled.clear()
        reply = await self.http.post(f"/api/v1/actions/{name}", json=arguments)
        said = reply.json()
        settled = list(self.engine.guard.settled)
        return Answer(said.get("code", "OK"), said.get("detail", ""), said.get("data"), settled)

    async def graphql(self, name: str, kind: str, arguments: dict[str, Any]) -> Answer:
        """Call by GraphQL, the arguments as variables of this kind."""
        self.engine.guard.settled.clear()
        field_name = name.split("_")[0] + "".join(part.capitalize() for part in name.split("_")[1:])
        declared = ", ".join(f"${each}: {kind}" for each in arguments)
        given = ", ".join(f"{each}: ${each}" for each in arguments)
        query = f"query({declared}) {{ {field_name}({given}) }}" if arguments else f"{{ {field_name} }}"
        if name == "give_report":
            query = "{ giveReport { score madeAt more } }"
        body = json.dumps({"query": query, "variables": arguments})
        headers = {"content-type": "application/json", "accept": "application/graphql-response+json"}
        said = (await self.http.post("/graphql", content=body, headers=headers)).json()
        settled = list(self.engine.guard.settled)
        errors = said.get("errors") or [{"extensions": {"code": "OK"}, "message": ""}]
        data = (said.get("data") or {}).get(field_name)
        return Answer(errors[0]["extensions"]["code"], errors[0]["message"], data, settled)


@pytest.fixture
async def faces(build: Callable[..., Any], connect: Callable[..., httpx.AsyncClient]) -> AsyncIterator[Faces]:
    MADE.clear()
    SEEN.clear()
    RESULT.clear()
    app, engine = build(FUNCTIONS, has_graphql=True)
    async with connect(app) as client:
        yield Faces(engine, client)


# --- the author's own classes -------------------------------------------------------------------


async def test_no_code_of_an_author_runs_before_the_key_was_looked_at(faces: Faces) -> None:
    faces.engine.guard.refusal = InvalidKey()
    party = {"guests": [{"fullName": "crash"}]}

    assert (await faces.rest("invite", {"party": party})).code == "UNAUTHENTICATED"
    assert (await faces.graphql("invite", "PartyInput!", {"party": party})).code == "UNAUTHENTICATED"
    assert (await faces.rest("seat", {"guests": party["guests"]})).code == "UNAUTHENTICATED"
    assert MADE == []


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("value", "BAD_USER_INPUT", "party.guests.1: full_name is not a name."),
        ("silent", "BAD_USER_INPUT", "party.guests.1: It is not valid."),
        ("action", "CLOSED", "Closed today."),
        ("crash", "INTERNAL", MASKED),
    ],
)
async def test_what_a_class_of_the_author_raises_means_the_same_on_both_faces(
    faces: Faces, name: str, code: str, message: str
) -> None:
    party = {"guests": [{"fullName": "Ada"}, {"fullName": name}]}

    rest = await faces.rest("invite", {"party": party})
    graphql = await faces.graphql("invite", "PartyInput!", {"party": party})

    assert (rest.code, rest.message, rest.settled) == (code, message, [[False]])
    assert graphql == rest


async def test_a_sync_action_gets_its_classes_made_as_well(faces: Faces) -> None:
    guests = [{"fullName": "Ada"}, {"fullName": "Ada"}, {"fullName": "Bo"}]

    rest = await faces.rest("seat", {"guests": guests})
    refused = await faces.rest("seat", {"guests": [{"fullName": "value"}]})

    assert (rest.data, rest.settled) == (2, [[True]])
    assert await faces.graphql("seat", "[GuestInput!]!", {"guests": guests}) == rest
    assert (refused.code, refused.settled) == ("BAD_USER_INPUT", [[False]])


async def test_a_field_has_one_name_on_both_faces(faces: Faces) -> None:
    party = {"guests": [{"full_name": "Ada"}]}

    assert (await faces.rest("invite", {"party": party})).code == "BAD_USER_INPUT"
    assert (await faces.graphql("invite", "PartyInput!", {"party": party})).code == "BAD_USER_INPUT"


# --- arguments ----------------------------------------------------------------------------------

KINDS = {
    "take_moment": "DateTime!",
    "take_date": "Date!",
    "take_time": "Time!",
    "take_uuid": "UUID!",
    "take_decimal": "Decimal!",
    "take_int": "Int!",
    "take_free": "JSON",
    "take_counts": "JSON!",
    "take_card": "CardInput!",
}


@pytest.mark.parametrize(
    ("name", "value", "received"),
    [
        ("take_moment", "2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("take_moment", "2026-01-31t12:00:00.5+02:00", datetime(2026, 1, 31, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("take_date", "2026-01-31", date(2026, 1, 31)),
        ("take_time", "12:30:00", time(12, 30)),
        ("take_time", "12:30:00.25Z", time(12, 30, 0, 250_000, tzinfo=UTC)),
        ("take_uuid", "01890A5D-ac96-774b-bcce-b302099a8057", UUID("01890a5d-ac96-774b-bcce-b302099a8057")),
        ("take_decimal", "12.50", Decimal("12.50")),
        ("take_decimal", "-1e-30", Decimal("-1e-30")),
        ("take_decimal", 7, Decimal(7)),
        ("take_decimal", "9" * 60, Decimal("9" * 60)),
        ("take_int", 2**31 - 1, 2**31 - 1),
        ("take_free", {"a": [1.5, None]}, {"a": [1.5, None]}),
        ("take_counts", {"a": 1}, {"a": 1}),
    ],
)
async def test_an_argument_is_read_alike(faces: Faces, name: str, value: Any, received: Any) -> None:
    rest = await faces.rest(name, {"value": value})
    graphql = await faces.graphql(name, KINDS[name], {"value": value})

    assert (rest.code, rest.message) == ("OK", "")
    assert graphql == rest
    assert received == SEEN[0] == SEEN[1]
    assert str(SEEN[0]) == str(SEEN[1]) == str(received)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("take_moment", "2026-01-31T12:00:00"),
        ("take_moment", "2026-01-31"),
        ("take_moment", "2026-01-31 12:00:00Z"),
        ("take_moment", "20260131T120000Z"),
        ("take_moment", "1769860800"),
        ("take_moment", "2026-W05-6T12:00:00Z"),
        ("take_moment", "2026-02-30T12:00:00Z"),
        ("take_moment", "2026-01-31T12:00Z"),
        ("take_moment", "\uff12026-01-31T12:00:00Z"),
        ("take_moment", "0001-01-01T00:00:00+14:00"),
        ("take_moment", 1769860800),
        ("take_date", "20260131"),
        ("take_date", "1769860800"),
        ("take_date", "2026-01-31T00:00:00Z"),
        ("take_date", "2026-02-30"),
        ("take_time", "12:30"),
        ("take_time", "1230"),
        ("take_time", "24:00:00"),
        ("take_time", 45_000),
        ("take_uuid", "01890a5dac96774bbcceb302099a8057"),
        ("take_uuid", "{01890a5d-ac96-774b-bcce-b302099a8057}"),
        ("take_uuid", "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057"),
        ("take_decimal", 0.1),
        ("take_decimal", True),
        ("take_decimal", "1_000"),
        ("take_decimal", " 1"),
        ("take_decimal", "1\n"),
        ("take_decimal", "١٢"),
        ("take_decimal", "1e31"),
        ("take_decimal", "1e999999999"),
        ("take_decimal", "9" * 61),
        ("take_decimal", 10**60),
        ("take_decimal", "NaN"),
        ("take_decimal", ".5"),
        ("take_int", 2**31),
        ("take_int", -(2**31) - 1),
        ("take_free", None),
        ("take_free", [1]),
        ("take_free", "{}"),
        ("take_counts", None),
        ("take_counts", {"a": "1"}),
        ("take_counts", {"a": True}),
        ("take_card", {"number": None}),
    ],
)
async def test_an_argument_is_refused_alike_and_nothing_runs(faces: Faces, name: str, value: Any) -> None:
    rest = await faces.rest(name, {"value": value})
    graphql = await faces.graphql(name, KINDS[name], {"value": value})

    assert (rest.code, rest.settled) == ("BAD_USER_INPUT", [])
    assert graphql.code == "BAD_USER_INPUT"
    assert graphql.settled in ([], [[False]])
    assert SEEN == []


async def test_a_fraction_for_a_decimal_is_answered_with_what_to_send(faces: Faces) -> None:
    sentence = 'A JSON number with a fraction loses digits; send it as a string, like "12.50".'

    assert sentence in (await faces.rest("take_decimal", {"value": 0.1})).message
    assert sentence in (await faces.graphql("take_decimal", "Decimal!", {"value": 0.1})).message


# --- results ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "result", "written"),
    [
        ("give_moment", datetime(2026, 1, 31, 12), "2026-01-31T12:00:00+00:00"),
        ("give_moment", datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00+00:00"),
        ("give_date", datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31"),
        ("give_decimal", Decimal("12.50"), "12.50"),
        ("give_float", 1, 1.0),
        ("give_floats", (0.5, 1), [0.5, 1.0]),
        ("give_set", {"a"}, ["a"]),
        ("give_mood", Mood.CALM, "CALM"),
        ("give_maybe", None, None),
        ("give_any", None, None),
        ("give_int", 2**31 - 1, 2**31 - 1),
        ("give_counts", {"a": 2**53 + 1}, {"a": 2**53 + 1}),
        (
            "give_dict",
            {
                "price": Decimal("1.10"),
                "at": [datetime(2026, 1, 31, 12)],
                "day": date(2026, 1, 31),
                "clock": time(12, 30),
                "id": UUID(int=5),
                "mood": Mood.CALM,
                "pair": (1, None),
            },
            {
                "price": "1.10",
                "at": ["2026-01-31T12:00:00+00:00"],
                "day": "2026-01-31",
                "clock": "12:30:00",
                "id": str(UUID(int=5)),
                "mood": "CALM",
                "pair": [1, None],
            },
        ),
        (
            "give_report",
            Report(2, datetime(2026, 1, 31), {"a": Decimal(1)}),
            {"score": 2.0, "madeAt": "2026-01-31T00:00:00+00:00", "more": {"a": "1"}},
        ),
    ],
)
async def test_a_result_is_written_alike_and_charged(
    faces: Faces, name: str, result: Any, written: Any
) -> None:
    RESULT.append(result)

    rest = await faces.rest(name, {})

    assert (rest.code, rest.data, rest.settled) == ("OK", written, [[True]])
    assert await faces.graphql(name, "", {}) == rest


DEEP: list[Any] = []
for _ in range(201):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("give_text", None),
        ("give_text", 7),
        ("give_text", "\ud800"),
        ("give_int", 2**31),
        ("give_int", True),
        ("give_int", "7"),
        ("give_float", float("nan")),
        ("give_float", float("inf")),
        ("give_float", "0.5"),
        ("give_decimal", Decimal("NaN")),
        ("give_decimal", 0.5),
        ("give_moment", "2026-01-31T12:00:00Z"),
        ("give_floats", [0.5, float("-inf")]),
        ("give_floats", [None]),
        ("give_floats", "12"),
        ("give_set", ["a", "a"]),
        ("give_mood", "CALM"),
        ("give_dict", None),
        ("give_dict", [1]),
        ("give_dict", {"a": [float("nan")]}),
        ("give_dict", {"a": {1}}),
        ("give_dict", {1: "a"}),
        ("give_dict", {"a": 2**64}),
        ("give_dict", {"a": "\ud800"}),
        ("give_dict", {"a": Decimal("Infinity")}),
        ("give_dict", {"a": b"a"}),
        ("give_counts", {"a": "1"}),
        ("give_any", DEEP),
        ("give_report", None),
        ("give_report", {"score": 1.0}),
        ("give_report", Report(score=float("nan"))),
        ("give_report", Report(more={"a": float("inf")})),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
async def test_what_a_function_does_not_promise_is_internal_and_not_charged(
    faces: Faces, name: str, result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    RESULT.append(result)

    rest = await faces.rest(name, {})
    graphql = await faces.graphql(name, "", {})

    assert (rest.code, rest.message, rest.data, rest.settled) == ("INTERNAL", MASKED, None, [[False]])
    assert graphql == rest
    assert [each.levelno for each in caplog.records].count(logging.ERROR) == 2


async def test_a_fault_that_names_itself_internal_is_masked(
    faces: Faces, caplog: pytest.LogCaptureFixture
) -> None:
    rest = await faces.rest("leak", {})

    assert (rest.code, rest.message) == ("INTERNAL", MASKED)
    assert await faces.graphql("leak", "", {}) == rest
    assert "hunter2" in caplog.text


# --- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_declared", [True, False])
async def test_graphql_refuses_a_body_that_is_too_large_in_its_own_form(
    faces: Faces, is_declared: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 2_001

    headers = {"content-type": "application/json", "accept": "application/graphql-response+json"}
    content = b"x" * 2_001 if is_declared else chunks()
    reply = await faces.http.post("/graphql", content=content, headers=headers)

    assert (reply.status_code, reply.headers["content-type"]) == (
        413,
        "application/graphql-response+json; charset=utf-8",
    )
    assert reply.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
