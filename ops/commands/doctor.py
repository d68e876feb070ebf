"""`postroad doctor`: is anything wrong with the running system, and what to do about it.

The broker is asked through `rabbitmqctl`, with the cookie of its own folder: the one user of the
management API, the scaler, sees queues, but neither policies nor users.
"""

import asyncio
import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.health import checks, selfcheck
from ops.health.drift import COMPARISONS, Finding
from ops.local.broker import BrokerError, PrivateBroker
from ops.local.running import AWAY, absence, listens, running_broker
from ops.scaling.management_api import DepthUnknown, Management
from ops.services import programs
from ops.state.folder import StateError, StateFolder
from postroad.plain_text import plain
from postroad.topology.definitions import definitions
from postroad.topology.names import SCALER, VHOST
from postroad.topology.services import Services, ServicesFileError

EXAMPLES = """\
examples:
  postroad doctor             a line for each thing that is wrong, and what to do
  postroad doctor --json      for programs

exit status: 0 nothing is wrong, or there are warnings alone; 1 something is; 2 there was no
looking at the broker
"""
FINE, UNWELL, UNSEEN = 0, 1, 2
# A worker that is started when there is work is looked for every 5 s, at figures some seconds old.
_PATIENCE_S, _PAUSE_S = 15.0, 1.0
_NEVER_SEEN = "clocks and disks of other machines, and whether workers do what they should"


@dataclass
class Checkup:
    """What was looked at, what is wrong or will be some day, and what could not be looked at."""

    fine: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def note(self, check: str, findings: Iterable[Finding]) -> None:
        """Note what one check has found."""
        found = list(findings)
        self.findings += found
        if not found:
            self.fine.append(check)

    @property
    def exit_status(self) -> int:
        if self.unseen:
            return UNSEEN
        return UNWELL if self.findings else FINE


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_state_argument(parser)


def run(options: Namespace) -> int:
    """Look, print, and give the exit status."""
    state = StateFolder(options.state)
    if not state.folder.exists():
        raise CommandError(f"there is no folder {state.folder}: start with 'postroad up'", UNSEEN)
    try:
        checkup = asyncio.run(examine(state))
    except (ServicesFileError, StateError) as error:
        raise CommandError(str(error), UNSEEN) from error
    if options.json:
        print(json.dumps(asdict(checkup)))
    else:
        _print(checkup)
    return checkup.exit_status


async def examine(state: StateFolder) -> Checkup:
    """Look at a state folder, and at the broker that runs on it.

    Raises:
        ServicesFileError, StateError: the folder does not say what there should be.
    """
    checkup = Checkup()
    allowed = programs.allowed_services(state)
    checkup.note("files", checks.of_files(state))
    checkup.note("keys", checks.of_keys(state, allowed.names))
    checkup.note("disk", checks.of_disk(state))
    broker = running_broker(state)
    if broker is None:
        checkup.unseen.append(f"broker: {absence(state)}")
        return checkup
    if not listens(broker):
        checkup.unseen.append(f"broker: {AWAY}; look again in a moment")
        return checkup
    try:
        await _examine_broker(checkup, broker, allowed)
    except (BrokerError, OSError, ValueError) as error:
        checkup.unseen.append(f"broker: {error}")
    try:
        management = Management(broker.management_url, state.password(SCALER))
        checkup.note("clock", checks.of_clock(await asyncio.to_thread(management.clock_ahead_s)))
    except DepthUnknown as error:
        checkup.unseen.append(f"clock: {error}")
    if (running := state.running()) is not None:
        url = f"{running['http']}/readyz"
        outcome = await asyncio.to_thread(selfcheck.why_not_ready, url)
        checkup.note("bridge", checks.of_bridge(url, outcome))
    return checkup


async def _examine_broker(checkup: Checkup, broker: PrivateBroker, allowed: Services) -> None:
    """Ask the broker, all at once: `rabbitmqctl` takes its time to start."""
    status, found, depths = await asyncio.gather(
        _json(broker, "status", "--formatter", "json"),
        _json(broker, "export_definitions", "-"),
        _settled_depths(broker),
    )
    wanted = definitions(allowed)
    checkup.note("broker", checks.of_broker(status))
    checkup.warnings += checks.of_release(str(status["rabbitmq_version"]), datetime.now(UTC).date())
    for check, compare in COMPARISONS.items():
        checkup.note(check, compare(wanted, found))
    checkup.note("queues", checks.of_queues(depths, wanted))


async def _settled_depths(broker: PrivateBroker) -> list[checks.Depth]:
    """Count what waits; again while work may be about to get its first worker."""
    until = monotonic() + _PATIENCE_S
    while True:
        depths = await _depths(broker)
        if monotonic() > until or not any(depth.is_unattended for depth in depths):
            return depths
        await asyncio.sleep(_PAUSE_S)


async def _depths(broker: PrivateBroker) -> list[checks.Depth]:
    columns = ("name", "messages", "consumers")
    queues = await _json(broker, "list_queues", "-p", VHOST, *columns, "--formatter", "json")
    depths = (
        checks.Depth(each["name"], each["messages"] or 0, each["consumers"] or 0) for each in queues
    )
    return sorted(depths, key=lambda depth: depth.queue)


async def _json(broker: PrivateBroker, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(await broker.ctl(*arguments))


def _print(checkup: Checkup) -> None:
    if checkup.fine:
        print(f"ok  {', '.join(checkup.fine)}")
    for finding in checkup.findings:
        print(plain(f"!   {finding.check}: {finding.problem} -> {finding.advice}"))
    for warning in checkup.warnings:
        print(plain(f"-   {warning.check}: {warning.problem} -> {warning.advice}"))
    for line in checkup.unseen:
        print(plain(f"?   {line}"))
    print(f"not looked at: {_NEVER_SEEN}")
