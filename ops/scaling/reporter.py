"""Writes what `postroad up` tells other commands of its processes."""

import asyncio
from collections.abc import Mapping

import structlog

from ops.local.supervisor import Supervisor
from ops.scaling.autoscaler import Autoscaler
from ops.scaling.policy import Policy
from ops.scaling.report import ProgramReport, Report
from ops.state.folder import StateError, StateFolder

log = structlog.get_logger()

_INTERVAL_S = 0.5


async def keep_report(
    state: StateFolder,
    supervisor: Supervisor,
    policies: Mapping[str, Policy],
    autoscaler: Autoscaler,
    *,
    metrics_port: int | None = None,
) -> None:
    """Write the report whenever it has changed, until cancelled."""
    written = None
    while True:
        report = make_report(supervisor, policies, autoscaler)
        report.metrics_port = metrics_port
        if report != written:
            try:
                state.write_scaling(report.model_dump_json(indent=1))
            except StateError as error:  # a full disk, perhaps: the system runs without, too
                log.warning("status cannot be written", error=str(error))
            written = report
        await asyncio.sleep(_INTERVAL_S)


def make_report(
    supervisor: Supervisor, policies: Mapping[str, Policy], autoscaler: Autoscaler
) -> Report:
    """Look at all programs now."""
    programs = {
        name: ProgramReport(
            wanted=supervisor.replicas(name),
            pids=supervisor.pids(name),
            draining=supervisor.draining(name),
            crashes=supervisor.crashes(name),
            metrics_ports=supervisor.metrics_ports(name),
        )
        for name in supervisor.names
    }
    for name, policy in policies.items():
        bounds = {"least": policy.min_replicas, "most": policy.max_replicas}
        programs[name] = programs[name].model_copy(update=bounds)
    return Report(programs=programs, changes=list(autoscaler.changes))
