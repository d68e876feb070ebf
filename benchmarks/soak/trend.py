"""Whether something grows, or only goes up and down.

The first third of a run is warming up and does not count. Through the rest goes a straight line
(least squares): what it rises from end to end is the growth, how far the samples lie from it the
noise (their standard deviation). It grows if the growth is more than three times the noise, and
more than is worth a word. Of what a process has, each ten seconds' least is looked at: an Argon2
hash, say, takes 64 MiB for a moment, and would hide a leak.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

NOISES = 3
LOW_OF = 10  # samples


@dataclass(frozen=True, slots=True)
class Trend:
    """Where a series stands at the end, and how it got there; in its own unit."""

    level: float  # at the end, on the line
    growth: float
    noise: float
    is_growing: bool


def trend_of(values: Sequence[float], *, least: float) -> Trend:
    """Judge a series of evenly spaced samples; ``least`` growth is not worth a word."""
    settled = values[len(values) // 3 :]
    places = range(len(settled))
    slope, intercept = statistics.linear_regression(places, settled)
    distances = [value - intercept - slope * at for at, value in enumerate(settled)]
    growth, noise = slope * (len(settled) - 1), statistics.pstdev(distances)
    return Trend(
        level=intercept + growth,
        growth=growth,
        noise=noise,
        is_growing=growth > max(NOISES * noise, least),
    )


def lows(values: Sequence[float]) -> list[float]:
    """Give the least of every ten samples: what is kept, without what is only used for a moment."""
    return [min(values[at : at + LOW_OF]) for at in range(0, len(values) - LOW_OF + 1, LOW_OF)]
