import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jsonschema_rs
import pytest
from pydantic import TypeAdapter

from ops.commands.contracts import DOCUMENT_FILE
from postroad.asyncapi.document import build_document, describe_error, errors_of
from postroad.asyncapi.examples import EXAMPLES
from postroad.asyncapi.prose import prose_of
from postroad.asyncapi.wire import Document
from postroad.contracts.auth import Ended, GetOwnUser
from postroad.contracts.base import Message, Request
from postroad.contracts.catalog import GetProduct, ListProducts
from postroad.contracts.errors import (
    ERRORS,
    InternalError,
    InvalidRequest,
    NotAuthenticated,
    Problem,
    ServiceError,
)
from postroad.contracts.registry import CONTRACTS, EVENTS, JOBS
from postroad.topology.definitions import Definitions
from postroad.topology.names import EVENTS_EXCHANGE, RPC_EXCHANGE, WORK_EXCHANGE, rpc_queue
from postroad.topology.rules import Rules

OFFICIAL = Path(__file__).parents[2] / "asyncapi" / "asyncapi-3.0.0.json"
MESSAGES: list[type[Message]] = sorted(
    {
        *CONTRACTS.values(),
        *(contract.reply for contract in CONTRACTS.values()),
        *EVENTS.values(),
        *JOBS.values(),
        Problem,
    },
    key=lambda message: message.__name__,
)


@pytest.fixture(scope="module")
def official() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(OFFICIAL.read_bytes()))


@pytest.fixture
def document() -> Document:
    """A test may change its own copy."""
    copy: Document = json.loads(json.dumps(build_document()))
    return copy


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def resolve(document: Document, reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


# the standard


def test_the_document_keeps_the_official_schema(
    document: Document, official: jsonschema_rs.Validator
) -> None:
    assert [error.message for error in official.iter_errors(document)] == []


def shout(document: Document) -> None:
    document["operations"]["catalog.products.get"]["action"] = "shout"


def forget_the_channel(document: Document) -> None:
    del document["operations"]["catalog.products.get"]["channel"]


def misspell_a_field(document: Document) -> None:
    document["operations"]["catalog.products.get"]["replies"] = {}


def bind_to_a_made_up_exchange_type(document: Document) -> None:
    channel = document["channels"]["catalog.products.get"]
    channel["bindings"]["amqp"]["exchange"]["type"] = "quantum"


def give_a_made_up_type(document: Document) -> None:
    document["components"]["schemas"]["Product"]["properties"]["id"]["type"] = "whole number"


@pytest.mark.parametrize(
    "damage",
    [
        shout,
        forget_the_channel,
        misspell_a_field,
        bind_to_a_made_up_exchange_type,
        give_a_made_up_type,
    ],
)
def test_a_broken_document_does_not_follow_the_official_schema(
    document: Document,
    official: jsonschema_rs.Validator,
    damage: Callable[[Document], None],
) -> None:
    damage(document)

    assert not official.is_valid(document)


def test_every_reference_leads_somewhere(document: Document) -> None:
    for reference in set(references(document)):
        assert resolve(document, reference), reference


def test_the_committed_document_is_the_generated_one() -> None:
    committed = json.loads(DOCUMENT_FILE.read_text())

    assert committed == build_document(), "run: postroad contracts write"


# what it says of our messages


def test_every_request_event_and_job_is_an_operation(document: Document) -> None:
    actions = {name: each["action"] for name, each in document["operations"].items()}

    assert actions == {
        **dict.fromkeys(CONTRACTS, "receive"),
        **dict.fromkeys(EVENTS, "send"),
        **dict.fromkeys(JOBS, "receive"),
    }


@pytest.mark.parametrize("method", CONTRACTS)
def test_a_request_is_answered_with_its_reply_or_a_problem(document: Document, method: str) -> None:
    operation = document["operations"][method]

    payloads = [
        resolve(document, resolve(document, each["$ref"])["$ref"])["payload"]["$ref"]
        for each in operation["reply"]["messages"]
    ]

    names = [CONTRACTS[method].reply.__name__, "Problem"]
    assert payloads == [f"#/components/schemas/{name}" for name in names]


def test_a_channel_leads_to_its_services_queue(document: Document, topology: Definitions) -> None:
    rules = Rules(topology)

    for method, contract in CONTRACTS.items():
        channel = document["channels"][method]
        exchange = channel["bindings"]["amqp"]["exchange"]["name"]
        assert exchange == RPC_EXCHANGE
        assert rules.route(exchange, channel["address"], {}) == [rpc_queue(contract.service)]


def test_an_exchange_is_described_as_the_broker_declares_it(
    document: Document, topology: Definitions
) -> None:
    declared = {each["name"]: each for each in topology["exchanges"]}

    for name in (*CONTRACTS, *EVENTS, *JOBS, "replies"):
        exchange = document["channels"][name]["bindings"]["amqp"]["exchange"]
        as_declared = declared[exchange["name"]]
        assert exchange["type"] == as_declared["type"]
        assert exchange["durable"] == as_declared["durable"]
        assert exchange["autoDelete"] == as_declared["auto_delete"]
        assert exchange["vhost"] == as_declared["vhost"]


@pytest.mark.parametrize(
    ("name", "exchange"),
    [
        *((name, EVENTS_EXCHANGE) for name in EVENTS),
        *((name, WORK_EXCHANGE) for name in JOBS),
    ],
)
def test_events_and_jobs_go_to_exchanges_of_their_own(
    document: Document, name: str, exchange: str
) -> None:
    channel = document["channels"][name]

    assert channel["bindings"]["amqp"]["exchange"]["name"] == exchange
    assert channel["address"] == name


def test_a_request_says_what_its_contract_does(document: Document) -> None:
    operation = document["operations"]["catalog.products.list"]

    assert operation["summary"] == prose_of(ListProducts).summary
    assert operation["x-scope"] == "catalog:read"
    assert operation["x-timeout-s"] == ListProducts.timeout_s
    assert operation["x-idempotent"] is True
    assert operation["security"] == [{"$ref": "#/components/securitySchemes/user_token"}]
    assert operation["x-user-token"] == "if-acting-for-users"


def test_a_method_about_the_user_asks_for_a_token_and_no_scope(document: Document) -> None:
    operation = document["operations"]["auth.profiles.get"]

    assert operation["security"] == [{"$ref": "#/components/securitySchemes/user_token"}]
    assert operation["x-user-token"] == "required"
    assert "x-scope" not in operation


def test_a_method_without_a_scope_asks_for_no_token(document: Document) -> None:
    operation = document["operations"]["auth.sessions.create"]

    assert "security" not in operation
    assert "x-scope" not in operation


def test_limits_are_in_the_schema(document: Document) -> None:
    limit = document["components"]["schemas"]["ListProducts"]["properties"]["limit"]

    assert limit == {"default": 30, "minimum": 1, "maximum": 100, "type": "integer"}


def test_what_we_send_has_every_field(document: Document) -> None:
    product = document["components"]["schemas"]["Product"]

    assert set(product["required"]) == set(product["properties"])


# errors


def test_a_request_lists_its_own_errors_first() -> None:
    codes = [error.code for error in errors_of(GetProduct)]

    assert codes == [
        "product_not_found",
        *("upstream_failed", "upstream_busy"),
        *("not_authenticated", "not_authorised"),
        *("invalid_request", "internal"),
    ]


def test_an_error_that_a_contract_names_itself_is_not_named_again() -> None:
    assert errors_of(GetOwnUser) == [NotAuthenticated, InvalidRequest, InternalError]


def test_an_error_is_described_to_a_caller(document: Document) -> None:
    described = document["operations"]["catalog.products.get"]["x-errors"]

    assert described[0] == {
        "code": "product_not_found",
        "title": "No such product",
        "when": "There is no product with this id.",
        "is_retryable": False,
        "may_have_happened": False,
    }


def test_an_error_without_a_docstring_is_described_by_its_title() -> None:
    with patch.dict(ERRORS):

        class DoorIsStuck(ServiceError):
            code = "door_is_stuck"
            title = "The door is stuck"

    assert describe_error(DoorIsStuck)["when"] == "The door is stuck"


def test_a_docstring_is_read_in_parts() -> None:
    class Open(Request[Ended], method="shop.doors.open"):
        """Open a door,
        slowly.

        It takes ``speed``.
        """

    prose = prose_of(Open)

    assert prose.summary == "Open a door, slowly."
    assert prose.more == "It takes `speed`."
    assert prose.description == "Open a door, slowly.\n\nIt takes `speed`."


# examples


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_every_message_has_an_example(message: type[Message]) -> None:
    assert isinstance(EXAMPLES.get(message), message), "postroad/asyncapi/examples.py has none"


def test_every_example_in_the_document_keeps_its_schema_and_its_model(document: Document) -> None:
    models = {message.__name__: message for message in MESSAGES}
    seen = 0

    for message in document["components"]["messages"].values():
        for example in message["examples"]:
            seen += 1
            schema = message["payload"] | {"components": document["components"]}
            jsonschema_rs.validate(schema, example["payload"])
            TypeAdapter(models[message["name"]]).validate_python(example["payload"])

    assert seen == len(MESSAGES)
