"""What exchanges and queues are called."""

VHOST = "postroad"

RPC_EXCHANGE, REPLIES_EXCHANGE = "rpc", "rpc.replies"  # requests, and their replies
EVENTS_EXCHANGE, WORK_EXCHANGE = "events", "work"  # what has happened, and what is to be done
EVENTS_TO_WORK_EXCHANGE = "events.work"  # events that not all who listen would take; nobody listens
WAIT_EXCHANGE, RETRY_EXCHANGE = "wait", "retry"  # what failed, on its way to wait, and back
DEAD_WORK_EXCHANGE = "dead.work"  # events and jobs that failed for good
REFUSED_EXCHANGE = "refused"  # copies of what its reader gave up: of all that it refused, too
QUARANTINE = "quarantine"  # the queue of dead letters that somebody wants to keep

SCALER = "scaler"  # the broker user that asks how long the queues are, and may do nothing else


def rpc_queue(service: str) -> str:
    """Name the queue of a service's requests."""
    return f"rpc.{service}"


def work_queue(service: str, name: str) -> str:
    """Name a queue of events and jobs that wait for a service."""
    return f"work.{service}.{name}"


def wait_queue(step: int) -> str:
    """Name the queue in which failed work waits, the n-th time."""
    return f"wait.{step}"


def wait_key(step: int, queue: str) -> str:
    """Give the routing key by which work of a queue goes to wait, and comes back.

    Step 0 is that of a dead letter, which comes back by a person's hand.
    """
    return f"{step}.{queue}"


def dead_queue(queue: str) -> str:
    """Name the queue of a queue's dead letters."""
    return f"dead.{queue}"
