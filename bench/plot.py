"""One table as a picture: a bar a contender, as SVG that is readable on light and on dark."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from bench.contenders import ABLATION, BARE, FULL
from bench.figures import Spread
from bench.results import Row, Table

_WIDTH: Final = 760
_LINE: Final = 24
_TOP: Final = 54
_LEFT: Final = 262
_RIGHT: Final = 150
_BAR: Final = 14
_FEWEST_UNITS: Final = 1.0

_STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600 } .small { font-size: 12px; fill: #57606a }
.bare { fill: #8c959f } .full { fill: #1a7f37 } .layer { fill: #74b886 } .peer { fill: #5a8fd6 }
.axis { stroke: #8c959f; stroke-dasharray: 2 3 } .range { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .range { stroke: #e6edf3 }
  .full { fill: #3fb950 } .layer { fill: #347d48 } .peer { fill: #4c7fc4 } .bare { fill: #6e7681 }
}"""


def svg(table: Table) -> str:
    """Return the picture of a table: throughput as a ratio to its first row, CPU a request beside it."""
    ratios = [(row, row.ratio_to(table.rows[0])) for row in table.rows]
    drawn = [(row, ratio) for row, ratio in ratios if ratio is not None]
    most = max([_FEWEST_UNITS, *(ratio.most for _, ratio in drawn)])
    height = _TOP + _LINE * len(drawn) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        f' aria-label="{escape(table.title)}">',
        f"<style>\n{_STYLE}\n</style>",
        f'<text class="head" x="8" y="20">{escape(table.title)}</text>',
        f'<text class="small" x="{_LEFT}" y="40">throughput, of {escape(table.rows[0].title)}</text>',
        f'<text class="small" x="{_WIDTH - 8}" y="40" text-anchor="end">CPU µs a request</text>',
        *_bars(drawn, (_WIDTH - _LEFT - _RIGHT) / most),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bars(drawn: list[tuple[Row, Spread]], scale: float) -> Iterator[str]:
    bottom = _TOP + _LINE * len(drawn)
    yield _line("axis", _LEFT + scale, _TOP - 8, _LEFT + scale, bottom)
    for place, (row, ratio) in enumerate(drawn):
        middle = _TOP + _LINE * place + _LINE // 2 - 2
        yield f'<text x="8" y="{middle + 4}">{escape(row.title)}</text>'
        yield (
            f'<rect class="{_kind(row)}" x="{_LEFT}" y="{middle - _BAR // 2}"'
            f' width="{ratio.median * scale:.1f}" height="{_BAR}" rx="2"/>'
        )
        yield _line("range", _LEFT + ratio.least * scale, middle, _LEFT + ratio.most * scale, middle)
        yield (
            f'<text class="small" x="{_LEFT + ratio.most * scale + 6:.1f}" y="{middle + 4}">'
            f"{ratio.median:.2f}</text>"
        )
        yield (f'<text x="{_WIDTH - 8}" y="{middle + 4}" text-anchor="end">{row.cpu_us.median:,.0f}</text>')


def _line(kind: str, left: float, top: float, right: float, bottom: float) -> str:
    return f'<line class="{kind}" x1="{left:.1f}" y1="{top}" x2="{right:.1f}" y2="{bottom}"/>'


def _kind(row: Row) -> str:
    if row.name == BARE.name:
        return "bare"
    if row.name == FULL.name:
        return "full"
    return "layer" if row.name in {each.name for each in ABLATION} else "peer"
