"""Whatever a body says, it keeps its contract or is refused; what is let in can be said again."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from postroad.asyncapi.examples import EXAMPLES
from postroad.contracts.base import Message
from postroad.contracts.errors import explain
from tests.hostile.strategies import BODIES

CONTRACTS = sorted(EXAMPLES, key=lambda contract: contract.__name__)
ODD_VALUES = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, "1" * 5000, "-1", "-0"),
    *("01", "+1", "0x7", "7.0", "7.5", "1e0", "9223372036854775808", "true", "null", "", "{}"),
    *('"7"', '""', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"' + "x" * 100_000 + '"'),
    *("[" * 3000, "[" * 150 + "]" * 150, "[null]", '[{"data":[]}]', '"NaN"', "1 ", '"\n"'),
)


def check_contract(body: bytes, contract: type[Message]) -> None:
    try:
        message = contract.model_validate_json(body)
    except ValidationError as invalid:
        explain(invalid).encode()  # it goes into a reply
        return
    said = message.__pydantic_serializer__.to_json(message)
    assert contract.model_validate_json(said) == message
    json.loads(said, parse_constant=pytest.fail)  # others know no NaN


@pytest.mark.parametrize("contract", CONTRACTS)
def test_any_value_in_any_field_is_taken_or_refused(contract: type[Message]) -> None:
    honest: dict[str, Any] = json.loads(EXAMPLES[contract].model_dump_json())
    texts = {name: json.dumps(value) for name, value in honest.items()}
    for name in (*texts, "of nobody's"):
        for value in ODD_VALUES:
            fields = [*texts.items(), (name, value)]  # after the honest one: a name given twice
            body = ",".join(f"{json.dumps(each)}:{text}" for each, text in fields)

            check_contract(b"{%b}" % body.encode(), contract)


@pytest.mark.parametrize("contract", CONTRACTS)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(body=BODIES)
def test_any_body_keeps_its_contract_or_is_refused(contract: type[Message], body: bytes) -> None:
    check_contract(body, contract)
