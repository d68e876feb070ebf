"""A contract class that is wrong is refused where it is defined, and the refusal says why."""

import re
import types
from operator import attrgetter
from typing import Any, Generic

import pytest
from pydantic import create_model

from postroad.contracts.base import Event, Job, Message, ReplyT, Request
from postroad.contracts.catalog import GetProduct, Product
from postroad.contracts.errors import ProductNotFound, ServiceError, Unavailable
from postroad.contracts.registry import by_name

OPEN, OPENED = "shop.doors.open", "shop.door.opened"
make: Any = create_model


class Opened(Message):
    """It is open."""


def define(base: Any, fields: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """Define a contract called Door with these class arguments."""
    return make("Door", __base__=base, __cls_kwargs__=arguments, **(fields or {}))


FORM = "must be <service>.<noun>.<verb> in lower case"
TIME = "timeout_s must be a positive number"
KNOWN = "known are method, scope, needs_user, timeout_s, idempotent, errors and abstract"
ERRORS = "errors must be a tuple of error classes with a code, such as (ProductNotFound,)"


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ({}, "pass either method=... or, to a base of several contracts, abstract=True"),
        ({"method": OPEN, "abstract": True}, "pass either method=... or"),
        ({"method": OPEN, "abstract": "no"}, "abstract must be True or False, not 'no'"),
        ({"method": ""}, f"method {FORM}, not ''"),
        ({"method": "Not A Method"}, f"method {FORM}, not 'Not A Method'"),
        ({"method": "shop.open"}, f"method {FORM}, not 'shop.open'"),
        ({"method": "shop.doors.open.now"}, f"method {FORM}"),
        ({"method": "shop.Doors.open"}, f"method {FORM}"),
        ({"method": OPEN + "\n"}, f"method {FORM}"),
        ({"method": 7}, f"method {FORM}, not 7"),
        ({"method": OPEN, "idempotant": False}, f"unknown class argument 'idempotant'; {KNOWN}"),
        ({"method": OPEN, "name": OPENED}, "unknown class argument 'name'"),
        ({"method": OPEN, "reply": Opened}, "unknown class argument 'reply'"),
        ({"method": OPEN, "scope": 7}, "scope must be one scope, such as 'catalog:read', or None"),
        ({"method": OPEN, "scope": ""}, "scope must be one scope"),
        ({"method": OPEN, "scope": "shop:read shop:write"}, "scope must be one scope"),
        ({"method": OPEN, "scope": ("shop:read",)}, "scope must be one scope"),
        ({"method": OPEN, "needs_user": "no"}, "needs_user must be True or False, not 'no'"),
        ({"method": OPEN, "idempotent": 0}, "idempotent must be True or False, not 0"),
        ({"method": OPEN, "timeout_s": 0}, f"{TIME}, not 0"),
        ({"method": OPEN, "timeout_s": -1.5}, f"{TIME}, not -1.5"),
        ({"method": OPEN, "timeout_s": "5"}, f"{TIME}, not '5'"),
        ({"method": OPEN, "timeout_s": True}, f"{TIME}, not True"),
        ({"method": OPEN, "timeout_s": float("inf")}, f"{TIME}, not inf"),
        ({"method": OPEN, "timeout_s": float("nan")}, f"{TIME}, not nan"),
        ({"method": OPEN, "timeout_s": 61}, "timeout_s must be at most 60, not 61"),
        ({"method": OPEN, "errors": ProductNotFound}, f"{ERRORS}, not <class"),
        ({"method": OPEN, "errors": [ProductNotFound]}, ERRORS),
        ({"method": OPEN, "errors": ("product_not_found",)}, ERRORS),
        ({"method": OPEN, "errors": (ProductNotFound(),)}, ERRORS),
        ({"method": OPEN, "errors": (KeyError,)}, ERRORS),
        ({"method": OPEN, "errors": (ServiceError,)}, ERRORS),
    ],
)
def test_a_wrong_request_is_refused(arguments: dict[str, Any], mistake: str) -> None:
    with pytest.raises(TypeError, match=f"^Door: {re.escape(mistake)}"):
        define(Request[Opened], **arguments)


def test_the_form_of_a_name_is_that_of_its_kind() -> None:
    past = FORM.replace("<verb>", "<past tense>")

    with pytest.raises(TypeError, match=f"^Door: name {past}, not 'shop.open'"):
        define(Event, name="shop.open")
    with pytest.raises(TypeError, match=f"^Door: name {FORM}, not 'shop.open'"):
        define(Job, name="shop.open")


@pytest.mark.parametrize("kind", [Event, Job])
@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ({}, "pass either name=... or, to a base of several contracts, abstract=True"),
        ({"name": OPENED, "abstract": True}, "pass either name=... or"),
        ({"name": "Not A Name"}, "name must be <service>.<noun>."),
        ({"method": OPEN}, "unknown class argument 'method'; known are name"),
        ({"name": OPENED, "scope": "shop:read"}, "unknown class argument 'scope'"),
    ],
)
def test_a_wrong_event_or_job_is_refused(
    kind: type[Message], arguments: dict[str, Any], mistake: str
) -> None:
    with pytest.raises(TypeError, match=f"^Door: {re.escape(mistake)}"):
        define(kind, **arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [("timeout_s", "soon"), ("scope", 7), ("idempotent", False), ("reply", int), ("service", "x")],
)
def test_a_class_argument_does_not_go_into_the_body(name: str, value: object) -> None:
    body = {"__module__": __name__, name: value}

    with pytest.raises(TypeError, match=f"^Door: {name} does not go into the body; class argum"):
        types.new_class("Door", (Request[Opened],), {"method": OPEN}, lambda it: it.update(body))


def test_only_a_job_has_a_timeout() -> None:
    with pytest.raises(TypeError, match=r"^Door: unknown class argument 'timeout_s'"):
        define(Event, name=OPENED, timeout_s=5.0)
    with pytest.raises(TypeError, match=r"^Door: timeout_s must be a positive number, not 0"):
        define(Job, name=OPEN, timeout_s=0)


def test_a_request_names_its_reply() -> None:
    with pytest.raises(TypeError, match=r"^Door: write Request\[ItsReply\], to name its reply"):
        define(Request, method=OPEN)


@pytest.mark.parametrize("reply", [dict, str, None])
def test_a_reply_is_a_message(reply: Any) -> None:
    with pytest.raises(TypeError, match=r"^Door: the reply must be a Message, not "):
        define(Request[reply], method=OPEN)


@pytest.mark.filterwarnings("ignore:Field name:UserWarning")  # pydantic's, of what it shadows
@pytest.mark.parametrize(
    ("base", "identifier", "field"),
    [
        *((Request[Opened], "method", each) for each in ("method", "scope", "reply", "service")),
        *((Event, "name", each) for each in ("name", "as_json")),
        *((Job, "name", each) for each in ("name", "timeout_s", "service")),
    ],
)
def test_a_field_hides_nothing_that_a_contract_has(base: Any, identifier: str, field: str) -> None:
    with pytest.raises(TypeError, match=f"^Door: a field may not be called {field}, "):
        define(base, {field: (str, ...)}, **{identifier: OPEN})


@pytest.mark.filterwarnings("ignore:Field name:UserWarning")  # pydantic's, of what it shadows
def test_a_replys_field_hides_nothing_either() -> None:
    reply: Any = make("Opened", __base__=Message, as_json=(bytes, ...))

    with pytest.raises(TypeError, match=r"^Door: a reply may not have a field as_json"):
        define(Request[reply], method=OPEN)


def test_a_contracts_arguments_have_defaults() -> None:
    class Ring(Request[Opened], method="shop.bells.ring"):
        pass

    class Repair(Job, name="shop.bells.repair"):
        pass

    assert (Ring.scope, Ring.needs_user, Ring.timeout_s) == (None, False, 5.0)
    assert (Ring.idempotent, Ring.errors, Ring.reply) == (True, (), Opened)
    assert Repair.timeout_s == 30.0


def test_a_contract_declares_its_errors() -> None:
    class Ring(Request[Opened], method="shop.bells.ring", errors=(ProductNotFound, Unavailable)):
        pass

    assert Ring.errors == (ProductNotFound, Unavailable)


def test_contracts_share_what_an_abstract_base_has() -> None:
    class Paged(Request[ReplyT], Generic[ReplyT], scope="shop:read", abstract=True):
        limit: int = 30

    class ListDoors(Paged[Opened], method="shop.doors.list"):
        pass

    assert (ListDoors.reply, ListDoors.scope, ListDoors().limit) == (Opened, "shop:read", 30)
    assert not hasattr(Paged, "method")


def test_a_contract_made_from_another_names_itself() -> None:
    with pytest.raises(TypeError, match=r"^GetDoor: pass either method="):

        class GetDoor(GetProduct):
            pass

    class GetLamp(GetProduct, method="shop.lamps.get"):
        pass

    assert (GetLamp.reply, GetLamp.scope, GetLamp.errors) == (
        Product,
        GetProduct.scope,
        GetProduct.errors,
    )
    assert GetProduct.method == "catalog.products.get"


# the registry


def test_two_contracts_of_one_name_are_refused() -> None:
    first, second = (
        define(Job, name=OPEN),
        make("Gate", __base__=Job, __cls_kwargs__={"name": OPEN}),
    )

    with pytest.raises(TypeError, match=f"^Gate: '{OPEN}' is Door already"):
        by_name(attrgetter("name"), [first, second])


def test_contracts_of_two_kinds_have_names_of_their_own() -> None:
    request, job = define(Request[Opened], method=OPEN), define(Job, name=OPEN)
    requests = by_name(attrgetter("method"), [request])

    with pytest.raises(TypeError, match=f"^Door: '{OPEN}' is Door already"):
        by_name(attrgetter("name"), [job], requests)
