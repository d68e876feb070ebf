"""Two releases side by side under load, in every order, and what it takes: ``make upgrades``."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.contenders import PeerError
from benchmarks.revisions import short_commit
from ops.terminal.progress import say
from tests.faults import expected
from tests.faults.__main__ import logging_to
from tests.upgrades import seeded
from tests.upgrades.plan import AFTER, BEFORE, every_order, once
from tests.upgrades.releases import Release, of_commit, of_folder
from tests.upgrades.report import findings_of, report
from tests.upgrades.walk import walk

RELEASE_BEFORE = "241e58b"  # what 0.2.0 was made of, until it has a tag
REVISIONS = Path(".postroad/upgrades")


def main() -> int:
    options = _parse()
    return _try_seeded(options) if options.seeded else _walk(options)


def _walk(options: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix="upgrades-"))
    try:
        before, after = _releases(options)
        say(f"from {before.title} to {after.title}; what the services log is in {folder}")
        began = time.monotonic()
        with logging_to(folder / "callers.log"):
            found = asyncio.run(
                walk(folder, before, after, once() if options.once else every_order(), options.seed)
            )
    except PeerError as error:
        say(f"make upgrades: {error}")
        return 2
    except KeyboardInterrupt:
        say("stopped; nothing was checked")
        return 130
    findings = findings_of(found, expected.answers())
    text = report(found, findings, before, after, on=found.broker, took_s=time.monotonic() - began)
    _publish(text, options.report)
    if findings:
        return 1
    shutil.rmtree(folder)
    return 0


def _try_seeded(options: argparse.Namespace) -> int:
    tried = seeded.try_all(seeded.changes(), options.seed)
    missed = [f"{each.change.name}: not by {what}" for each in tried for what in each.missed]
    _publish("\n".join([seeded.report(tried), *missed]), options.report)
    return 1 if missed else 0


def _publish(text: str, report: Path | None) -> None:
    say(f"\n{text}")
    if report:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(text)


def _releases(options: argparse.Namespace) -> tuple[Release, Release]:
    folder = REVISIONS.resolve()
    before = of_commit(BEFORE, options.before, folder)
    if options.after:
        return before, of_commit(AFTER, options.after, folder)
    return before, of_folder(AFTER, f"the working tree at {short_commit('HEAD')}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make upgrades", description=__doc__)
    parser.add_argument(
        "--before",
        type=_commit,
        metavar="REV",
        default=RELEASE_BEFORE,
        help="the older release (%(default)s)",
    )
    parser.add_argument(
        "--after", type=_commit, metavar="REV", help="the newer one (the working tree)"
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="one way, in the order of docs/upgrading.md: auth workers first, bridges last",
    )
    parser.add_argument(
        "--seeded",
        action="store_true",
        help="make each breaking change of seeded.toml in a copy, and see what notices it",
    )
    parser.add_argument("--seed", type=int, default=1, help="of chance (%(default)s)")
    parser.add_argument("--report", type=Path, help="a file for the table, in Markdown")
    return parser.parse_args()


def _commit(revision: str) -> str:
    commit = short_commit(revision)
    if commit is None:
        raise argparse.ArgumentTypeError(f"this repository has no commit {revision}")
    return commit


if __name__ == "__main__":
    sys.exit(main())
