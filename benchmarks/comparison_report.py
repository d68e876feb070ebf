"""The comparison as tables."""

from benchmarks.comparison import BEFORE, OURS, TITLES, Comparison
from benchmarks.contenders import PEERS
from benchmarks.tables import by_process, figure, table

SAFETY = {peer.name: peer.safety for peer in PEERS} | {
    OURS: "signed both ways, replay-checked, confirmed, acknowledged, least rights, logged",
    BEFORE: "as it was",
    "raw-pika": "no signature, no confirm, no acknowledgement",
    "raw-pika-joined": "no signature, no confirm, no acknowledgement",
}
WHOLE_RIGHTS = "everything, in a virtual host of its own"


def report(comparison: Comparison) -> str:
    """Say all that was seen, in Markdown."""
    options = comparison.options
    what = (
        f"`GET /products?limit=30`: {comparison.page_bytes:,} bytes, 30 products from the "
        f"worker's memory, a bearer token; medians of {options.rounds} interleaved rounds of "
        f"{options.seconds:g} s."
    )
    parts = [
        f"{comparison.machine}; RabbitMQ {comparison.rabbitmq}.",
        what,
        "\n".join(_speeds(comparison)),
        *_against_before(comparison),
        table(
            ["", "what it is", "versions", "messages", "rights at the broker"],
            [
                _about(comparison, name)
                for name in dict.fromkeys(row.name for row in comparison.rows)
            ],
        ),
        _tokens(comparison),
    ]
    if comparison.failures:
        rows = [[name, reason.strip()[-200:]] for name, reason in comparison.failures.items()]
        parts.append(table(["failed", "why"], rows))
    return "\n\n".join(parts) + "\n"


def _speeds(comparison: Comparison) -> list[str]:
    lines = []
    for connections in comparison.options.connections:
        ours = comparison.row(OURS, connections)
        rows = []
        for row in comparison.rows:
            if row.connections == connections:
                result = row.result
                rows.append(
                    [
                        row.name,
                        figure(result.requests_per_s),
                        *(figure(ms) for ms in (result.p50_ms, result.p95_ms, result.p99_ms)),
                        figure(result.cpu_us_total),
                        by_process(result.cpu_us),
                        by_process(result.memory_mb),
                        f"{ours.requests_per_s / result.requests_per_s:.1f}" if ours else "",
                        f"{result.cpu_us_total / ours.cpu_us_total:.1f}" if ours else "",
                    ]
                )
        header = ["req/s", "p50 ms", "p95 ms", "p99 ms", "CPU us", "by process", "memory MB"]
        many = "connection" if connections == 1 else "connections"
        head = [f"{connections} {many}", *header, "ours is times as fast", "its CPU is times ours"]
        lines += [table(head, rows), ""]
    return lines[:-1]


def _against_before(comparison: Comparison) -> list[str]:
    options = comparison.options
    rows = []
    for connections in options.connections:
        ours = comparison.row(OURS, connections)
        before = comparison.row(options.before_name, connections)
        if ours and before:
            speed = ours.requests_per_s / before.requests_per_s
            cpu = ours.cpu_us_total / before.cpu_us_total
            rows.append([str(connections), f"{speed:.2f}", f"{cpu:.2f}"])
    if not rows:
        return []
    what = (
        f"Ours divided by {options.before_name}, both run by their own `postroad up`, each with a "
        "broker of its own:"
    )
    return [what, table(["connections", "req/s", "CPU us"], rows)]


def _about(comparison: Comparison, name: str) -> list[str]:
    versions = comparison.versions.get(name, {})
    kind = BEFORE if name == comparison.options.before_name else name
    safety = SAFETY[kind]
    rights = "" if safety == "no broker" else WHOLE_RIGHTS
    return [
        name,
        TITLES[kind],
        ", ".join(f"{package} {version}" for package, version in versions.items()),
        safety,
        "what its role needs" if kind in (OURS, BEFORE) else rights,
    ]


def _tokens(comparison: Comparison) -> str:
    peers = (
        "remember good ones, as ours does"
        if comparison.options.remembers_tokens
        else f"check each request's anew by PyJWT, {comparison.token_check_us:.0f} us here "
        "(`--remember-tokens` has them remember good ones, too)"
    )
    return (
        "Tokens (EdDSA: signature, issuer, audience, expiry, scope) are checked by ours in the "
        "bridge and in the worker, which remember good ones until they expire or are revoked; "
        f"peers {peers}, in their HTTP process only. Memory is that of all processes of a kind, "
        "of shared pages a part (PSS); RabbitMQ's is one for all. The load generator's CPU time "
        "is not counted."
    )
