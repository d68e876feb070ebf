"""What it costs a request to be timed and counted: ``python -m benchmarks.measuring``.

Each step by itself, the best of several runs, so that it holds on a busy machine too; beside it the
same counting by prometheus_client's own objects, their labels bound beforehand.
"""

import os
from collections import Counter
from collections.abc import Callable
from timeit import timeit

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client import Counter as TheirCounter

from http_bridge.http.metrics import HttpMetrics
from http_bridge.http.server_timing import server_timing
from postroad.ids import new_id
from postroad.observability.metrics import BUCKETS_S, Histograms
from postroad.observability.timing import Stopwatch, call_timing
from postroad.security.claims import Claims
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle, TrustedService
from postroad.security.signatures import Signer, Verifier

NUMBER, ROUNDS = 500, 200
METHOD = "catalog.products.list"
BODY = b"x" * 7_000
TIMES_US = [1_100, 17_200]

Step = Callable[[], object]


def main() -> None:
    steps = reply_steps() | counting_steps()
    best_us = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):  # in turn: what disturbs one disturbs the next one too
        for name, step in steps.items():
            best_us[name] = min(best_us[name], timeit(step, number=NUMBER) / NUMBER * 1e6)
    print(f"load {os.getloadavg()[0]:.1f}; us each, the best of {ROUNDS} rounds of {NUMBER}\n")
    for name, cost_us in best_us.items():
        print(f"{cost_us:8.2f}  {name}")


def reply_steps() -> dict[str, Step]:
    """Give what stamping adds to a reply, on both sides."""
    catalog, bridge = rings("catalog", "bridge")
    request = request_claims(bridge, catalog)
    signer, verifier = Signer(catalog), Verifier(bridge)

    def sign(times: list[int]) -> str:
        return signer.reply(request, body=BODY, message_id="m", times_us=times)

    plain, stamped = sign([]), sign(TIMES_US)
    timing = call_timing(0.02, TIMES_US)
    stopwatch = Stopwatch()
    return {
        "worker: sign a reply without times": lambda: sign([]),
        "worker: sign a reply with times": lambda: sign(TIMES_US),
        "worker: gather the times": stopwatch.times_us,
        "bridge: verify a reply without times": lambda: verifier.verify(plain, BODY, typ="reply"),
        "bridge: verify a reply with times": lambda: verifier.verify(stamped, BODY, typ="reply"),
        "bridge: put the times together": lambda: call_timing(0.02, TIMES_US),
        "bridge: write Server-Timing": lambda: server_timing(timing, 0.021),
    }


def counting_steps() -> dict[str, Step]:
    """Give the counting of one request's end, our way and prometheus_client's."""
    ended: Counter[tuple[str, ...]] = Counter()
    spreads = Histograms()
    exchanges = HttpMetrics()
    their_registry = CollectorRegistry()
    their_counter = TheirCounter("ended", "Ended", ["method", "code"], registry=their_registry)
    their_histogram = Histogram(
        "took_seconds", "Took", ["method"], buckets=BUCKETS_S, registry=their_registry
    )
    counter, histogram = their_counter.labels(METHOD, "ok"), their_histogram.labels(METHOD)

    def ours() -> None:
        ended[METHOD, "ok"] += 1
        spreads[METHOD].add(0.017)

    def theirs() -> None:
        counter.inc()
        histogram.observe(0.017)

    def theirs_unbound() -> None:
        their_counter.labels(METHOD, "ok").inc()
        their_histogram.labels(METHOD).observe(0.017)

    return {
        "a count and a duration, ours": ours,
        "the same by prometheus_client, labels bound": theirs,
        "the same by prometheus_client, labels looked up": theirs_unbound,
        "bridge: count an exchange": lambda: exchanges.add("/products", "GET", 200, 0.017),
    }


def rings(*services: str) -> list[KeyRing]:
    identities = [Identity.create(service) for service in services]
    trusted = {
        each.service: TrustedService(keys=tuple(key.public() for key in each.keys))
        for each in identities
    }
    return [KeyRing(identity, TrustBundle(services=trusted)) for identity in identities]


def request_claims(caller: KeyRing, worker: KeyRing) -> Claims:
    """Make the claims of a request that has been verified."""
    message_id = new_id()
    signature = Signer(caller).request(
        audience=worker.service,
        method=METHOD,
        body=BODY,
        message_id=message_id,
        correlation_id=message_id,
        reply_to=f"reply.{caller.service}.x",
        deadline=4e9,
    )
    return Verifier(worker).verify(signature, BODY, typ="request")


if __name__ == "__main__":
    main()
