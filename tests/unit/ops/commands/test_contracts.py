"""`postroad contracts`: it shows, compares, checks and releases."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest

from ops.commands import contracts
from ops.commands.contracts import last_released, may_break, with_errors
from ops.commands.dispatch import run_command
from ops.commands.errors import CommandError
from postroad.asyncapi.document import build_document
from postroad.asyncapi.wire import Document
from postroad.contracts.errors import ERRORS, ServiceError
from tests.support.describing import METHOD, NUMBER, asking


def write(path: Path, document: Document) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_show_prints_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    status = run_command(["contracts", "show"])

    assert status == 0
    assert json.loads(capsys.readouterr().out) == build_document()


def test_diff_prints_a_line_for_each_change_and_fails_when_one_breaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = write(tmp_path / "old", asking()), write(tmp_path / "new", asking(NUMBER))

    status = run_command(["contracts", "diff", str(old), str(new)])

    assert status == 1
    assert capsys.readouterr().out == f"breaks  {METHOD}: the field speed is new and required\n"


def test_diff_ends_with_status_0_where_all_changes_are_additions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(tmp_path / "old", build_document({}, {}, {}))

    status = run_command(["contracts", "diff", str(old)])

    assert status == 0
    assert "new     the request catalog.products.list is new\n" in capsys.readouterr().out


def test_diff_says_so_when_nothing_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run_command(["contracts", "diff", str(write(tmp_path / "same", build_document()))])

    assert (status, capsys.readouterr().out) == (0, "nothing has changed\n")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot read"),
        ("{", "not JSON"),
        ("[]", "not an AsyncAPI"),
        ('{"operations": {"a": {}}, "components": {}}', "not an AsyncAPI"),
    ],
)
def test_diff_says_what_is_wrong_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, complaint: str
) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)

    status = run_command(["contracts", "diff", str(path)])

    assert status == 2
    assert complaint in capsys.readouterr().err


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of documents, with the present one written and released."""
    wire = tmp_path / "wire-protocol.md"
    wire.write_text(contracts.WIRE_FILE.read_text())
    monkeypatch.setattr(contracts, "DOCUMENT_FILE", tmp_path / "asyncapi.json")
    monkeypatch.setattr(contracts, "WIRE_FILE", wire)
    monkeypatch.setattr(contracts, "RELEASED_FOLDER", tmp_path)
    for action in ("write", "release"):
        assert run_command(["contracts", action]) == 0
    return tmp_path


def check() -> int:
    return run_command(["contracts", "check"])


def test_check_is_content_with_what_was_written(repository: Path) -> None:
    assert check() == 0


def test_check_fails_when_the_document_is_out_of_date(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(repository / "asyncapi.json", asking())

    assert check() == 1
    assert "write it with 'postroad contracts write'" in capsys.readouterr().err


def test_check_fails_when_the_table_of_errors_is_out_of_date(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wire = repository / "wire-protocol.md"
    wire.write_text(wire.read_text().replace("| `overloaded` |", "| `overfed` |"))

    assert check() == 1
    assert f"{wire} is out of date" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "again", "done"),
    [
        ("product_not_found", "no", "no"),
        ("upstream_busy", "yes", "no"),
        ("reply_timeout", "if the method is idempotent", "perhaps"),
        ("internal", "no", "perhaps"),
    ],
)
def test_the_table_of_errors_says_what_to_do(code: str, again: str, done: str) -> None:
    rows = [row.split(" | ") for row in with_errors("").splitlines()]

    assert [row[2:] for row in rows if row[0] == f"| `{code}`"] == [[again, f"{done} |"]]


def test_the_table_of_errors_has_those_of_the_contracts_alone() -> None:
    with patch.dict(ERRORS):

        class DoorIsStuck(ServiceError):
            code = "door_is_stuck"
            title = "The door is stuck"

        assert DoorIsStuck.code not in with_errors("")


def test_only_the_table_of_errors_is_replaced() -> None:
    before, table, after = "# Errors\n\n", with_errors(""), "\nThe end.\n"

    assert with_errors(before + table.replace("unavailable", "away") + after) == (
        before + table + after
    )


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

    assert run_command(["contracts", "release"]) == 1
    assert "is out already" in capsys.readouterr().err


def test_the_last_release_is_the_one_of_the_highest_version(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.2.11"):
        write(tmp_path / f"asyncapi-{version}.json", {})

    assert last_released(tmp_path).name == "asyncapi-0.10.0.json"


def test_a_folder_without_a_released_document_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no released document"):
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
def test_a_minor_before_1_0_and_a_major_after_it_may_break(
    released: str, present: str, may: bool
) -> None:
    assert may_break(released, present) is may


def test_what_another_team_wrote_is_no_order_to_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = build_document()
    operations = {**document["operations"], "x\x1b]0;owned\x07\nnew     y": {}}
    first = next(iter(document["operations"].values()))
    operations["x\x1b]0;owned\x07\nnew     y"] = first
    new = write(tmp_path / "new.json", {**document, "operations": operations})
    old = write(tmp_path / "old.json", document)

    run_command(["contracts", "diff", str(old), str(new)])

    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()


def test_a_document_that_is_nested_without_end_is_no_document(tmp_path: Path) -> None:
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 200_000)

    assert run_command(["contracts", "diff", str(deep)]) == 2
    assert run_command(["explain", str(deep), "--state", str(tmp_path)]) == 1
