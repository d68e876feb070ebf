"""Reading and making the W3C Trace Context."""

import re

import pytest

from postroad.observability.trace_context import TraceContext, new_trace, parse, read_trace

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


def test_a_context_is_passed_on_as_it_came() -> None:
    headers: dict[str, str] = {}

    context = read_trace({"traceparent": PARENT, "tracestate": "vendor=1,other@x=a b"})
    assert context is not None
    context.write(headers)

    assert context.trace_id == TRACE_ID
    assert headers == {"traceparent": PARENT, "tracestate": "vendor=1,other@x=a b"}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"{PARENT}-more",  # version 00 ends here
        f"01{PARENT[2:]}more",
        f"01{PARENT[2:]}-{'x' * 300}",
        f"{PARENT}\n",
        f"{PARENT[:-1]}\n",
        " " + PARENT,
        PARENT.encode(),
        7,
        None,
    ],
)
def test_what_is_not_well_formed_is_as_if_it_were_not_there(parent: object) -> None:
    assert read_trace({"traceparent": parent}) is None


def test_a_later_version_is_taken_for_what_it_begins_with() -> None:
    context = parse(f"01{PARENT[2:]}-more")

    assert context == TraceContext(PARENT)


@pytest.mark.parametrize(
    "state",
    [
        "no pair",
        "Key=upper",
        "key=a\nb",
        "key=" + "x" * 600,
        ",".join(f"k{n}=v" for n in range(33)),
        "key=\u00e9",
        7,
        b"key=1",
    ],
)
def test_a_state_that_is_not_well_formed_is_left_out_by_itself(state: object) -> None:
    assert parse(PARENT, state) == TraceContext(PARENT)


def test_a_state_without_a_parent_is_nothing() -> None:
    assert read_trace({"tracestate": "vendor=1"}) is None


def test_a_new_trace_is_well_formed_not_recorded_and_no_other_one() -> None:
    made = [new_trace() for _ in range(100)]

    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", each.traceparent) for each in made)
    assert all(parse(each.traceparent) == each for each in made)
    assert len({each.trace_id for each in made}) == 100
