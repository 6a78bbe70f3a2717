from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from api_factory.limits import QuotaStatus, WindowStatus, render_limits, render_policies
from api_factory.limits.headers import quote

STATUSES = (WindowStatus("second", 10, 1, 9, 1), WindowStatus("minute", 60, 60, 59, 42))
QUOTA = QuotaStatus(limit=1_000, remaining=12, reset_seconds=3_600, period_seconds=2_592_000)


def test_the_policy_field_lists_every_window_and_the_quota() -> None:
    assert render_policies(STATUSES) == '"second";q=10;w=1, "minute";q=60;w=60'
    assert render_policies(STATUSES[:1], QUOTA) == (
        '"second";q=10;w=1, "quota";q=1000;w=2592000;af-unit="units"'
    )


def test_the_limit_field_lists_what_remains() -> None:
    assert render_limits(STATUSES) == '"second";r=9;t=1, "minute";r=59;t=42'
    assert render_limits((), QUOTA) == '"quota";r=12;t=3600'


def test_without_policies_the_fields_are_empty() -> None:
    assert render_policies(()) == ""
    assert render_limits(()) == ""


def test_strings_are_escaped_as_rfc_9651_asks() -> None:
    assert quote('a"b\\c') == '"a\\"b\\\\c"'
    assert quote("é\r\n\x7f") == '"%C3%A9%0D%0A%7F"'


@given(st.text())
def test_no_name_breaks_out_of_its_string(text: str) -> None:
    assert re.fullmatch(r'"(?:[ !#-\[\]-~]|\\["\\])*"', quote(text))


def test_integers_stay_within_fifteen_digits_and_above_zero() -> None:
    quota = QuotaStatus(limit=2**63, remaining=-5, reset_seconds=-1, period_seconds=0)
    assert render_policies((), quota) == '"quota";q=999999999999999;w=1;af-unit="units"'
    assert render_limits((), quota) == '"quota";r=0;t=0'
