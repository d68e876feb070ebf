"""`postroad up`: the whole system on this machine, until Ctrl-C."""

import asyncio
import math
import signal
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from socket import socket
from typing import Any

import structlog

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.commands.up_view import show_log, welcome
from ops.health import releases, selfcheck
from ops.health.selfcheck import SelfCheckError
from ops.local import control, ports
from ops.local.broker import BrokerError, PrivateBroker
from ops.local.file_changes import Changes
from ops.local.ports import LOOPBACK, PortUnavailable
from ops.local.running import addresses
from ops.local.supervisor import Supervisor
from ops.local.worker import NotStarted
from ops.logs.writer import Logbook
from ops.scaling.autoscaler import Autoscaler
from ops.scaling.management_api import Management
from ops.scaling.metrics import supervisor_metrics
from ops.scaling.policy import Policy
from ops.scaling.reporter import keep_report
from ops.services import code, grants, programs
from ops.services.fleet import Fleet
from ops.services.fresh_definitions import fresh_definitions
from ops.services.reloading import Reloader
from ops.state.folder import StateError, StateFolder
from ops.terminal.colours import wants_colours
from ops.terminal.interrupts import INTERRUPTED
from ops.terminal.progress import say, step
from postroad.observability.logging import DIM, PLAIN, configure_logging
from postroad.observability.metrics_server import serving_metrics
from postroad.settings import LogSettings, MetricsSettings, read_settings
from postroad.topology.definitions import Definitions
from postroad.topology.names import SCALER
from postroad.topology.services import ServicesFileError
from postroad.urls import read_base_url

log = structlog.get_logger()

_READY_TIMEOUT_S = 60.0
_BROKER_PAUSE_S = 5.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--host", default=LOOPBACK, help="address to serve on (%(default)s)")
    parser.add_argument(
        "--port", type=ports.port_number, default=8000, help="port to serve on (%(default)s)"
    )
    parser.add_argument(
        "--upstream", metavar="URL", help="where products come from (the bundled sample server)"
    )
    parser.add_argument(
        "--max-replicas",
        type=_count,
        default=8,
        metavar="COUNT",
        help="processes of each program at the most, whatever the scaling policy allows"
        " (%(default)s)",
    )
    parser.add_argument(
        "--no-scaling", action="store_true", help="one process of each program, always"
    )
    parser.add_argument(
        "--reload",
        action="store_true",
        help="when code changes, start the programs it belongs to anew; old processes drain",
    )
    add_state_argument(parser, "folder to keep things in")


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"must be a number of processes, 1 or more, not {text!r}")


def run(options: Namespace) -> int:
    """Run until Ctrl-C, SIGTERM or the end of the terminal; give the exit status."""
    state = StateFolder(options.state)
    logbook = Logbook(state.programs_log_folder, show_log)
    level = read_settings(LogSettings).level
    configure_logging(
        "postroad", LogSettings(level=level, format="json"), output=logbook.stream("postroad")
    )
    try:
        return asyncio.run(_System(options, state, logbook).run())
    finally:
        logbook.close()


class _System:
    """What runs, and where."""

    def __init__(self, options: Namespace, state: StateFolder, logbook: Logbook) -> None:
        self._options = options
        self._state = state
        self._supervisor = Supervisor(take=logbook.take)
        self._exit_status = 0
        reachable = LOOPBACK if options.host in ("0.0.0.0", "::") else options.host  # noqa: S104
        self._url = f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{options.port}"

    async def run(self) -> int:
        """Start everything, and stop it when a signal says so; return the exit status."""
        me = asyncio.current_task()
        assert me is not None  # noqa: S101  # for the type checker: we are in a coroutine
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, me, number)
        with suppress(asyncio.CancelledError):
            await self._start_and_stay()
        return self._exit_status

    async def _start_and_stay(self) -> None:
        began = time.monotonic()
        metrics = read_settings(MetricsSettings)
        upstream = self._checked_upstream()
        async with AsyncExitStack() as running:
            running.enter_context(self._state.held(self._url))
            running.enter_context(ports.claimed(self._options.port, self._options.host))
            sockets = ports.bound_sockets(self._options.port, self._options.host)
            for each in sockets:
                running.enter_context(each)
            try:
                if metrics.port:
                    running.enter_context(ports.claimed(metrics.port, metrics.host))
            except PortUnavailable as error:
                raise CommandError(f"METRICS_PORT: {error}") from error
            say("Starting Postroad")
            running.callback(say, "Stopped; nothing is left running.")
            broker = await self._start_broker(running)
            running.push_async_callback(self._supervisor.stop)
            changes = Changes(code.folders)
            fleet, waiting = self._start_services(broker, upstream, sockets)
            if self._options.reload:
                reloader = Reloader(self._supervisor, concerned=code.concerned, renew=fleet.renew)
                reloading = asyncio.create_task(reloader.run(changes))
                running.push_async_callback(_cancel, reloading)
            await self._until_ready(waiting)
            self._state.write_running(addresses(self._url, broker))
            elapsed_s = time.monotonic() - began
            say(welcome(self._url, self._state, elapsed_s, reloads=self._options.reload))
            await self._stay(broker, fleet.policies, metrics)

    def _stop(self, task: asyncio.Task[int], number: int) -> None:
        """Begin to stop; a second time, do not wait for workers to drain."""
        if number == signal.SIGINT:
            self._exit_status = INTERRUPTED
        task.cancel()
        say("\nStopping; Ctrl-C once more stops at once." if task.cancelling() == 1 else "")

    def _checked_upstream(self) -> str | None:
        url: str | None = self._options.upstream
        if url is not None:
            try:
                read_base_url(url)
            except ValueError as error:
                raise CommandError(
                    f"--upstream {error}; give the address of a product API, such as "
                    "https://dummyjson.com"
                ) from None
        return url

    async def _start_broker(self, running: AsyncExitStack) -> PrivateBroker:
        async with step("keys and broker users"):
            with self._state.changing():
                allowed = programs.allowed_services(self._state)
                programs.write_trust(self._state, allowed)
            definitions = programs.broker_definitions(self._state, allowed)
        broker = PrivateBroker(
            self._state.broker_folder,
            definitions,
            management=True,
            log=self._state.broker_log,
        )
        running.push_async_callback(broker.stop)
        async with step("RabbitMQ, our own"):
            await broker.start()
            await grants.forget_revoked(self._state, broker)
        if note := releases.in_a_line(broker.version, datetime.now(UTC).date()):
            dim, end = (DIM, PLAIN) if wants_colours() else ("", "")
            say(f"           {dim}{note}{end}")
        return broker

    def _start_services(
        self, broker: PrivateBroker, upstream: str | None, sockets: Sequence[socket]
    ) -> tuple[Fleet, dict[str, str]]:
        """Start all programs; return them, and the addresses to wait for by what is there then."""
        waiting = {}
        if upstream is None:
            (port,) = ports.free_ports(1)
            self._supervisor.start(programs.sample_upstream(port))
            upstream = f"http://{LOOPBACK}:{port}"
            waiting[f"the sample upstream on {LOOPBACK}:{port}"] = f"{upstream}/healthz"
        fleet = Fleet(
            self._state,
            self._supervisor,
            broker,
            upstream=upstream,
            host=self._options.host,
            port=self._options.port,
            sockets=sockets,
            max_replicas=None if self._options.no_scaling else self._options.max_replicas,
        )
        if ignored := programs.overridden(fleet.programs()):
            say(f"           not used, for 'postroad up' has its own: {', '.join(ignored)}")
        fleet.start()
        waiting["the auth worker, the catalogue worker and the bridge"] = f"{self._url}/readyz"
        return fleet, waiting

    async def _until_ready(self, waiting: Mapping[str, str]) -> None:
        timeout_s = math.inf if self._options.reload else _READY_TIMEOUT_S  # code may be mended
        for what, url in waiting.items():
            async with step(what):
                await selfcheck.answers(url, timeout_s=timeout_s, alive=self._check_alive)
        async with step("self-check"):
            try:
                outcome = await asyncio.to_thread(selfcheck.check, self._url)
            except SelfCheckError as error:
                if self._options.reload:
                    return say(f"           {error}")
                upstream = self._options.upstream or "the sample upstream"
                raise CommandError(f"{error} (products come from {upstream})") from error
        return say(f"           {outcome}")

    def _check_alive(self) -> None:
        """Raise when a program ends while the system starts, unless a reload will restart it."""
        for name in self._supervisor.names:
            if self._supervisor.crashes(name) and not self._options.reload:
                raise CommandError(f"{name} ended while starting; the lines above say why")

    async def _stay(
        self, broker: PrivateBroker, policies: Mapping[str, Policy], metrics: MetricsSettings
    ) -> None:
        """Look after all that runs, until we are told to stop."""
        depths = Management(broker.management_url, self._state.password(SCALER))
        autoscaler = Autoscaler(policies.values(), depths=depths, processes=self._supervisor)
        if metrics.port is None:
            metrics = metrics.model_copy(update={"port": ports.free_ports(1)[0]})
        report = keep_report(
            *(self._state, self._supervisor, policies, autoscaler), metrics_port=metrics.port
        )
        async with (
            serving_metrics(metrics, supervisor_metrics(self._supervisor)),
            control.listening(self._state.control_socket, self._answer),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._keep(broker))
            tasks.create_task(autoscaler.run())
            tasks.create_task(report)

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what another command asks for."""
        name = request.get("restart")
        if name not in self._supervisor.names:
            known = ", ".join(self._supervisor.names)
            return {"error": f"there is no program {name}; there are {known}"}
        began = time.monotonic()
        try:
            count = await self._supervisor.replace(name)
        except NotStarted as error:
            return {"error": f"{name} does not start, and its old processes go on: {error}"}
        if not count:
            return {"done": f"{name} has no process now; the next one starts anew"}
        took_s = time.monotonic() - began
        log.info("restarted", program=name, processes=count, took_s=round(took_s, 2))
        return {"done": f"{name} was started anew in {took_s:.1f} s; the old processes drain"}

    async def _keep(self, broker: PrivateBroker) -> None:
        """Start the broker again whenever it ends."""
        while True:
            await broker.ended()
            log.warning("broker ended; starting it again")
            try:
                broker.define(await self._definitions())  # some may have been revoked
                await broker.start()
                await grants.forget_revoked(self._state, broker)
            except (BrokerError, ServicesFileError, StateError) as error:
                log.error("broker does not start", error=str(error), again_in_s=_BROKER_PAUSE_S)
                await asyncio.sleep(_BROKER_PAUSE_S)

    async def _definitions(self) -> Definitions:
        if self._options.reload:  # our own contracts are those of the start
            return await fresh_definitions(self._state)
        allowed = programs.allowed_services(self._state)
        return programs.broker_definitions(self._state, allowed)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
