"""Where an answer's time went, for browsers to show (W3C Server Timing)."""

from postroad.contracts.message import CallTiming


def is_timed(path: str) -> bool:
    """Return whether an answer has the header: what a sign-in takes is told to nobody."""
    return not path.startswith("/auth")


def server_timing(timing: CallTiming, total_s: float) -> tuple[bytes, bytes]:
    """Return a header with the parts of a request that went over the broker, in milliseconds.

    ``edge`` is what the bridge itself took, before and after the call; ``upstream`` is a part of
    ``worker``, and the others together are ``total``.
    """
    call_s = timing.queue_s + timing.worker_s + timing.reply_s
    parts = [
        ("edge", max(0.0, total_s - call_s)),
        ("queue", timing.queue_s),
        ("worker", timing.worker_s),
        ("upstream", timing.upstream_s),
        ("reply", timing.reply_s),
        ("total", total_s),
    ]
    header = ", ".join(
        f"{name};dur={seconds * 1000:.2f}" for name, seconds in parts if seconds is not None
    )
    return b"server-timing", header.encode()
