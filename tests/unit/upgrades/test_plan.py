"""The orders in which services are replaced."""

from ops.services.manifests import program_names
from tests.upgrades.plan import AFTER, ALL, BEFORE, BRIDGE, WORKERS, Stage, every_order, once

State = dict[str, str]


def states(stages: list[Stage]) -> list[State]:
    """Return which release of each service runs, at the start and after each move."""
    seen = [dict.fromkeys(ALL, BEFORE)]
    for stage in stages:
        for move in stage.moves:
            assert seen[-1][move.program] != move.to
            seen.append(seen[-1] | {move.program: move.to})
    return seen


def test_the_plans_know_every_program() -> None:
    assert sorted(ALL) == sorted(program_names())


def test_every_order_has_each_service_alone_newer_and_alone_older() -> None:
    seen = states(every_order())

    for program in ALL:
        assert dict.fromkeys(ALL, BEFORE) | {program: AFTER} in seen
        assert dict.fromkeys(ALL, AFTER) | {program: BEFORE} in seen


def test_every_order_has_the_bridge_first_and_last_and_ends_newer() -> None:
    seen = states(every_order())

    assert {BRIDGE: AFTER} | dict.fromkeys(WORKERS, BEFORE) in seen
    assert {BRIDGE: BEFORE} | dict.fromkeys(WORKERS, AFTER) in seen
    assert seen[-1] == dict.fromkeys(ALL, AFTER)


def test_each_release_moves_a_dead_letter_of_the_other() -> None:
    stages = every_order()
    made = [BEFORE]  # before the first stage
    running = states(stages)
    moved = 0
    for stage in stages:
        moved += len(stage.moves)
        if stage.redrives:
            assert made.pop() != stage.redrives == running[moved]["auth_audit"]
        if stage.leaves_one:
            made.append(running[moved]["auth_audit"])

    assert made == []


def test_once_goes_from_auth_workers_to_the_bridge() -> None:
    (stage,) = once()

    order = [move.program for move in stage.moves]
    assert order[:2] == ["auth_worker", "auth_audit"]
    assert order[-1] == BRIDGE
    assert set(order) == set(ALL)
