"""Python as a formatter would leave it: values, calls and imports."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

WIDTH = 100
_INDENT = "    "


def literal(value: object, indent: str = "", before: int = 0, after: int = 0) -> str:
    """Write what JSON can say; ``before`` and ``after`` are characters on its first and last line.

    Raises:
        RecursionError: it is nested too deep.
    """
    flat = _flat(value)
    if len(indent) + before + len(flat) + after <= WIDTH or not isinstance(value, dict | list):
        return flat
    inner = indent + _INDENT
    if isinstance(value, dict):
        keys = [f"{_flat(name)}: " for name in value]
        items = [
            key + literal(each, inner, len(key), 1)
            for key, each in zip(keys, value.values(), strict=True)
        ]
        opening, closing = "{", "}"
    else:
        items = [literal(each, inner, 0, 1) for each in value]
        opening, closing = "[", "]"
    lines = "".join(f"{inner}{item},\n" for item in items)
    return f"{opening}\n{lines}{indent}{closing}"


def call(opening: str, items: Sequence[str], closing: str, indent: str = "") -> Iterator[str]:
    """Write a call, or whatever else has items in brackets, in as few lines as it takes."""
    inline = ", ".join(items)
    if len(indent) + len(opening) + len(inline) + len(closing) <= WIDTH:
        yield f"{indent}{opening}{inline}{closing}"
        return
    yield f"{indent}{opening}"
    if len(indent) + len(_INDENT) + len(inline) <= WIDTH:
        yield f"{indent}{_INDENT}{inline}"
    else:
        yield from (f"{indent}{_INDENT}{item}," for item in items)
    yield f"{indent}{closing}"


def imports(modules: Iterable[str], names: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Write imports of modules, and of names by module: Python's own, others', the project's."""
    statements = [(_section(each), 0, each, f"import {each}") for each in modules]
    statements += [
        (_section(module), 1, module, _import(module, sorted(found, key=_rank)))
        for module, found in names.items()
    ]
    for number, (_, section) in enumerate(groupby(sorted(statements), key=lambda each: each[0])):
        if number:
            yield ""
        yield from (each[-1] for each in section)


def _import(module: str, names: Sequence[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"from {module} import (", *(f"{_INDENT}{name}," for name in names), ")"])


def _section(module: str) -> int:
    first = module.partition(".")[0]
    if first in sys.stdlib_module_names:
        return 0
    return 1 if first in ("alembic", "pydantic", "pydantic_settings", "pytest", "sqlalchemy") else 2


def _rank(name: str) -> tuple[int, str]:
    """Sort constants first, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name.lower())


def _flat(value: object) -> str:
    match value:
        case dict():
            pairs = (f"{_flat(name)}: {_flat(each)}" for name, each in value.items())
            return f"{{{', '.join(pairs)}}}"
        case list():
            return f"[{', '.join(map(_flat, value))}]"
        case str():
            text = repr(value)
            return text if '"' in value else f'"{text[1:-1]}"'
        case _:
            return repr(value)
