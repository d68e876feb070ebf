"""Which changes of a contract break whom: each rule, in both directions."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, create_model

from ops import cli, contracts
from ops.contract_changes import Change, Severity, breaks, changes
from ops.contracts import ContractsError, last_released, may_break
from shared.asyncapi.document import build_document
from shared.asyncapi.wire import Document
from shared.contracts.base import Event, Job, Message, Request

METHOD, EVENT, JOB = "shop.doors.open", "shop.door.opened", "shop.doors.paint"
BREAKING, WARNING, ADDITION = Severity.BREAKING, Severity.WARNING, Severity.ADDITION

Fields = dict[str, Any]
make: Any = create_model  # what it makes at run time no type says


class Opened(Message):
    """It is open."""


def asking(fields: Fields | None = None, /, doc: str = "", **arguments: Any) -> Document:
    """Describe one request with these fields."""
    contract = make(
        "OpenDoor",
        __base__=Request[Opened],
        __cls_kwargs__={"method": METHOD, **arguments},
        **(fields or {}),
    )
    contract.__doc__ = doc
    return build_document({METHOD: contract}, {}, {})


def answering(fields: Fields) -> Document:
    """Describe one request whose reply has these fields."""
    reply = make("Door", __base__=Message, **fields)
    contract = make(
        "OpenDoor",
        __base__=Request[reply],  # type: ignore[valid-type]  # made at run time
        __cls_kwargs__={"method": METHOD},
    )
    return build_document({METHOD: contract}, {}, {})


def telling(fields: Fields) -> Document:
    """Describe one event with these fields."""
    event = make("DoorOpened", __base__=Event, __cls_kwargs__={"name": EVENT}, **fields)
    return build_document({}, {EVENT: event}, {})


def doing(fields: Fields, **arguments: Any) -> Document:
    """Describe one job with these fields."""
    job = make("PaintDoor", __base__=Job, __cls_kwargs__={"name": JOB, **arguments}, **fields)
    return build_document({}, {}, {JOB: job})


def found(old: Document, new: Document) -> set[tuple[Severity, str]]:
    return {(change.severity, change.sentence) for change in changes(old, new)}


class Hinge(Message):
    """A part of a door."""

    size: int


class BigHinge(Message):
    """The same, for another version."""

    size: int
    side: str


NUMBER: Fields = {"speed": (int, ...)}

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
        {"name": (str, Field(max_length=10))},
        {"name": (str, ...)},
        (ADDITION, "name has no maxLength, and had maxLength 10"),
        (BREAKING, "name has maxLength 10, and had no maxLength"),
    ),
    "no pattern": (
        {"name": (str, Field(pattern="^a"))},
        {"name": (str, ...)},
        (ADDITION, "name has no pattern, and had pattern ^a"),
        (BREAKING, "name has pattern ^a, and had no pattern"),
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


@pytest.mark.parametrize(
    ("kind", "name", "document"),
    [
        ("request", METHOD, asking()),
        ("event", EVENT, telling({})),
        ("job", JOB, doing({})),
    ],
)
def test_what_is_there_at_all(kind: str, name: str, document: Document) -> None:
    nothing = build_document({}, {}, {})

    assert found(document, nothing) == {(BREAKING, f"the {kind} {name} was removed")}
    assert found(nothing, document) == {(ADDITION, f"the {kind} {name} is new")}


def test_an_event_that_has_become_a_job_is_gone() -> None:
    job = make("DoorOpened", __base__=Job, __cls_kwargs__={"name": EVENT})

    assert found(telling({}), build_document({}, {}, {EVENT: job})) == {
        (BREAKING, f"the event {EVENT} was removed"),
        (ADDITION, f"the job {EVENT} is new"),
    }


def test_the_scope_that_a_user_needs() -> None:
    free, read, write = (
        asking(doc=NO_ERRORS, scope=scope) for scope in (None, "shop:read", "shop:write")
    )

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


NO_ERRORS = "Open a door."
ONE_ERROR = """Open a door.

    Raises:
        ProductNotFound: there is none.
    """


def test_the_errors_of_a_request() -> None:
    without, with_one = asking(doc=NO_ERRORS), asking(doc=ONE_ERROR)

    assert found(without, with_one) == {
        (WARNING, f"{METHOD}: may end in the error product_not_found now")
    }
    assert found(with_one, without) == {
        (ADDITION, f"{METHOD}: ends in the error product_not_found no more")
    }


def test_whether_a_request_may_be_sent_again() -> None:
    once, again = asking(idempotent=False), asking(idempotent=True)

    assert found(again, once) == {
        (BREAKING, f"{METHOD}: is idempotent no more, so a caller may not send it again")
    }
    assert found(once, again) == {(ADDITION, f"{METHOD}: is idempotent now")}


def test_the_usual_deadline() -> None:
    slow, fast = asking(timeout_s=5.0), asking(timeout_s=2.5)

    assert found(slow, fast) == {(WARNING, f"{METHOD}: its usual deadline is 2.5 s, and was 5 s")}
    assert found(fast, slow) == {(ADDITION, f"{METHOD}: its usual deadline is 5 s, and was 2.5 s")}


def test_a_default() -> None:
    slow, fast = asking({"speed": (int, 1)}), asking({"speed": (int, 9)})

    assert found(slow, fast) == {(WARNING, f"{METHOD}: speed is 9 when not given, and was 1")}


def test_where_a_message_goes() -> None:
    old, new = telling({}), telling({})
    new["channels"][EVENT]["address"] = "shop.elsewhere"
    new["channels"][EVENT]["bindings"]["amqp"] = {"exchange": {"name": "others"}}

    assert found(old, new) == {
        (BREAKING, f"{EVENT}: its routing key is shop.elsewhere, and was {EVENT}"),
        (BREAKING, f"{EVENT}: its exchange is others, and was events"),
    }


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


def test_nothing_has_changed() -> None:
    assert changes(build_document(), build_document()) == []


def test_the_worst_comes_first() -> None:
    old, new = asking({"a": (int, 1), "b": (int, 1)}), asking({"b": (int, 2), "c": (int, 1)})

    assert [change.severity for change in changes(old, new)] == [BREAKING, WARNING, ADDITION]


def test_only_what_breaks_breaks() -> None:
    assert breaks([Change(WARNING, "a"), Change(BREAKING, "b")])
    assert not breaks([Change(WARNING, "a"), Change(ADDITION, "b")])


# the command


def write(path: Path, document: Document) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_show_prints_the_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["postroad", "contracts", "show"])

    status = cli.main()

    assert status == 0
    assert json.loads(capsys.readouterr().out) == build_document()


def test_diff_prints_a_line_for_each_change_and_fails_when_one_breaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = write(tmp_path / "old", asking()), write(tmp_path / "new", asking(NUMBER))

    status = contracts.run(Namespace(action=contracts._diff, old=old, new=new))

    assert status == 1
    assert capsys.readouterr().out == f"breaks  {METHOD}: the field speed is new and required\n"


def test_diff_is_content_with_additions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old", build_document({}, {}, {}))

    status = contracts.run(Namespace(action=contracts._diff, old=old, new=None))

    assert status == 0
    assert "new     the request catalog.products.list is new\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "cannot read"), ("{", "no JSON"), ("[]", "no AsyncAPI")]
)
def test_diff_says_what_is_wrong_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, complaint: str
) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)

    status = contracts.run(Namespace(action=contracts._diff, old=path, new=None))

    assert status == 1
    assert complaint in capsys.readouterr().err


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of documents, with the present one written and released."""
    monkeypatch.setattr(contracts, "DOCUMENT_FILE", tmp_path / "asyncapi.json")
    monkeypatch.setattr(contracts, "RELEASED_FOLDER", tmp_path)
    for action in (contracts._write, contracts._release):
        assert contracts.run(Namespace(action=action)) == 0
    return tmp_path


def check() -> int:
    return contracts.run(Namespace(action=contracts._check))


def test_check_is_content_with_what_was_written(repository: Path) -> None:
    assert check() == 0


def test_check_fails_when_the_document_is_out_of_date(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(repository / "asyncapi.json", asking())

    assert check() == 1
    assert "write it with 'postroad contracts write'" in capsys.readouterr().err


def test_check_fails_when_the_last_release_is_broken(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(repository / "asyncapi-0.0.9.json", build_document())
    write(repository / "asyncapi-0.1.0.json", asking())

    assert check() == 1
    assert f"breaks  the request {METHOD} was removed" in capsys.readouterr().out


def test_a_breaking_change_takes_a_version_that_may_break(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "asyncapi-0.1.0.json").unlink()
    write(repository / "asyncapi-0.0.9.json", asking())

    assert check() == 0
    assert f"breaks  the request {METHOD} was removed" in capsys.readouterr().out


def test_a_release_is_not_written_over(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(repository / "asyncapi-0.1.0.json", asking())

    assert contracts.run(Namespace(action=contracts._release)) == 1
    assert "is out already" in capsys.readouterr().err


def test_the_last_release_is_the_one_of_the_highest_version(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.2.11"):
        write(tmp_path / f"asyncapi-{version}.json", {})

    assert last_released(tmp_path).name == "asyncapi-0.10.0.json"


def test_there_must_be_a_release(tmp_path: Path) -> None:
    with pytest.raises(ContractsError, match="no released document"):
        last_released(tmp_path)


@pytest.mark.parametrize(
    ("released", "present", "may"),
    [
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "1.0.0", True),
        ("1.1.0", "1.2.0", False),
        ("1.1.0", "2.0.0", True),
        ("2.0.0", "1.9.0", False),
    ],
)
def test_which_version_may_break_which(released: str, present: str, may: bool) -> None:
    assert may_break(released, present) is may
