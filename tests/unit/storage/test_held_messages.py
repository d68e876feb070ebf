"""Work that waits for its database."""

from collections.abc import Iterator

import pytest

from postroad.context import RequestContext
from postroad.contracts.errors import OutcomeUnknown, ServiceError, Unavailable
from postroad.storage.retrying import held_during_outage
from tests.support.upstreams import answering

READ_ONLY = "the database is read-only"


@pytest.fixture
def context() -> Iterator[RequestContext]:
    with answering(within_s=30) as call:
        yield call


class Work:
    """Fails so often, and notes what it was given."""

    def __init__(self, failures: int, error: type[ServiceError] = Unavailable) -> None:
        self.failures = failures
        self.error = error
        self.given: list[str] = []

    def __call__(self, message: str) -> None:
        self.given.append(message)
        if len(self.given) <= self.failures:
            raise self.error(READ_ONLY)


def answers(*problems: str | None) -> Iterator[str | None]:
    yield from problems


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("error", [Unavailable, OutcomeUnknown])
def test_work_is_done_once_the_problem_has_passed(error: type[ServiceError]) -> None:
    work, pauses = Work(1, error), list[float]()
    problems = answers(READ_ONLY, READ_ONLY, READ_ONLY, None)

    held_during_outage(work, outage=lambda: next(problems), pause=pauses.append)("page 1")

    assert work.given == ["page 1", "page 1"]
    assert len(pauses) == 2


@pytest.mark.usefixtures("context")
def test_what_fails_without_a_problem_is_not_held() -> None:
    work = Work(1)

    with pytest.raises(Unavailable):
        held_during_outage(work, outage=lambda: None)("page 1")

    assert work.given == ["page 1"]


def test_work_that_was_given_up_is_not_held(context: RequestContext) -> None:
    def give_up(_: float) -> None:
        context.is_over = True

    with pytest.raises(Unavailable):
        held_during_outage(Work(1), outage=lambda: READ_ONLY, pause=give_up)("page 1")
