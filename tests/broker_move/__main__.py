"""Move a running system to another RabbitMQ and back under load: ``make move-broker``."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from ops.terminal.progress import say
from tests.broker_move.campaign import run
from tests.broker_move.report import report, too_long
from tests.faults import expected
from tests.faults.__main__ import logging_to
from tests.faults.checker import check
from tests.support.nodes import running_node


def main() -> int:
    options = _parse()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="broker-move-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    say(f"what the services log is in {folder}")
    began = time.monotonic()
    with logging_to(folder / "callers.log"), running_node() as new:
        moved = run(folder, new, jobs=options.jobs, back=options.back, seed=options.seed)
        result = asyncio.run(moved)
    findings = check(result.records, expected.answers())
    text = report(result, findings, took_s=time.monotonic() - began)
    say(f"\n{text}")
    if options.report:
        options.report.write_text(text)
    problems = [*(f"{each.what}: {each.detail}" for each in findings), *too_long(result)]
    problems += [f"{count} left in {place}" for place, count in result.left.items() if count]
    for problem in problems[:10]:
        say(problem)
    if not problems and options.folder is None:
        shutil.rmtree(folder)
    return 1 if problems else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make move-broker", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="that wait (%(default)s)")
    parser.add_argument(
        "--back", type=int, default=10_000, help="that are added for the way back (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of chance (%(default)s)")
    parser.add_argument("--folder", type=Path, help="for what runs, and its logs (a temporary one)")
    parser.add_argument("--report", type=Path, help="a file for the table, in Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
