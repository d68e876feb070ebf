"""What a request costs, against others and by itself: ``make bench``.

peers: the same request by ours, by other frameworks, and by what bounds them all.
layers: where the CPU time of a request goes.
telemetry: what metrics and traces cost.
background: events and jobs per second, against Celery and Dramatiq.
scale: more workers, connections, larger replies, 10,000 requests under way.
startup: how long a start takes.
docs: nothing is measured; what was measured last is put into docs/performance.md.

Results are kept as JSON, Markdown and a chart; at the end each
target is held against what was measured last.
"""

import argparse
import asyncio
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import comparison_report, goals, growth, layers, startup, telemetry
from benchmarks.background import measuring as background
from benchmarks.comparison import CONTENDERS, OURS, Comparison, Options, compare
from benchmarks.document import renew
from benchmarks.drawing import draw
from benchmarks.goals import Evidence
from benchmarks.growth import Growth, measure_growth
from benchmarks.layers import Layers, profile
from benchmarks.load import LoadError
from benchmarks.machine import ROOT
from benchmarks.results import FOLDER, read, write
from benchmarks.revisions import short_commit
from benchmarks.startup import Startup, StartupError, measure_startup
from benchmarks.usage import ProcessGone
from ops.health.selfcheck import SelfCheckError
from ops.local.broker import BrokerError
from ops.local.ports import PortUnavailable

DOCS = "docs"
STATE = Path(".postroad/bench")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the benchmark: how it is measured, and how it is told."""

    measure: Callable[[argparse.Namespace], Coroutine[Any, Any, Any]]
    report: Callable[[Any], str]


PARTS = {
    "peers": Part(
        lambda options: compare(
            options.state,
            Options(
                only=options.only,
                connections=options.connections,
                rounds=options.rounds,
                seconds=options.seconds,
                remembers_tokens=options.remember_tokens,
                before=options.before,
            ),
        ),
        comparison_report.report,
    ),
    "layers": Part(
        lambda options: profile(options.state, seconds=2 * options.seconds), layers.report
    ),
    "telemetry": Part(
        lambda options: telemetry.measure_telemetry(
            options.state, rounds=options.rounds, seconds=options.seconds
        ),
        telemetry.report,
    ),
    "background": Part(
        lambda options: background.measure_background(options.state, jobs=options.jobs),
        background.report,
    ),
    "scale": Part(
        lambda options: measure_growth(options.state, seconds=options.seconds), growth.report
    ),
    "startup": Part(lambda options: measure_startup(options.state), startup.report),
}


def main() -> int:
    options = parse()
    if shutil.which("wrk") is None:
        print("make bench needs wrk, the load generator: apt-get install wrk", file=sys.stderr)
        return 1
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        for name in (each for each in options.parts if each != DOCS):
            print(f"\n== {name}\n", flush=True)
            found = asyncio.run(PARTS[name].measure(options))
            keep(name, found, PARTS[name].report(found), options.results)
        hold(options.results)
        draw(options.results)
        if DOCS in options.parts:
            renew(options.results)
    except (
        *(BrokerError, LoadError, PortUnavailable, ProcessGone, SelfCheckError, StartupError),
        subprocess.CalledProcessError,
    ) as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} (these), {DOCS}")
    parser.add_argument(
        "--only", type=_words, default=CONTENDERS, metavar="NAMES", help=_peers_help()
    )
    parser.add_argument(
        "--before",
        type=_commit,
        metavar="REV",
        help="peers: an earlier commit of this repository as one more contender, and only this "
        f"part; with --only {OURS} these two alone",
    )
    parser.add_argument(
        *("--connections", "-c"),
        type=lambda text: [int(word) for word in text.split(",")],
        default=[1, 16, 64, 256],
        metavar="COUNTS",
        help="peers: separated by commas (1,16,64,256)",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="peers, telemetry: interleaved (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=3, help="of load for each figure (%(default)s)"
    )
    parser.add_argument(
        "--remember-tokens",
        action="store_true",
        help="peers: have them remember good tokens, as ours does, and not check each time",
    )
    parser.add_argument(
        "--jobs", type=int, default=5000, help="background: jobs a measurement (%(default)s)"
    )
    parser.add_argument("--state", type=Path, default=STATE, help="folder to run in (%(default)s)")
    parser.add_argument(
        "--results",
        type=Path,
        help=f"folder ({FOLDER.relative_to(ROOT)}; with --only, --before or --remember-tokens "
        "one in --state, so that what is kept stays whole)",
    )
    options = parser.parse_args()
    if strange := sorted(set(options.parts) - {*PARTS, DOCS}):
        parser.error(f"there is no part {strange[0]}")
    if strange := sorted(set(options.only) - set(CONTENDERS)):
        parser.error(f"there is no contender {strange[0]}; there are {', '.join(CONTENDERS)}")
    options.state = options.state.resolve()
    has_all_parts = options.only is CONTENDERS and not options.before
    is_whole = has_all_parts and not options.remember_tokens
    options.results = options.results or (FOLDER if is_whole else options.state / "results")
    options.parts = options.parts or (PARTS if has_all_parts else ["peers"])
    return options


def _words(text: str) -> list[str]:
    return text.split(",")


def _commit(revision: str) -> str:
    if commit := short_commit(revision):
        return commit
    raise argparse.ArgumentTypeError(f"this repository has no commit {revision}")


def _peers_help() -> str:
    return f"peers: only these of {', '.join(CONTENDERS)}, and only this part"


def keep(name: str, found: object, text: str, folder: Path) -> None:
    """Write a part's results, and show them."""
    write(folder / f"{name}.json", found)
    (folder / f"{name}.md").write_text(text)
    print(f"\n{text}", flush=True)


def hold(folder: Path) -> None:
    """Hold each target against what was measured last."""
    evidence = Evidence(
        comparison=read(folder / "peers.json", Comparison),
        layers=read(folder / "layers.json", Layers),
        growth=read(folder / "scale.json", Growth),
        startup=read(folder / "startup.json", Startup),
    )
    text = goals.report(goals.goals(evidence))
    (folder / "targets.md").write_text(text)
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
