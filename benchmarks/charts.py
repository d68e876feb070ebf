"""The charts of the benchmark: ``charts.py FOLDER``, from the JSON files in it.

Runs in an environment of its own (``benchmarks/scaling/requirements.txt``).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OURS, THEIRS = "#0969da", "#afb8c1"
PROCESSES = ("#0969da", "#80b3ff", "#8250df")  # what takes HTTP, what works, the broker
WIDTH_IN, DPI = 9.2, 110
CONNECTIONS = 64
LIMITS = ("bare-asgi", "raw-pika", "raw-pika-joined")
Row = Mapping[str, Any]


def main() -> None:
    folder = Path(sys.argv[1])
    plt.rcParams.update(
        {
            "font.size": 9,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": THEIRS,
            "legend.frameon": False,
        }
    )
    source = folder / "peers.json"
    if not source.exists():
        return
    comparison = json.loads(source.read_text())
    most = max(comparison["options"]["connections"])
    at = CONNECTIONS if CONNECTIONS in comparison["options"]["connections"] else most
    rows = [
        row for row in comparison["rows"] if row["connections"] == at and row["name"] not in LIMITS
    ]
    if rows:
        path = folder / "peers.png"
        peers_chart(rows, at).savefig(path, dpi=DPI, facecolor="white")
        print(f"wrote {path}")


def peers_chart(rows: Sequence[Row], connections: int) -> Figure:
    """Draw how many requests each answers, and what one takes."""
    rows = sorted(rows, key=lambda row: row["result"]["requests_per_s"])
    figure, (speed, cost) = plt.subplots(
        1, 2, figsize=(WIDTH_IN, 0.6 + 0.4 * len(rows)), sharey=True, layout="constrained"
    )
    names = [row["name"] for row in rows]
    rates = [row["result"]["requests_per_s"] for row in rows]
    bars = speed.barh(names, rates, color=[OURS if name == "ours" else THEIRS for name in names])
    speed.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates], padding=3)
    speed.set_title(f"requests a second, {connections} connections", fontsize=10)
    speed.margins(x=0.15)
    draw_cost(cost, names, rows)
    for axis in (speed, cost):
        axis.tick_params(left=False, bottom=False, labelbottom=False)
        axis.spines["bottom"].set_visible(False)
    return figure


def draw_cost(axis: Axes, names: Sequence[str], rows: Sequence[Row]) -> None:
    """Stack CPU time by process: HTTP, worker, broker."""
    done = [0.0] * len(rows)
    for colour, label, processes in (
        (PROCESSES[0], "HTTP", ("bridge", "http")),
        (PROCESSES[1], "worker", ("worker",)),
        (PROCESSES[2], "RabbitMQ", ("rabbitmq",)),
    ):
        part = [
            sum(row["result"]["cpu_us"].get(process, 0.0) for process in processes) for row in rows
        ]
        bars = axis.barh(names, part, left=done, color=colour, label=label)
        done = [before + us for before, us in zip(done, part, strict=True)]
    axis.bar_label(bars, labels=[f"{us:,.0f}" for us in done], padding=3)
    axis.set_title("CPU time of one, us", fontsize=10)
    axis.margins(x=0.15)
    axis.legend(loc="upper right", fontsize=8)


if __name__ == "__main__":
    main()
