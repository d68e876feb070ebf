import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from pydantic import ValidationError

from postroad import contracts
from postroad.contracts.auth import CreateSession, Session
from postroad.contracts.base import Message, Request
from postroad.contracts.catalog import GetProduct, ListProducts, Product, ProductPage
from postroad.contracts.registry import CONTRACTS
from postroad.limits import LONGEST_DEADLINE_S
from postroad.topology.services import Services

METHOD = re.compile(r"[a-z]+\.[a-z]+\.[a-z]+")


def messages(module: object) -> Iterator[type[Message]]:
    for _, member in inspect.getmembers(module, inspect.isclass):
        if issubclass(member, Message) and inspect.getmodule(member) is module:
            yield member


def test_every_contract_is_in_the_registry() -> None:
    written = {
        message
        for found in iter_modules(contracts.__path__)
        for module in [import_module(f"{contracts.__name__}.{found.name}")]
        for message in messages(module)
        if issubclass(message, Request) and hasattr(message, "method")
    }

    assert set(CONTRACTS.values()) == written


@pytest.mark.parametrize("method", CONTRACTS)
def test_a_contract_is_complete(method: str, services: Services) -> None:
    contract = CONTRACTS[method]

    assert METHOD.fullmatch(method)
    assert contract.method == method
    assert services.root[contract.service].answers
    assert issubclass(contract.reply, Message)
    assert 0 < contract.timeout_s <= LONGEST_DEADLINE_S
    assert contract.__doc__


def test_a_contract_knows_its_reply() -> None:
    assert ListProducts.reply is ProductPage
    assert GetProduct.reply is Product
    assert CreateSession.reply is Session


def test_unknown_fields_are_ignored() -> None:
    request = GetProduct.model_validate_json('{"product_id": 7, "added_later": true}')

    assert request == GetProduct(product_id=7)


def test_a_message_does_not_change() -> None:
    request = GetProduct(product_id=7)

    with pytest.raises(ValidationError):
        request.product_id = 8  # type: ignore[misc]  # as it should be


def test_a_broken_message_is_not_quoted() -> None:
    with pytest.raises(ValidationError) as invalid:
        CreateSession.model_validate({"username": "reader", "sealed_password": ["secret"]})

    assert "secret" not in str(invalid.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"limit": 0},
        {"limit": 101},
        {"skip": -1},
        {"q": ""},
        {"category": "Fragrances!"},
        {"sort_by": "secret"},
        {"order": "up"},
        {"q": "lamp", "category": "lighting"},
    ],
)
def test_a_listing_out_of_range_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ListProducts.model_validate(arguments)


def test_a_listing_has_sensible_defaults() -> None:
    assert ListProducts().model_dump() == {
        "limit": 30,
        "skip": 0,
        "q": None,
        "category": None,
        "sort_by": None,
        "order": "asc",
    }


def test_a_message_is_written_once_and_a_copy_of_it_anew() -> None:
    message = GetProduct(product_id=1)

    written = message.as_json
    copied = message.model_copy(update={"product_id": 2})

    assert message.as_json is written
    assert copied.as_json == b'{"product_id":2}'
    assert message == GetProduct(product_id=1)
    assert message.model_dump() == {"product_id": 1}
