"""How `postroad dead-letters` shows letters."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ops.dead_letters.letter import DeadLetter
from ops.dead_letters.redaction import SECRET
from ops.dead_letters.report import report
from ops.terminal.text import clock_time, distance
from postroad.dead_letters.captured import as_management
from postroad.plain_text import plain

_HEADINGS = ("QUEUE", "NAME", "REASON", "CALLER", "COUNT", "OLDEST", "NEWEST")


def groups(letters: Sequence[DeadLetter], now: float) -> Iterator[str]:
    """Give a table of letters of one queue, name, reason and caller each."""
    alike: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for letter in letters:
        key = (letter.queue, letter.name, letter.reason, letter.caller)
        alike[key].append(letter.died_at)
    rows = [
        (*map(plain, key), str(len(times)), _age(min(times), now), _age(max(times), now))
        for key, times in alike.items()
    ]
    yield from _table([_HEADINGS, *rows])


def each(letters: Sequence[DeadLetter], now: float) -> Iterator[str]:
    """Give a line for each letter, with its number for ``show``."""
    rows = [
        (str(n), letter.message_id, letter.name, letter.reason, _age(letter.died_at, now))
        for n, letter in enumerate(letters, 1)
    ]
    yield from _table([("N", "ID", "NAME", "REASON", "DIED"), *(map(plain, row) for row in rows)])


def as_json(letter: DeadLetter) -> dict[str, Any]:
    """Give a letter for programs, without its body."""
    return {
        "id": letter.message_id,
        "queue": letter.queue,
        "died_in": letter.died_in,
        "name": letter.name,
        "reason": letter.reason,
        "caller": letter.caller,
        "died_at": letter.died_at or None,
        "redrives": letter.redrives,
        "bytes": len(letter.message.body),
    }


def whole(letter: DeadLetter, objection: str | None) -> Iterator[str]:
    """Give all there is to know of one letter, but no secrets."""
    died = f", died {clock_time(letter.died_at)}" if letter.died_at else ""
    yield f"{letter.message_id} in {letter.queue}{died}: {letter.reason}"
    yield from report(letter.diagnosis)
    if objection is None:
        yield f"It can go back to work: 'postroad dead-letters redrive --id {letter.message_id}'."
    else:
        yield f"It cannot be redriven: {objection}."
    yield ""
    yield "headers"
    for name, value in as_management(letter.message)["properties"]["headers"].items():
        shown = "present" if SECRET.search(name) else json.dumps(value, ensure_ascii=False)
        yield f"  {name}: {shown}"
    yield ""
    yield "body"
    yield from _body(letter.message.body)


def _body(body: bytes) -> Iterator[str]:
    try:
        shown = _without_secrets(json.loads(body))
        text = json.dumps(shown, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):  # it may be anything, secrets too
        text = f"{len(body)} bytes that are not JSON, or are nested too deep"
    for line in text.split("\n"):
        yield f"  {line}"


def _without_secrets(content: object) -> object:
    if isinstance(content, dict):
        return {
            name: "(hidden)" if SECRET.search(name) else _without_secrets(value)
            for name, value in content.items()
        }
    if isinstance(content, list):
        return [_without_secrets(value) for value in content]
    return content


def _table(rows: Sequence[Any]) -> Iterator[str]:
    lines = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, strict=True)
        yield "  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip()


def _age(died_at: float, now: float) -> str:
    return distance(died_at - now) if died_at else "-"
