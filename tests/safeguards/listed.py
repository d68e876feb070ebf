"""The list of safeguards, read from ``safeguards.toml``."""

import ast
import re
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).parents[2]


class Edit(BaseModel):
    """A symbol, and what becomes of it: another body, or ``new`` for ``old`` within it."""

    model_config = ConfigDict(extra="forbid")

    symbol: str  # module:function, module:Class.method or module:CONSTANT
    body: str | None = None
    old: str | None = None
    new: str = ""

    @property
    def file(self) -> str:
        """Return the file that defines the symbol."""
        name = self.symbol.partition(":")[0].replace(".", "/") + ".py"
        return f"shared/{name}" if name.startswith("postroad/") else name

    def apply(self, text: str) -> str:
        """Return the file's text without the safeguard.

        Raises:
            ValueError: the symbol, or the code in it, is not there exactly once.
        """
        node = _find(ast.parse(text).body, self.symbol.partition(":")[2].split("."))
        if self.body is not None and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first, indent = node.body[0], " " * node.body[0].col_offset
            return _with_lines(text, first.lineno, node.end_lineno, indent + self.body + "\n")
        lines = text.splitlines(keepends=True)[node.lineno - 1 : node.end_lineno]
        code = r"\s+".join(map(re.escape, (self.old or "").split()))
        changed, count = re.subn(code, lambda _: self.new, "".join(lines))
        if not code or count != 1:
            raise ValueError(f"{self.symbol} does not have once: {self.old}")
        return _with_lines(text, node.lineno, node.end_lineno, changed)


def _find(body: list[ast.stmt], names: list[str]) -> ast.stmt:
    """Return the statement that defines a name, in a module or in the classes that lead to it."""
    found = [node for node in body if names[0] in _defines(node)]
    if len(found) != 1:
        raise ValueError(f"{names[0]} is not defined once")
    return _find(getattr(found[0], "body", []), names[1:]) if names[1:] else found[0]


def _defines(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _with_lines(text: str, first: int, last: int | None, new: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines[: first - 1], new, *lines[last:]])


class Safeguard(BaseModel):
    """Something that may not be missing; each of the tests fails when it is."""

    model_config = ConfigDict(extra="forbid")

    name: str
    taken_out: str
    tests: list[str]
    edits: list[Edit]

    def take_out(self, copy: Path) -> None:
        """Edit a copy of the project.

        Raises:
            ValueError: what is to be replaced is not there; the list is out of date.
        """
        for edit in self.edits:
            file = copy / edit.file
            file.write_text(edit.apply(file.read_text()))


def safeguards() -> list[Safeguard]:
    """Read the list."""
    text = (ROOT / "tests" / "safeguards" / "safeguards.toml").read_text()
    return [Safeguard.model_validate(entry) for entry in tomllib.loads(text)["safeguard"]]


def table() -> str:
    """Show the list as docs/guarantees.md does."""
    rows = ["| safeguard | what there was instead | what failed |", "| --- | --- | --- |"]
    for each in safeguards():
        tests = " ".join(f"`{test.removeprefix('tests/')}`" for test in each.tests)
        rows.append(f"| {each.name} | {each.taken_out} | {tests} |")
    return "\n".join(rows)
