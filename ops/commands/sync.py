"""`postroad sync`: bring the stored catalogue up to date, and see how it goes."""

import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Protocol

from ops.commands.arguments import add_state_argument
from ops.services.operator import OPERATOR, settings_as
from ops.state.folder import StateFolder
from ops.terminal.logs import hide_logs
from ops.terminal.progress import Gauge
from postroad.contracts.errors import ServiceError
from postroad.contracts.syncs import GetSync, StartSync, Sync
from postroad.plain_text import plain
from postroad.runtime.blocking import BlockingClient

EXAMPLES = """\
examples:
  postroad sync             start one, or join the one under way, and see how it goes
  postroad sync --no-wait   start it, and leave it to itself
"""
_POLL_S = 0.25
_PATIENCE_S = 3.0  # before we say that nothing moves
_START_S = 10.0  # in which a process is started where none was, and takes the sync
_SILENCE_S = 30.0  # of the catalogue service, after which we ask no more
_WHY = (
    "postroad: nothing has moved for a while: the product API is away, and what failed is tried "
    "again later, or no catalog_sync process runs; 'postroad logs --service catalog_sync' says more"
)


class Caller(Protocol):
    """How requests are sent."""

    def call(self, request: GetSync | StartSync) -> Sync: ...


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.set_defaults(when_interrupted="the sync goes on without us")
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--no-wait", dest="wait", action="store_false", help="only start it, and say its id"
    )
    add_state_argument(parser)


def run(options: Namespace) -> int:
    """Start a sync and wait for its end; give the exit status."""
    hide_logs()
    settings = settings_as(StateFolder(options.state), OPERATOR)
    with BlockingClient(settings) as client:
        sync = client.call(StartSync())
        if options.wait:
            return _report(follow(client, sync))
    print(f"started {sync.sync_id}; postroad call catalog.syncs.get sync_id={sync.sync_id}")
    return 0


def follow(
    caller: Caller,
    sync: Sync,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Sync:
    """Show how far a sync is until it has ended.

    Raises:
        ServiceError: nobody has answered for too long.
    """
    gauge = Gauge()
    moved_at = answered_at = clock()
    is_explained = False
    while sync.status in ("requested", "running"):
        still_s = clock() - moved_at
        if still_s >= _START_S and not is_explained:
            gauge.close()
            print(_WHY, file=sys.stderr)
            is_explained = True
        gauge.show(sync.pages_done, sync.pages, _progress(sync, still_s))
        pause(_POLL_S)
        try:
            newer = caller.call(GetSync(sync_id=sync.sync_id))
        except ServiceError:
            if clock() - answered_at > _SILENCE_S:
                gauge.close()
                raise
            continue
        answered_at = clock()
        if newer != sync:
            moved_at = answered_at
        sync = newer
    gauge.close()
    return sync


def _progress(sync: Sync, still_s: float) -> str:
    is_still = still_s >= _PATIENCE_S
    if sync.status == "requested":
        return f"not begun for {still_s:.0f} s" if is_still else "starting"
    text = f"{sync.pages_done} of {sync.pages} pages, {sync.products} products"
    return f"{text}; nothing new for {still_s:.0f} s" if is_still else text


def _report(sync: Sync) -> int:
    took_s = (sync.finished_at or sync.requested_at) - sync.requested_at
    print(
        f"{_counted(sync.products, 'product')}: {sync.added} added, "
        f"{_counted(sync.price_changed, 'price change')}, {sync.removed} removed, {took_s:.1f} s"
    )
    if sync.dropped:
        count = _counted(sync.dropped, "product")
        print(
            f"postroad: {count} could not be read, and stayed as they were; "
            f"{plain(str(sync.first_dropped))}; the log of catalog_sync names all",
            file=sys.stderr,
        )
    if sync.status == "done":
        return 0
    nothing = "upstream listed no product that can be read: none was removed"
    too_few = "upstream did not list as many products as it has: none was removed"
    reasons = {
        "incomplete": too_few if sync.products or not sync.dropped else nothing,
        "failed": "it made no progress for too long: see the log of catalog_sync",
    }
    print(f"postroad: {sync.status}: {reasons.get(sync.status, '')}", file=sys.stderr)
    return 1


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
