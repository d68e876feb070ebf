"""What clients, workers and their connections count, as metrics."""

from collections.abc import Mapping

from postroad.broker.interfaces import ConnectionState, Outcome
from postroad.broker.stats import Traffic
from postroad.messaging.background_worker import BackgroundWorker
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Worker
from postroad.observability.metrics import Metric, by_label, number, with_prefix
from postroad.security.claims import Reason


def client_metrics(client: Client) -> list[Metric]:
    """Calls to other services, as who calls sees them."""
    return [
        Metric(
            "counter",
            "postroad_calls_total",
            "Calls to other services that ended, by how they did",
            lambda: dict(client.ended),
            ("method", "code"),
        ),
        Metric(
            "histogram",
            "postroad_call_duration_seconds",
            "Time from a call until its reply or its error",
            by_label(lambda: client.durations),
            ("method",),
        ),
        Metric(
            "gauge",
            "postroad_calls_in_flight",
            "Calls that wait for their reply",
            number(lambda: client.in_flight),
        ),
        Metric(
            "counter",
            "postroad_replies_refused_total",
            "Replies that were dropped because a check failed",
            by_label(lambda: _refused(client.counts)),
            ("reason",),
        ),
        Metric(
            "counter",
            "postroad_replies_late_total",
            "Replies that came when nobody waited any more",
            number(lambda: client.counts["late"]),
        ),
    ]


def worker_metrics(worker: Worker) -> list[Metric]:
    """Requests, as who answers sees them."""
    return [
        Metric(
            "counter",
            "postroad_requests_total",
            "Requests that were answered, by how",
            lambda: dict(worker.metrics.ended),
            ("method", "code"),
        ),
        Metric(
            "histogram",
            "postroad_request_duration_seconds",
            "Time from taking a request until the broker has its reply",
            by_label(lambda: worker.metrics.durations),
            ("method",),
        ),
        Metric(
            "histogram",
            "postroad_request_queue_seconds",
            "Time from a request's being published until it was taken, by two clocks",
            by_label(lambda: worker.metrics.queue_waits),
            ("method",),
        ),
        Metric(
            "histogram",
            "postroad_request_upstream_seconds",
            "Time that a request waited for an upstream, of those that did",
            by_label(lambda: worker.metrics.upstream_waits),
            ("method",),
        ),
        Metric(
            "gauge",
            "postroad_requests_in_flight",
            "Requests that were taken and are not settled",
            number(lambda: worker.in_flight),
        ),
        Metric(
            "counter",
            "postroad_requests_refused_total",
            "Requests that were dead-lettered because a check failed",
            by_label(lambda: _refused(worker.counts)),
            ("reason",),
        ),
        Metric(
            "counter",
            "postroad_requests_late_total",
            "Requests that were dropped because their deadline had passed",
            number(lambda: worker.counts["late"]),
        ),
        Metric(
            "counter",
            "postroad_requests_wasted_total",
            "Requests that were worked on in vain: late, or the caller had gone, or the reply lost",
            by_label(lambda: _wasted(worker.counts)),
            ("reason",),
        ),
    ]


def background_metrics(worker: BackgroundWorker) -> list[Metric]:
    """Events and jobs, as who works on them sees them."""
    return [
        Metric(
            "counter",
            "postroad_work_attempts_total",
            "Attempts at events and jobs, by how they ended",
            lambda: dict(worker.metrics.ended),
            ("name", "code"),
        ),
        Metric(
            "counter",
            "postroad_work_settled_total",
            "What became of events and jobs after an attempt: done, put aside to retry, or dead",
            lambda: dict(worker.settled),
            ("name", "fate"),
        ),
        Metric(
            "histogram",
            "postroad_work_attempt_duration_seconds",
            "Time that one attempt took",
            by_label(lambda: worker.metrics.durations),
            ("name",),
        ),
        Metric(
            "histogram",
            "postroad_work_queue_seconds",
            "Time from a message's being published until its first attempt, by two clocks",
            by_label(lambda: worker.metrics.queue_waits),
            ("name",),
        ),
        Metric(
            "gauge",
            "postroad_work_in_flight",
            "Events and jobs that were taken and are not settled",
            number(lambda: worker.in_flight),
        ),
        Metric(
            "counter",
            "postroad_work_refused_total",
            "Events and jobs that were dead-lettered because a check failed",
            by_label(lambda: _refused(worker.counts)),
            ("reason",),
        ),
    ]


def traffic_metrics(traffic: Traffic) -> list[Metric]:
    """A process's connections to the broker."""
    return [
        Metric(
            "gauge",
            "postroad_broker_connections_open",
            "Whether the connection for a purpose is open",
            lambda: {
                (role,): float(state() is ConnectionState.OPEN)
                for role, state in dict(traffic.states).items()
            },
            ("role",),
        ),
        Metric(
            "gauge",
            "postroad_broker_connections_blocked",
            "Whether the broker takes no messages for want of memory or disk",
            lambda: {
                (role,): float(state() is ConnectionState.BLOCKED)
                for role, state in dict(traffic.states).items()
            },
            ("role",),
        ),
        Metric(
            "counter",
            "postroad_broker_connections_opened_total",
            "How often a connection was opened; all but the first time are reconnects",
            by_label(lambda: traffic.opened),
            ("role",),
        ),
        Metric(
            "counter",
            "postroad_broker_connections_lost_total",
            "How often a connection was lost, or could not be opened",
            by_label(lambda: traffic.lost),
            ("role",),
        ),
        Metric(
            "counter",
            "postroad_broker_published_total",
            "Messages published, by what the broker said of them",
            by_label(lambda: traffic.published),
            ("outcome",),
        ),
        Metric(
            "gauge",
            "postroad_broker_unconfirmed",
            "Messages published of which the broker has said nothing yet",
            number(lambda: sum(count() for count in traffic.unconfirmed)),
        ),
    ]


# A counter that first appears with a 1 has not increased, as far as Prometheus can tell: what is
# alarming from the first time on is told from the start.


def _refused(counts: Mapping[str, int]) -> dict[str, int]:
    return dict.fromkeys(map(str, Reason), 0) | with_prefix(counts, "refused")


def _wasted(counts: Mapping[str, int]) -> dict[str, int]:
    outcomes = (Outcome.RETURNED, Outcome.REFUSED, Outcome.LOST, "late")
    return dict.fromkeys(map(str, outcomes), 0) | with_prefix(counts, "reply")
