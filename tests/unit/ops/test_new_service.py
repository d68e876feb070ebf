"""What `postroad new service` writes, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.scaffold.plan import Plan, singular
from ops.scaffold.rendering import files
from ops.services import manifests

LONG = ["a2345678901234567890", "b2345678901234567890.c2345678901234567890"]
PLANS = {
    "everything": Plan.make(
        "shipments",
        methods=["create", "get", "list", "cancel", "labels.reprint"],
        events=["created", "label.printed"],
        jobs=["labels.print"],
        http=True,
    ),
    "one method": Plan.make("quotes", methods=["get"]),
    "no database": Plan.make("big_categories", methods=["create", "list", "cancel"], http=True),
    "no events": Plan.make("stories", methods=["create", "list", "find"], has_database=True),
    "nothing to find": Plan.make("glasses", methods=["create"], has_database=True),
    "the longest names": Plan.make(
        LONG[0], methods=[LONG[1], "create"], events=[LONG[1].replace("c", "d")], jobs=["print"]
    ),
}


def write(plan: Plan, folder: Path) -> None:
    for name, text in files(plan).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the repository's, with a service of each plan."""
    root = tmp_path_factory.mktemp("written")
    for plan in PLANS.values():
        write(plan, root)
    for each in manifests.manifests():
        (root / each.folder.name).symlink_to(each.folder)
    (root / "shared").symlink_to(manifests.ROOT / "shared")
    (root / "pyproject.toml").write_bytes((manifests.ROOT / "pyproject.toml").read_bytes())
    for folder in ("tests", "tests/unit"):
        (root / folder / "__init__.py").touch()
    return root


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{manifests.ROOT}:{manifests.ROOT / 'shared'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    return f"{done.stdout}{done.returncode}"


def test_its_code_is_linted_and_formatted(written: Path) -> None:
    packages = [*(each.package for each in PLANS.values()), "tests"]

    linted = run(written, "ruff", "check", "--no-cache", *packages)
    formatted = run(written, "ruff", "format", "--check", "--diff", "--no-cache", *packages)

    assert linted == "All checks passed!\n0"
    assert formatted.endswith("already formatted\n0"), formatted


def test_its_tests_pass(written: Path) -> None:
    said = run(written, "pytest", "-q", "-p", "no:cacheprovider", "tests")

    assert said.endswith("0"), said
    assert " passed in " in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Shipments", "--method", "get"], "service 'Shipments': use lower-case letters"),
        (["class", "--method", "get"], "service 'class': this is a word of Python's own"),
        (["json", "--method", "get"], "service 'json': this name is taken"),
        (["bridge", "--method", "get"], "service 'bridge': this name is taken"),
        (["a" * 21, "--method", "get"], "20 characters at most"),
        (["shipments"], "a service needs a method: --method create"),
        (["shipments", "--method", "a.b.c"], "method 'a.b.c': write VERB or NOUN.VERB"),
        (["shipments", "--method", "get", "--method", "get"], "its class would be GetShipment"),
        (
            ["shipments", "--method", "labels.print", "--job", "labels.print"],
            "job shipments.labels.print: its class would be PrintLabel, as that of",
        ),
        (["catalog", "--method", "get"], "there is a service catalog already"),
        (["products", "--method", "get", "--http"], "the path /products is taken"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(manifests.ROOT.iterdir())

    assert run_command(["new", "service", *arguments]) != 0

    assert complaint in capsys.readouterr().err
    assert set(manifests.ROOT.iterdir()) == before


def test_a_package_that_is_there_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manifests, "ROOT", tmp_path)
    (tmp_path / "quotes_worker").mkdir()

    assert run_command(["new", "service", "quotes", "--method", "get"]) == 1

    assert "quotes_worker is there already; nothing was written" in capsys.readouterr().err
    assert not list((tmp_path / "quotes_worker").iterdir())


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("shipments", "shipment"),
        ("stories", "story"),
        ("boxes", "box"),
        ("glasses", "glass"),
        ("status", "status"),
        ("stock", "stock"),
        ("series", "sery"),  # a wrong guess is still a name
    ],
)
def test_a_plural_has_a_singular(plural: str, one: str) -> None:
    assert singular(plural) == one
