"""Which service is replaced when."""

from collections.abc import Iterable
from dataclasses import dataclass

BEFORE, AFTER = "before", "after"
BRIDGE = "http_bridge"
WORKERS = ("auth_worker", "auth_audit", "catalog_worker", "catalog_sync")  # of auth first
ALL = (BRIDGE, *WORKERS)


@dataclass(frozen=True, slots=True)
class Move:
    """A service is replaced by the one of the other release."""

    program: str
    to: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Some moves, one after the other, and what is done about dead letters after the last.

    ``redrives`` names the release whose command moves the dead letters back; ``leaves_one`` has
    the release that is left in place make a new one.
    """

    name: str
    moves: tuple[Move, ...]
    redrives: str | None = None
    leaves_one: bool = False


def every_order() -> list[Stage]:
    """Return all orders, back and forth."""
    return [
        alone(),
        Stage("bridge first", _each((BRIDGE, *WORKERS), AFTER), AFTER, leaves_one=True),
        Stage("each service alone older", _there_and_back(ALL, BEFORE, AFTER)),
        Stage("back, workers first", _each((*WORKERS, BRIDGE), BEFORE), BEFORE),
        Stage("workers first", _each((*WORKERS, BRIDGE), AFTER)),
    ]


def once() -> list[Stage]:
    """Return the order that docs/upgrading.md has for 0.1: auth workers first, the bridge last."""
    return [
        Stage(
            "auth workers, then the others, then the bridge",
            _each((*WORKERS, BRIDGE), AFTER),
            AFTER,
        )
    ]


def alone(programs: Iterable[str] = ALL) -> Stage:
    """Return each service on its own among those of the release before."""
    return Stage("each service alone newer", _there_and_back(programs, AFTER, BEFORE))


def _each(programs: Iterable[str], to: str) -> tuple[Move, ...]:
    return tuple(Move(program, to) for program in programs)


def _there_and_back(programs: Iterable[str], there: str, back: str) -> tuple[Move, ...]:
    return tuple(Move(program, to) for program in programs for to in (there, back))
