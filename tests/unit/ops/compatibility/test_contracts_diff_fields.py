"""Which changes of a field break whom: each rule, in both directions."""

from typing import Literal

import pytest
from pydantic import Field

from ops.compatibility.contracts import Severity
from postroad.contracts.base import Message
from tests.support.describing import (
    ADDITION,
    BREAKING,
    EVENT,
    JOB,
    METHOD,
    NUMBER,
    WARNING,
    Fields,
    answering,
    asking,
    doing,
    found,
    telling,
)


class Hinge(Message):
    """A part of a door."""

    size: int


class BigHinge(Message):
    """The same, for another version."""

    size: int
    side: str


TAKEN: dict[str, tuple[Fields, Fields, tuple[Severity, str], tuple[Severity, str]]] = {
    "a field": (
        {},
        {"speed": (int, 1)},
        (ADDITION, "the field speed is new"),
        (BREAKING, "the field speed was removed, and is ignored"),
    ),
    "a required field": (
        {},
        NUMBER,
        (BREAKING, "the field speed is new and required"),
        (BREAKING, "the field speed was removed, and is ignored"),
    ),
    "that a field is required": (
        {"speed": (int, 1)},
        NUMBER,
        (BREAKING, "the field speed is required"),
        (ADDITION, "the field speed is required no more"),
    ),
    "null": (
        NUMBER,
        {"speed": (int | None, ...)},
        (ADDITION, "speed takes null, too"),
        (BREAKING, "speed takes no null any more, only integer"),
    ),
    "a wider number": (
        NUMBER,
        {"speed": (float, ...)},
        (ADDITION, "speed takes number, too"),
        (BREAKING, "speed takes no number any more, only integer"),
    ),
    "a value": (
        {"way": (Literal["in", "out"], "in")},
        {"way": (Literal["in", "out", "round"], "in")},
        (ADDITION, "way takes 'round', too"),
        (BREAKING, "way takes 'round' no more, only 'in', 'out'"),
    ),
    "any value": (
        {"way": (Literal["in", "out"], "in")},
        {"way": (str, "in")},
        (ADDITION, "way takes any string, too"),
        (BREAKING, "way takes any string no more, only 'in', 'out'"),
    ),
    "a higher maximum": (
        {"speed": (int, Field(le=10))},
        {"speed": (int, Field(le=20))},
        (ADDITION, "speed has maximum 20, and had maximum 10"),
        (BREAKING, "speed has maximum 10, and had maximum 20"),
    ),
    "a lower minimum": (
        {"speed": (int, Field(ge=2))},
        {"speed": (int, Field(ge=1))},
        (ADDITION, "speed has minimum 1, and had minimum 2"),
        (BREAKING, "speed has minimum 2, and had minimum 1"),
    ),
    "no limit": (
        {"label": (str, Field(max_length=10))},
        {"label": (str, ...)},
        (ADDITION, "label has no maxLength, and had maxLength 10"),
        (BREAKING, "label has maxLength 10, and had no maxLength"),
    ),
    "no pattern": (
        {"label": (str, Field(pattern="^a"))},
        {"label": (str, ...)},
        (ADDITION, "label has no pattern, and had pattern ^a"),
        (BREAKING, "label has pattern ^a, and had no pattern"),
    ),
    "an item's value": (
        {"ways": (list[Literal["in"]], ...)},
        {"ways": (list[Literal["in", "out"]], ...)},
        (ADDITION, "ways[] takes 'out', too"),
        (BREAKING, "ways[] takes 'out' no more, only 'in'"),
    ),
    "a nested field": (
        {"hinge": (Hinge | None, None)},
        {"hinge": (BigHinge | None, None)},
        (BREAKING, "the field hinge.side is new and required"),
        (BREAKING, "the field hinge.side was removed, and is ignored"),
    ),
}

SENT: dict[str, tuple[Fields, Fields, tuple[Severity, str], tuple[Severity, str]]] = {
    "a field": (
        {},
        NUMBER,
        (ADDITION, "the field speed is new"),
        (BREAKING, "the field speed was removed"),
    ),
    "null": (
        NUMBER,
        {"speed": (int | None, ...)},
        (BREAKING, "speed may be null, and was integer only"),
        (ADDITION, "speed is never null"),
    ),
    "a wider number": (
        NUMBER,
        {"speed": (float, ...)},
        (BREAKING, "speed may be number, and was integer only"),
        (ADDITION, "speed is never number"),
    ),
    "a value": (
        {"way": (Literal["in", "out"], "in")},
        {"way": (Literal["in", "out", "round"], "in")},
        (BREAKING, "way may be 'round', and was 'in', 'out' only"),
        (ADDITION, "way is never 'round'"),
    ),
    "a higher maximum": (
        {"speed": (int, Field(le=10))},
        {"speed": (int, Field(le=20))},
        (BREAKING, "speed has maximum 20, and had maximum 10"),
        (ADDITION, "speed has maximum 10, and had maximum 20"),
    ),
    "a lower minimum": (
        {"speed": (int, Field(ge=2))},
        {"speed": (int, Field(ge=1))},
        (BREAKING, "speed has minimum 1, and had minimum 2"),
        (ADDITION, "speed has minimum 2, and had minimum 1"),
    ),
    "a nested field": (
        {"hinges": (list[Hinge], ...)},
        {"hinges": (list[BigHinge], ...)},
        (ADDITION, "the field hinges[].side is new"),
        (BREAKING, "the field hinges[].side was removed"),
    ),
}


@pytest.mark.parametrize("rule", TAKEN)
def test_what_a_request_takes(rule: str) -> None:
    old, new, there, back = TAKEN[rule]

    assert found(asking(old), asking(new)) == {(there[0], f"{METHOD}: {there[1]}")}
    assert found(asking(new), asking(old)) == {(back[0], f"{METHOD}: {back[1]}")}


@pytest.mark.parametrize("rule", TAKEN)
def test_what_a_job_takes(rule: str) -> None:
    old, new, there, back = TAKEN[rule]

    assert found(doing(old), doing(new)) == {(there[0], f"{JOB}: {there[1]}")}
    assert found(doing(new), doing(old)) == {(back[0], f"{JOB}: {back[1]}")}


@pytest.mark.parametrize("rule", SENT)
def test_what_a_reply_says(rule: str) -> None:
    old, new, there, back = SENT[rule]
    place = f"the reply of {METHOD}"

    assert found(answering(old), answering(new)) == {(there[0], f"{place}: {there[1]}")}
    assert found(answering(new), answering(old)) == {(back[0], f"{place}: {back[1]}")}


@pytest.mark.parametrize("rule", SENT)
def test_what_an_event_says(rule: str) -> None:
    old, new, there, back = SENT[rule]

    assert found(telling(old), telling(new)) == {(there[0], f"{EVENT}: {there[1]}")}
    assert found(telling(new), telling(old)) == {(back[0], f"{EVENT}: {back[1]}")}


def test_a_field_that_an_event_may_leave_out() -> None:
    old, new = telling(NUMBER), telling(NUMBER)
    del new["components"]["schemas"]["DoorOpened"]["required"]

    assert found(old, new) == {(BREAKING, f"{EVENT}: speed may be missing")}
    assert found(new, old) == {(ADDITION, f"{EVENT}: speed is always there")}


def test_a_changed_default_is_a_warning() -> None:
    slow, fast = asking({"speed": (int, 1)}), asking({"speed": (int, 9)})

    assert found(slow, fast) == {(WARNING, f"{METHOD}: speed is 9 when not given, and was 1")}


def test_an_errors_own_fields_are_a_reply_too() -> None:
    old, new = asking(), asking()
    del new["components"]["schemas"]["Problem"]["properties"]["detail"]
    new["components"]["schemas"]["Problem"]["required"].remove("detail")

    assert found(old, new) == {(BREAKING, "an error: the field detail was removed")}
    assert found(new, old) == {(ADDITION, "an error: the field detail is new")}


class Tree(Message):
    """It refers to itself."""

    branches: list["Tree"]
    height: int


class TallTree(Message):
    """The same, for another version."""

    branches: list["TallTree"]
    height: int | None


def test_a_schema_that_refers_to_itself_is_compared_once() -> None:
    old, new = answering({"tree": (Tree, ...)}), answering({"tree": (TallTree, ...)})

    assert found(old, new) == {
        (BREAKING, f"the reply of {METHOD}: tree.height may be null, and was integer only")
    }
