"""The picture is well-formed, its bars are as long as the ratios, and what is written is escaped."""

from __future__ import annotations

from xml.etree import ElementTree

from bench.plot import svg
from bench.results import Table
from tests.bench.making import row

SVG = "{http://www.w3.org/2000/svg}"
TABLE = Table(
    "call",
    "Calls & more",
    32,
    (row("bare", 1000, 1000), row("full", 600, 600), row("yoga", 100, 300, title="<Yoga>", cpu_us=1234)),
)


def test_a_bar_is_as_long_as_its_ratio() -> None:
    widths = [float(bar.attrib["width"]) for bar in ElementTree.fromstring(svg(TABLE)).iter(f"{SVG}rect")]
    assert [round(width / widths[0], 2) for width in widths] == [1.0, 0.6, 0.2]


def test_who_is_who_is_told_by_a_class_that_both_colour_schemes_know() -> None:
    root = ElementTree.fromstring(svg(TABLE))
    assert [bar.attrib["class"] for bar in root.iter(f"{SVG}rect")] == ["bare", "full", "peer"]
    style = root.findtext(f"{SVG}style") or ""
    light, _, dark = style.partition("prefers-color-scheme: dark")
    for kind in ("bare", "full", "layer", "peer"):
        assert f".{kind} {{" in light
        assert f".{kind} {{" in dark


def test_names_and_figures_are_written_out() -> None:
    texts = [each.text for each in ElementTree.fromstring(svg(TABLE)).iter(f"{SVG}text")]
    assert texts[0] == "Calls & more"
    assert texts[-3:] == ["<Yoga>", "0.20", "1,234"]
