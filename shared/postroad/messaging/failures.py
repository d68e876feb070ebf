"""Calls that fail: what the broker did not take, and what a service answers with instead."""

from postroad.broker.interfaces import Outcome
from postroad.contracts.errors import (
    InternalError,
    OutcomeUnknown,
    Overloaded,
    Problem,
    ServiceError,
    Unavailable,
    from_problem,
)


def failure_of(outcome: Outcome, service: str) -> ServiceError:
    """Return the error that a request not taken by its queue ends with."""
    match outcome:
        case Outcome.RETURNED:
            return Unavailable(f"there is no queue for {service}")
        case Outcome.REFUSED:
            return Overloaded(f"the queue of {service} is full")
        case _:
            return OutcomeUnknown()


def read_problem(body: bytes) -> ServiceError:
    """Return the error that a service answered with."""
    try:
        return from_problem(Problem.model_validate_json(body))
    except ValueError:
        return InternalError("the service answered with an error that cannot be read")
