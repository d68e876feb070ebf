"""Lines of the programs' logs: read from JSON, shown to people as the programs would themselves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from postroad.observability.logging import rendering_for_people
from postroad.plain_text import plain

LEVELS = ("debug", "info", "warning", "error", "critical")
STRAY = "error"  # the level of what is not a line of a log: a traceback at the start, most likely


@dataclass(frozen=True, slots=True)
class Line:
    """One line; ``fields`` is none when it is not JSON."""

    program: str
    text: bytes
    fields: dict[str, Any] | None
    time: str  # RFC 3339, UTC; that of the line before when it has none

    @property
    def level(self) -> str:
        return str(self.fields.get("level", STRAY)) if self.fields is not None else STRAY

    def to_json(self) -> str:
        """Return it as JSON in any case."""
        text = self.text.decode(errors="replace")
        if self.fields is not None:
            return plain(text)
        return plain(
            orjson.dumps({"event": text, "level": STRAY, "program": self.program}).decode()
        )


def parse_line(program: str, text: bytes, *, before: str = "") -> Line:
    """Read a line; ``before`` is the time of the line before."""
    try:
        fields = orjson.loads(text) if text.startswith(b"{") else None
    except orjson.JSONDecodeError:
        fields = None
    return Line(program, text, fields, str((fields or {}).get("time", before)))


class Renderer:
    """Writes lines for people; with colours on a terminal."""

    def __init__(self, *, has_colours: bool) -> None:
        self._render = rendering_for_people(has_colours=has_colours)

    def __call__(self, line: Line) -> str:
        if line.fields is None:
            return plain(line.text.decode(errors="replace").expandtabs())
        fields = {**line.fields, "time": _local(line.time)}
        return str(self._render(None, "", fields))


def _local(time: str) -> str:
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return time
