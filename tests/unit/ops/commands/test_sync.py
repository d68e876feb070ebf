"""``postroad sync``: what a person sees of a sync."""

import sys
from collections.abc import Iterator

import pytest

from ops.commands import sync as command
from postroad.contracts.errors import Unavailable
from postroad.contracts.syncs import GetSync, StartSync, Sync

REQUESTED = Sync(
    sync_id="0",
    status="requested",
    requested_at=1000.0,
    finished_at=None,
    pages=None,
    pages_done=0,
    products=0,
    added=0,
    price_changed=0,
    removed=0,
)
RUNNING = REQUESTED.model_copy(
    update={"status": "running", "pages": 4, "pages_done": 2, "products": 60}
)
DONE = REQUESTED.model_copy(
    update={
        "status": "done",
        "finished_at": 1002.1,
        "pages": 4,
        "pages_done": 4,
        "products": 120,
        "added": 3,
        "price_changed": 2,
        "removed": 1,
    }
)


class Scripted:
    """A catalogue service that says one thing after the other."""

    def __init__(self, *answers: Sync | Unavailable) -> None:
        self.answers: Iterator[Sync | Unavailable] = iter(answers)

    def call(self, request: GetSync | StartSync) -> Sync:
        answer = next(self.answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer


class Time:
    """Time that passes while somebody pauses, so much at a time."""

    def __init__(self, step_s: float) -> None:
        self.now = 0.0
        self.step_s = step_s

    def clock(self) -> float:
        return self.now

    def pause(self, _: float) -> None:
        self.now += self.step_s


def follow(*answers: Sync | Unavailable, step_s: float = 0.25) -> Sync:
    time = Time(step_s)
    return command.follow(Scripted(*answers), REQUESTED, clock=time.clock, pause=time.pause)


def in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called by a test itself: its output is not yet captured while fixtures are made."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")


def test_a_sync_is_followed_to_its_end_and_summed_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = command._report(follow(RUNNING, RUNNING, DONE))

    assert status == 0
    assert capsys.readouterr().out.splitlines() == [
        "  ... starting",
        "120 products: 3 added, 2 price changes, 1 removed, 2.1 s",
    ]


def test_in_a_terminal_a_bar_grows_and_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_terminal(monkeypatch)

    follow(RUNNING, DONE)

    drawn = capsys.readouterr().out.split("\r\x1b[K")[1:]
    assert drawn == [
        f"  [{'.' * 30}] starting",
        f"  [{'#' * 15}{'.' * 15}] 2 of 4 pages, 60 products",
        "",
    ]


def test_following_a_sync_shows_that_it_has_not_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_terminal(monkeypatch)

    follow(REQUESTED, REQUESTED, DONE, step_s=2)

    assert "not begun for 4 s" in capsys.readouterr().out


def test_after_a_while_it_says_once_what_may_be_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    follow(REQUESTED, REQUESTED, REQUESTED, REQUESTED, RUNNING, DONE, step_s=4)

    said = capsys.readouterr().err
    assert said == f"{command._WHY}\n"
    assert "the product API is away, and what failed is tried again later" in said


def test_following_a_sync_shows_that_nothing_moves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_terminal(monkeypatch)

    follow(RUNNING, RUNNING, RUNNING, DONE, step_s=4)

    assert "2 of 4 pages, 60 products; nothing new for 8 s" in capsys.readouterr().out


def test_a_service_that_is_away_for_a_while_is_asked_again() -> None:
    assert follow(Unavailable("away"), Unavailable("away"), DONE, step_s=10) == DONE


def test_a_service_that_stays_away_is_given_up() -> None:
    with pytest.raises(Unavailable, match="away"):
        follow(*[Unavailable("away")] * 9, step_s=10)


@pytest.mark.parametrize(
    ("status", "why"), [("incomplete", "none was removed"), ("failed", "no progress")]
)
def test_a_sync_that_ends_badly_is_status_1_and_a_reason(
    status: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = DONE.model_copy(update={"status": status, "products": 1, "price_changed": 1})

    assert command._report(ended) == 1

    said = capsys.readouterr()
    assert said.out == "1 product: 3 added, 1 price change, 1 removed, 2.1 s\n"
    assert why in said.err


def test_what_could_not_be_read_is_said_of_a_sync_that_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dropped = {"dropped": 2, "first_dropped": "product 7: title: Field required"}

    assert command._report(DONE.model_copy(update=dropped)) == 0

    assert capsys.readouterr().err == (
        "postroad: 2 products could not be read, and stayed as they were; "
        "product 7: title: Field required; the log of catalog_sync names all\n"
    )


def test_a_sync_that_could_read_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"status": "incomplete", "products": 0, "dropped": 1, "first_dropped": "a product: ?"}

    assert command._report(DONE.model_copy(update=nothing)) == 1

    assert "upstream listed no product that can be read: none was removed" in (
        capsys.readouterr().err
    )
