"""From rounds to the figures that are shown: medians, and ratios within the same round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender in one round.

    `cpu_us` is CPU time of the server, all its processes, for each answered request. Of the server's
    cores, `core_share` is the part that it used itself and `foreign_share` what others used; `stolen_share`
    is what the host took away.
    """

    requests_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    core_share: float
    foreign_share: float
    stolen_share: float
    requests: int
    refused: int = 0
    broken: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and between what it lies."""

    median: float
    least: float
    most: float

    def scaled(self, factor: float) -> Spread:
        """Return it in another unit."""
        return Spread(self.median * factor, self.least * factor, self.most * factor)


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the range of one or more values."""
    return Spread(statistics.median(values), min(values), max(values))


def paired(
    ours: Sequence[Sample], theirs: Sequence[Sample], figure: Callable[[Sample], float]
) -> Spread | None:
    """Return the ratios of a figure, each taken within one round; None when a round has nothing to divide.

    Two figures of one round were measured within moments of each other, so what the machine did to one it
    did to the other; ratios of medians do not have that.
    """
    pairs = [(figure(one), figure(other)) for one, other in zip(ours, theirs, strict=True)]
    if not pairs or any(other <= 0 for _, other in pairs):
        return None
    return spread([one / other for one, other in pairs])


def throughput(sample: Sample) -> float:
    """Return good answers a second."""
    return sample.requests_per_second


def cpu(sample: Sample) -> float:
    """Return CPU microseconds of the server a request."""
    return sample.cpu_us
