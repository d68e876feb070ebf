"""Where the style guide's exceptions stand (docs/decisions/0021-types-and-catching.md)."""

import ast
import re

from tests.safeguards.listed import ROOT

PRODUCT = ("shared/postroad", "http_bridge", "auth_worker", "catalog_worker", "ops", "sample_api")
FOLDER_MODULES_MAX = 12
TEST_NAME_MAX = 70
MANY_MODULES = "ops/commands"  # a module is a command
CATCH_ALL = {
    "http_bridge/app.py",  # answers 500, and logs
    "shared/postroad/broker/amqp/connection.py",  # a sender chooses the bytes
    "shared/postroad/broker/amqp/mended.py",  # as above
    "shared/postroad/messaging/worker_core.py",  # dead-letters the message, and logs
    "shared/postroad/observability/http_spans.py",  # ends the span, and raises again
    "shared/postroad/storage/relay.py",  # tries again, and logs
}
WITH_LOGIC = {
    "shared/postroad/__init__.py",  # loads its names when they are asked for
    "shared/postroad/storage/__init__.py",  # names the extra that is missing
}
MODULES = [file for folder in PRODUCT for file in (ROOT / folder).rglob("*.py")]


def test_every_exception_is_caught_only_at_a_border() -> None:
    catching = {file for file in MODULES if "except Exception" in file.read_text()}

    assert {str(file.relative_to(ROOT)) for file in catching} == CATCH_ALL


def test_a_folder_of_library_bridge_or_ops_holds_few_modules() -> None:
    parents = {file.parent.relative_to(ROOT) for file in MODULES}
    rooms = (each for each in parents if each.parts[0] in {"shared", "http_bridge", "ops"})
    folders = [ROOT / each for each in rooms if str(each) != MANY_MODULES]

    for folder in folders:
        modules = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
        assert len(modules) <= FOLDER_MODULES_MAX, folder


def test_a_package_has_no_logic_of_its_own() -> None:
    found = set()
    for file in (each for each in MODULES if each.name == "__init__.py"):
        for statement in ast.parse(file.read_text()).body:
            if not isinstance(statement, ast.Expr | ast.ImportFrom | ast.Assign):
                found.add(str(file.relative_to(ROOT)))

    assert found == WITH_LOGIC


def test_a_tests_name_has_at_most_70_characters() -> None:
    tests = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))

    names = re.findall(r"^(?:async )?def (test_\w+)", tests, re.MULTILINE)
    assert [name for name in names if len(name) > TEST_NAME_MAX] == []
