"""Whatever is done to a message, it is refused in a documented way, or is what it was."""

import logging
from contextlib import suppress
from time import time

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.limits import LEEWAY_S, LONGEST_DEADLINE_S
from postroad.messaging.work_checks import LONGEST_LIFE_S
from postroad.security.claims import Claims
from tests.hostile.border import Land, NotLetIn
from tests.hostile.strategies import signed_by_its_sender, tampered

EXAMPLES = 150  # of each kind; `make fuzz` makes more
LAND = Land()
KINDS = sorted(LAND.crossings)

hostile = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@pytest.fixture(autouse=True)
def no_line_for_each_refusal() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def check_tampered(data: st.DataObject, kind: str) -> None:
    """A message that was changed on its way by one who has not its sender's keys."""
    crossing, envelope = data.draw(tampered(LAND, kind))
    expected = crossing.border(crossing.honest)
    try:
        passed = crossing.border(envelope)
    except NotLetIn:
        return
    honest = crossing.honest
    assert passed == expected
    assert (envelope.signature, envelope.body) == (honest.signature, honest.body)


def check_signed(data: st.DataObject, kind: str) -> None:
    """A message whose own sender signed nonsense."""
    crossing, envelope = data.draw(signed_by_its_sender(LAND, kind))
    now = time()
    with suppress(NotLetIn):
        crossing.border(envelope)
        claims = Claims.model_validate_json(envelope.protected)
        longest = LONGEST_DEADLINE_S if kind.startswith(("request", "reply")) else LONGEST_LIFE_S
        assert claims.iss == crossing.sender
        assert claims.aud in (crossing.receiver, "events")
        assert kind == "reply" or now - LEEWAY_S < claims.exp < now + longest + 2 * LEEWAY_S


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_message_is_let_in(kind: str) -> None:
    crossing = LAND.crossings[kind]()

    assert crossing.border(crossing.honest)


@pytest.mark.parametrize("kind", KINDS)
@hostile
@given(data=st.data())
def test_what_was_changed_on_its_way_is_refused_or_means_the_same(
    kind: str, data: st.DataObject
) -> None:
    check_tampered(data, kind)


@pytest.mark.parametrize("kind", KINDS)
@hostile
@given(data=st.data())
def test_a_sender_who_signs_nonsense_is_refused_or_within_the_limits(
    kind: str, data: st.DataObject
) -> None:
    check_signed(data, kind)
