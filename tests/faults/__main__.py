"""Break a running system in every way we know, and prove what it promises: ``make faults``."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from ops.terminal.progress import say
from tests.faults import expected
from tests.faults.campaign import deal, run
from tests.faults.checker import check
from tests.faults.cluster_faults import CLUSTER_KINDS
from tests.faults.faults import KINDS
from tests.faults.kinds import ALL_KINDS
from tests.faults.system import Choice
from tests.faults.table import report
from tests.support.docker import docker_gives, image_of
from tests.support.nodes import DEFAULT_IMAGE


def main() -> int:
    options = _parse()
    choice = _choose(options.brokers)
    if options.kinds and not choice.is_cluster and CLUSTER_KINDS.keys() & set(options.kinds):
        raise SystemExit(f"of three nodes only (--brokers 3): {', '.join(CLUSTER_KINDS)}")
    kinds = options.kinds or [*KINDS, *(CLUSTER_KINDS if choice.is_cluster else ())]
    kinds = deal(kinds, options.faults, seed=options.seed)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    say(f"{len(kinds)} faults, seed {options.seed}; what the services log is in {folder}")
    began = time.monotonic()
    try:
        with logging_to(folder / "callers.log"):
            records = asyncio.run(
                run(folder, kinds, choice, seed=options.seed, minutes=options.minutes)
            )
    except KeyboardInterrupt:
        say("stopped; nothing was checked")
        return 130
    findings = check(records, expected.answers())
    text = report(records, findings, seed=options.seed, took_s=time.monotonic() - began)
    say(f"\n{text}")
    if options.report:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text)
    if findings:
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Have what the callers' clients log written to a file: it is all about faults."""
    before = structlog.get_config()
    with path.open("w") as file:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(file))
        try:
            yield
        finally:
            structlog.configure(**before)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="how many (%(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=40, help="after which there are no more (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of chance (%(default)s)")
    parser.add_argument(
        "--kinds",
        type=_kinds,
        help=f"separated by commas, of {', '.join(KINDS)}; of three nodes also, and only of them, "
        f"{', '.join(CLUSTER_KINDS)} (all)",
    )
    parser.add_argument(
        "--brokers",
        type=int,
        choices=(1, 3),
        default=1,
        help="how many nodes, from containers of RABBITMQ_IMAGE, %(default)s by default "
        f"({DEFAULT_IMAGE}); one is the machine's own RabbitMQ where Docker does not answer",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="for what runs, and its logs (a temporary one, kept when something was found)",
    )
    parser.add_argument("--report", type=Path, help="a file for the table, in Markdown")
    return parser.parse_args()


def _choose(count: int) -> Choice:
    """Choose brokers as the tests do: from containers, where Docker has them."""
    image = image_of("RABBITMQ_IMAGE", DEFAULT_IMAGE)
    if docker_gives(image):
        return Choice(image, count)
    if count > 1:
        raise SystemExit(f"{count} brokers come from containers: Docker does not give {image}")
    return Choice()


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    if unknown := [each for each in kinds if each not in ALL_KINDS]:
        raise argparse.ArgumentTypeError(f"there is no kind {unknown[0]}")
    return kinds


if __name__ == "__main__":
    sys.exit(main())
