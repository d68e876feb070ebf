"""Where an answer's time went, for browsers to show (W3C Server Timing)."""

from postroad.observability.timing import Trip


def server_timing(trip: Trip, total_s: float) -> tuple[bytes, bytes]:
    """Name the parts of a request that went over the broker, in milliseconds.

    ``edge`` is what the bridge itself took, before and after the trip; ``upstream`` is a part of
    ``worker``, and the others together are ``total``.
    """
    parts = [
        ("edge", max(0.0, total_s - trip.whole_s)),
        ("queue", trip.queue_s),
        ("worker", trip.worker_s),
        ("upstream", trip.upstream_s),
        ("reply", trip.reply_s),
        ("total", total_s),
    ]
    timing = ", ".join(
        f"{name};dur={seconds * 1000:.2f}" for name, seconds in parts if seconds is not None
    )
    return b"server-timing", timing.encode()
