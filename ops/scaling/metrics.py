"""What `postroad up` counts of the processes it keeps."""

from collections.abc import Callable

from ops.local.supervisor import Supervisor
from postroad.observability.metrics import Metric, Values


def supervisor_metrics(supervisor: Supervisor) -> list[Metric]:
    """How many processes each program is to have, and has."""

    def each(count: Callable[[str], float]) -> Callable[[], Values]:
        return lambda: {(name,): count(name) for name in supervisor.names}

    return [
        Metric(
            "gauge",
            "postroad_replicas_wanted",
            "Processes that a program is to have, as its queue deserves",
            each(supervisor.replicas),
            ("program",),
        ),
        Metric(
            "gauge",
            "postroad_replicas_running",
            "Processes of a program that run, without those that drain",
            each(lambda name: len(supervisor.pids(name))),
            ("program",),
        ),
        Metric(
            "gauge",
            "postroad_replicas_draining",
            "Processes of a program that were let go and have not ended",
            each(supervisor.draining),
            ("program",),
        ),
        Metric(
            "counter",
            "postroad_program_crashes_total",
            "Processes of a program that ended unasked",
            each(supervisor.crashes),
            ("program",),
        ),
    ]
