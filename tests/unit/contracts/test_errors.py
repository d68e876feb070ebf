import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from http_bridge.http.problems import HTTP_STATUS
from postroad.contracts.errors import (
    ERRORS,
    PeerError,
    Problem,
    ServiceError,
    UpstreamBusy,
    explain,
    from_problem,
)


def test_every_error_has_a_code_of_its_own_and_a_status() -> None:
    errors = ServiceError.__subclasses__()  # the bridge's own ones, too

    codes = [error.code for error in errors]

    assert len(set(codes)) == len(codes)
    assert set(codes) == set(HTTP_STATUS)
    assert set(ERRORS) <= set(codes)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_an_error_crosses_the_wire(error: type[ServiceError]) -> None:
    wire = error("no lamp 7", retry_after_s=3).to_problem().model_dump_json()

    arrived = from_problem(Problem.model_validate_json(wire))

    assert type(arrived) is error
    assert (str(arrived), arrived.retry_after_s) == ("no lamp 7", 3)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
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


class Door(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    key: str = Field(max_length=3)
    size: int


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
