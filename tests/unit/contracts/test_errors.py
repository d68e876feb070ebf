import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from http_bridge.http.problems import HTTP_STATUS
from postroad.contracts.errors import (
    ERRORS,
    InternalError,
    OutcomeUnknown,
    PeerError,
    Problem,
    ProductNotFound,
    ReplyTimeout,
    ServiceError,
    UpstreamBusy,
    explain,
    from_problem,
)
from postroad.topology.manifest import find_manifests
from tests.conftest import ROOT

OURS = {
    code: error for code, error in ERRORS.items() if error.__module__ == ServiceError.__module__
}
IN_THE_HOUSE = ("postroad.", "http_bridge.")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Forget the classes that a test defines."""
    with patch.dict(ERRORS):
        yield


def test_every_error_of_the_house_has_a_status() -> None:
    codes = {code for code, error in ERRORS.items() if error.__module__.startswith(IN_THE_HOUSE)}

    named = {code for each in find_manifests(ROOT) for code in each.http_statuses}
    assert codes == HTTP_STATUS.keys() | named


@pytest.mark.parametrize("error", OURS.values(), ids=OURS)
def test_an_error_crosses_the_wire(error: type[ServiceError]) -> None:
    wire = error("no lamp 7", retry_after_s=3).to_problem().model_dump_json()

    arrived = from_problem(Problem.model_validate_json(wire))

    assert type(arrived) is error
    assert (str(arrived), arrived.retry_after_s) == ("no lamp 7", 3)


@pytest.mark.parametrize("error", OURS.values(), ids=OURS)
def test_an_error_without_a_detail_says_its_title(error: type[ServiceError]) -> None:
    problem = error().to_problem()

    assert problem.detail == problem.title == error.title


def test_an_error_has_its_own_usual_pause() -> None:
    assert UpstreamBusy().to_problem().retry_after_s == 10
    assert UpstreamBusy(retry_after_s=2).to_problem().retry_after_s == 2
    assert UpstreamBusy().retry_after_s == 10


def test_a_code_of_a_newer_peer_is_kept_as_what_it_says() -> None:
    problem = Problem(code="too_heavy", title="Too heavy", detail="40 kg")

    error = from_problem(problem)

    assert type(error) is PeerError
    assert str(error) == "40 kg"


# definitions


def define(name: str, *bases: type, **body: object) -> Any:
    """Define an error class in the module of another package."""
    return type(name, bases or (ServiceError,), {"__module__": "shop.errors", **body})


STUCK = {"code": "door_is_stuck", "title": "The door is stuck"}
PAUSING = STUCK | {"is_retryable": True}


@pytest.mark.parametrize(
    ("body", "mistake"),
    [
        ({}, "an error needs a code of its own and a title, or abstract=True"),
        ({"code": "door_is_stuck"}, "an error needs a code of its own and a title"),
        ({"title": "The door is stuck"}, "an error needs a code of its own and a title"),
        (STUCK | {"code": "Door Is Stuck"}, "code='Door Is Stuck' is not of the form"),
        (STUCK | {"code": 7}, "code=7 is not of the form 'product_not_found'"),
        (STUCK | {"title": ""}, "title='' is not a sentence"),
        (STUCK | {"is_retryable": "yes"}, "is_retryable='yes' must be True or False"),
        (STUCK | {"may_have_happened": 0}, "may_have_happened=0 must be True or False"),
        (
            STUCK | {"is_retriable": True},
            "unknown attribute 'is_retriable'; known are code, title,",
        ),
        (STUCK | {"timing": 3}, "unknown attribute 'timing'"),
        (
            PAUSING | {"retry_after_s": "soon"},
            "retry_after_s='soon' is not a positive whole number",
        ),
        (PAUSING | {"retry_after_s": 1.5}, "retry_after_s=1.5 is not a positive whole number"),
        (
            PAUSING | {"retry_after_s": 0},
            "retry_after_s=0 is not a positive whole number of seconds",
        ),
        (
            PAUSING | {"retry_after_s": True},
            "retry_after_s=True is not a positive whole number of seconds",
        ),
        (STUCK | {"retry_after_s": 3}, "what has a retry_after_s is_retryable = True"),
        (
            STUCK | {"code": "product_not_found"},
            "the code 'product_not_found' is taken by postroad.contracts.errors.ProductNotFound",
        ),
    ],
)
def test_a_wrong_error_class_is_refused(body: dict[str, object], mistake: str) -> None:
    with pytest.raises(TypeError, match=f"^Stuck: {re.escape(mistake)}"):
        define("Stuck", **body)


def test_a_subclass_of_an_error_needs_a_code_of_its_own() -> None:
    with pytest.raises(TypeError, match=r"^LampNotFound: an error needs a code of its own"):
        define("LampNotFound", ProductNotFound)


def test_a_code_is_no_class_argument() -> None:
    with pytest.raises(TypeError, match=r"^Stuck: set code in the body of an error class"):

        class Stuck(ServiceError, code="door_is_stuck"):
            title = "The door is stuck"


def test_an_unknown_class_argument_of_an_error_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^Stuck: unknown class argument 'abstrakt'; known is abs"):

        class Stuck(ServiceError, abstrakt=True):
            pass


def test_the_body_of_an_abstract_error_is_checked_too() -> None:
    with pytest.raises(TypeError, match=r"^DoorError: unknown attribute 'may_have_hapened'"):

        class DoorError(ServiceError, abstract=True):
            may_have_hapened = True


def test_an_error_has_methods_and_private_attributes_of_its_own() -> None:
    class Stuck(ServiceError):
        code = "door_is_stuck"
        title = "The door is stuck"
        _force = 7

        @property
        def force(self) -> int:
            return self._force

    assert Stuck().force == 7


def test_an_abstract_error_has_no_code_and_is_not_raised() -> None:
    class DoorError(ServiceError, abstract=True):
        title = "Something is wrong with the door"
        is_retryable = True

    class Stuck(DoorError):
        code = "door_is_stuck"

    assert Stuck().to_problem().title == "Something is wrong with the door"
    assert Stuck.is_retryable
    with pytest.raises(TypeError, match="DoorError is abstract"):
        DoorError("it creaks")
    with pytest.raises(TypeError, match=r"^Creaking: an abstract error has no code"):

        class Creaking(ServiceError, abstract=True):
            code = "door_creaks"


def test_a_module_may_be_imported_again() -> None:
    first, second = define("Stuck", **STUCK), define("Stuck", **STUCK)

    assert first is not second
    assert type(from_problem(first().to_problem())) is second


# errors of other packages


def test_an_error_of_another_package_crosses_the_wire_as_itself() -> None:
    stuck = define("Stuck", **STUCK)
    jammed = define("Jammed", stuck, code="door_is_jammed")

    assert type(from_problem(stuck("door 7").to_problem())) is stuck
    assert type(from_problem(jammed("door 7").to_problem())) is jammed


def test_an_error_arrives_without_the_arguments_of_its_own() -> None:
    class Stuck(ServiceError):
        code = "door_is_stuck"
        title = "The door is stuck"

        def __init__(self, *, door: int) -> None:
            super().__init__(f"door {door} is stuck", retry_after_s=door)

    arrived = from_problem(Stuck(door=7).to_problem())

    assert type(arrived) is Stuck
    assert (str(arrived), arrived.retry_after_s) == ("door 7 is stuck", 7)


def test_a_kind_of_an_error_that_repeats_its_code_arrives_as_that_error() -> None:
    class NoSuchLamp(ProductNotFound):
        code = ProductNotFound.code

    assert type(from_problem(NoSuchLamp("no lamp 7").to_problem())) is ProductNotFound


# what a caller may do next


def test_an_error_is_final_and_did_nothing_unless_it_says_otherwise() -> None:
    stuck = define("Stuck", **STUCK)

    assert (stuck.is_retryable, stuck.may_have_happened) == (False, False)


@pytest.mark.parametrize("error", [ReplyTimeout, OutcomeUnknown, InternalError, PeerError])
def test_what_ends_without_a_clear_answer_may_have_happened(error: type[ServiceError]) -> None:
    assert error.may_have_happened


class Door(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    key: str = Field(max_length=3)
    size: int

    @model_validator(mode="after")
    def _fits(self) -> "Door":
        if self.size > len(self.key):
            raise ValueError("the key does not fit")
        return self


def test_an_explanation_names_the_fields_and_quotes_no_values() -> None:
    with pytest.raises(ValidationError) as invalid:
        Door.model_validate({"key": "secret", "size": "secret"})

    explanation = explain(invalid.value)

    assert "key: " in explanation
    assert "size: " in explanation
    assert "secret" not in explanation


def test_an_explanation_of_a_body_that_is_no_json_says_body() -> None:
    with pytest.raises(ValidationError) as invalid:
        Door.model_validate_json(b"secret")

    explanation = explain(invalid.value)

    assert explanation.startswith("body: ")
    assert "secret" not in explanation


def test_an_explanation_of_several_fields_is_in_the_contracts_own_words() -> None:
    with pytest.raises(ValidationError) as invalid:
        Door.model_validate({"key": "k", "size": 2})

    assert explain(invalid.value) == "body: the key does not fit"
    assert explain(invalid.value, whole="query") == "query: the key does not fit"
