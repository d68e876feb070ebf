"""Which changes of a contract break whom: what is there at all, and all that is not in a field."""

import pytest

from ops.compatibility.contracts import Change, breaks, changes
from postroad.asyncapi.document import build_document
from postroad.asyncapi.wire import Document
from postroad.contracts.base import Job
from postroad.contracts.errors import ProductNotFound
from tests.support.describing import (
    ADDITION,
    BREAKING,
    EVENT,
    JOB,
    METHOD,
    WARNING,
    asking,
    doing,
    found,
    make,
    telling,
)


@pytest.mark.parametrize(
    ("kind", "name", "document"),
    [
        ("request", METHOD, asking()),
        ("event", EVENT, telling({})),
        ("job", JOB, doing({})),
    ],
)
def test_a_contract_that_comes_or_goes_is_a_change(
    kind: str, name: str, document: Document
) -> None:
    nothing = build_document({}, {}, {})

    assert found(document, nothing) == {(BREAKING, f"the {kind} {name} was removed")}
    assert found(nothing, document) == {(ADDITION, f"the {kind} {name} is new")}


def test_an_event_that_has_become_a_job_is_gone() -> None:
    job = make("DoorOpened", __base__=Job, __cls_kwargs__={"name": EVENT})

    assert found(telling({}), build_document({}, {}, {EVENT: job})) == {
        (BREAKING, f"the event {EVENT} was removed"),
        (ADDITION, f"the job {EVENT} is new"),
    }


@pytest.mark.parametrize("field", ["x-timeout-s", "x-idempotent", "x-errors"])
def test_what_only_we_write_may_be_missing(field: str) -> None:
    document, without = build_document(), build_document()
    for operation in without["operations"].values():
        operation.pop(field, None)

    assert found(document, without) == found(without, document) == set()


def test_the_scope_that_a_user_needs() -> None:
    free, read, write = (asking(scope=scope) for scope in (None, "shop:read", "shop:write"))

    assert (BREAKING, f"{METHOD}: the user needs the scope shop:read, and needed none before") in (
        found(free, read)
    )
    assert (ADDITION, f"{METHOD}: the user needs the scope shop:read no more") in found(read, free)
    assert found(read, write) == {
        (
            BREAKING,
            f"{METHOD}: the user needs the scope shop:write, and needed shop:read before",
        )
    }


def test_a_new_error_is_a_warning_and_one_that_goes_breaks() -> None:
    without, with_one = asking(), asking(errors=(ProductNotFound,))

    assert found(without, with_one) == {
        (WARNING, f"{METHOD}: may end in the error product_not_found now")
    }
    assert found(with_one, without) == {
        (BREAKING, f"{METHOD}: ends in the error product_not_found no more")
    }


def test_a_request_that_may_not_be_sent_again_now_breaks_its_callers() -> None:
    once, again = asking(idempotent=False), asking(idempotent=True)

    assert found(again, once) == {
        (BREAKING, f"{METHOD}: is idempotent no more, so a caller may not send it again")
    }
    assert found(once, again) == {(ADDITION, f"{METHOD}: is idempotent now")}


def test_a_shorter_usual_deadline_is_a_warning() -> None:
    slow, fast = asking(timeout_s=5.0), asking(timeout_s=2.5)

    assert found(slow, fast) == {(WARNING, f"{METHOD}: its usual deadline is 2.5 s, and was 5 s")}
    assert found(fast, slow) == {(ADDITION, f"{METHOD}: its usual deadline is 5 s, and was 2.5 s")}


def test_a_message_that_goes_elsewhere_breaks_its_readers() -> None:
    old, new = telling({}), telling({})
    new["channels"][EVENT]["address"] = "shop.elsewhere"
    new["channels"][EVENT]["bindings"]["amqp"] = {"exchange": {"name": "others"}}

    assert found(old, new) == {
        (BREAKING, f"{EVENT}: its routing key is shop.elsewhere, and was {EVENT}"),
        (BREAKING, f"{EVENT}: its exchange is others, and was events"),
    }


def test_between_equal_documents_there_is_no_change() -> None:
    assert changes(build_document(), build_document()) == []


def test_the_worst_comes_first() -> None:
    old, new = asking({"a": (int, 1), "b": (int, 1)}), asking({"b": (int, 2), "c": (int, 1)})

    assert [change.severity for change in changes(old, new)] == [BREAKING, WARNING, ADDITION]


def test_warnings_and_additions_break_nothing() -> None:
    assert breaks([Change(WARNING, "a"), Change(BREAKING, "b")])
    assert not breaks([Change(WARNING, "a"), Change(ADDITION, "b")])
