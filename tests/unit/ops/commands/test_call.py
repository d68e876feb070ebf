"""`postroad call`, up to where it sends."""

import json
import re
from pathlib import Path

import pytest

from ops.commands import call
from ops.commands.dispatch import run_command
from ops.commands.errors import CommandError
from postroad.contracts.catalog import ListProducts


def run(folder: Path, *arguments: str) -> int:
    return run_command(["call", *arguments, "--state", str(folder)])


def test_fields_are_read_as_the_contract_says() -> None:
    request = call._request("catalog.products.list", ["limit=5", "q=a=b", "sort_by=price"])

    assert request == ListProducts(limit=5, q="a=b", sort_by="price")


@pytest.mark.parametrize(
    ("method", "fields", "reason"),
    [
        ("catalog.products.lst", [], "no method catalog.products.lst; there are auth"),
        ("catalog.products.get", [], "product_id: Field required"),
        ("catalog.products.get", ["product_id=x"], "product_id: Input should be a valid integer"),
        ("catalog.products.list", ["limit=0"], "limit: Input should be greater than or equal to 1"),
        ("catalog.products.list", ["page=2"], "'page=2' is not a field: catalog.products.list"),
        ("catalog.products.list", ["limit"], "limit has no value: write limit=…"),
        ("catalog.products.list", ["lmit"], "'lmit' is not a field"),
        ("catalog.products.list", ["q=a", "category=b"], "give q or category, not both"),
    ],
)
def test_what_is_no_request_is_said_in_a_sentence(
    method: str, fields: list[str], reason: str
) -> None:
    with pytest.raises(CommandError, match=reason):
        call._request(method, fields)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_in_which_nobody_can_answer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, "catalog.products.list", f"--timeout={seconds}")

    assert f"'{seconds}' is not a valid time-out: give seconds" in capsys.readouterr().err


def test_without_a_running_system_there_is_nobody_to_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "catalog.products.list") == 1

    said = capsys.readouterr()
    assert said.err == f"postroad: nothing runs on {tmp_path}; start it with 'postroad up'\n"
    assert said.out == ""


def test_colours_change_nothing_but_the_look() -> None:
    value = {"data": [{"title": 'a "quoted": 7', "price": -1.5, "brand": None}], "old": True}

    coloured = call._shown(value, in_colour=True)
    plain = call._shown(value, in_colour=False)

    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    assert json.loads(plain) == value
    assert '\x1b[34m"price"\x1b[0m: \x1b[36m-1.5\x1b[0m' in coloured
