"""How `postroad status` looks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ops.scaling.report import Change, ProgramReport, Report
from postroad.plain_text import plain
from postroad.topology.names import SCALER

_CHANGES_SHOWN = 10
_BOLD, _RED, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"  # ECMA-48 SGR


@dataclass(frozen=True, slots=True)
class Queue:
    """What a queue holds and how fast it moves; the rates are None when they are not known yet."""

    name: str
    ready: int
    unacked: int
    in_per_s: float | None
    out_per_s: float | None
    consumers: int


@dataclass(frozen=True, slots=True)
class Status:
    """What was seen at one moment; ``problem`` says why there are no queues."""

    http: str
    pages: str
    password_file: str
    queues: list[Queue]
    report: Report | None
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give all of it for programs."""
        report = self.report.model_dump(mode="json") if self.report else {}
        return {
            "http": self.http,
            "management": self.pages,
            "queues": [asdict(queue) for queue in self.queues],
            "programs": report.get("programs"),
            "changes": report.get("changes"),
            "metrics_port": report.get("metrics_port"),
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a table, and how to draw attention to it."""

    cells: Sequence[str]
    colour: str = ""


def page(status: Status, *, colours: bool) -> str:
    """Lay a status out for a person."""
    lines = [
        f"Postroad at {status.http}",
        f"RabbitMQ's own pages: {status.pages} as {SCALER}, password in {status.password_file}",
        "",
    ]
    if status.problem:
        lines += _table("<", [_Row([status.problem], _RED)], colours=colours)
    else:
        lines += _table("<>>>>>", _queue_rows(status.queues), colours=colours)
    if status.report is None:
        return "\n".join([*lines, "", "Its processes are unknown: 'postroad up' did not start it."])
    lines += ["", *_table("<>>>>><", _program_rows(status.report), colours=colours)]
    changes = status.report.changes[-_CHANGES_SHOWN:]
    if not changes:
        return "\n".join([*lines, "", "Nothing has been scaled yet."])
    return "\n".join([*lines, "", *_table("<<<<", _change_rows(changes), colours=colours)])


def _queue_rows(queues: Iterable[Queue]) -> Iterator[_Row]:
    yield _Row(["QUEUE", "READY", "UNACKED", "IN/S", "OUT/S", "CONSUMERS"], _BOLD)
    for queue in queues:
        rates = map(_rate, (queue.in_per_s, queue.out_per_s))
        dead = queue.name.startswith("dead.") and queue.ready
        counts = (str(queue.ready), str(queue.unacked), *rates, str(queue.consumers))
        yield _Row([queue.name, *counts], _RED if dead else "")


def _rate(per_s: float | None) -> str:
    return "-" if per_s is None else f"{per_s:.1f}"


def _program_rows(report: Report) -> Iterator[_Row]:
    yield _Row(["PROGRAM", "RUNNING", "WANTED", "OF", "DRAINING", "CRASHES", "PIDS"], _BOLD)
    for name, program in report.programs.items():
        counts = (len(program.pids), program.wanted, _bounds(program), program.draining)
        rest = (program.crashes, " ".join(map(str, program.pids)) or "-")
        short = len(program.pids) < program.wanted
        yield _Row([name, *map(str, (*counts, *rest))], _YELLOW if short else "")


def _bounds(program: ProgramReport) -> str:
    return "-" if program.most is None else f"{program.least}..{program.most}"


def _change_rows(changes: Iterable[Change]) -> Iterator[_Row]:
    yield _Row(["SCALED AT", "PROGRAM", "FROM, TO", "WHY"], _BOLD)
    for change in changes:
        at = change.at.astimezone().strftime("%H:%M:%S")
        yield _Row([at, change.program, f"{change.before} -> {change.after}", change.reason])


def _table(sides: str, rows: Iterable[_Row], *, colours: bool) -> list[str]:
    """Align each column to its side, as in a format string: ``<`` or ``>``."""
    rows = [_Row([plain(cell) for cell in row.cells], row.colour) for row in rows]
    widths = [max(map(len, column)) for column in zip(*(row.cells for row in rows), strict=True)]
    return [_line(row, sides, widths, colours=colours) for row in rows]


def _line(row: _Row, sides: str, widths: Sequence[int], *, colours: bool) -> str:
    cells = zip(row.cells, sides, widths, strict=True)
    line = "  ".join(f"{cell:{side}{width}}" for cell, side, width in cells).rstrip()
    return f"{row.colour}{line}{_PLAIN}" if colours and row.colour else line
