"""The charts of the scaling benchmark: ``charts.py SERIES FOLDER``.

Runs in an environment of its own (``benchmarks/scaling/requirements.txt``), on JSON that
``benchmarks.scaling.paper`` writes.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

OFFERED, GOOD, BAD, WANTED, MUTED = "#57606a", "#2da44e", "#cf222e", "#8250df", "#afb8c1"
P95, P50 = "#0969da", "#80b3ff"
WIDTH_IN, DPI = 9.2, 110
MEASURED = {"color": MUTED, "lw": 2.4, "label": "measured"}
SIMULATED = {"color": WANTED, "lw": 1.1, "label": "simulated"}
Run = Mapping[str, Any]


def main() -> None:
    series = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    plt.rcParams.update(
        {
            "font.size": 9,
            "axes.grid": True,
            "grid.color": "#eaeef2",
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": MUTED,
            "legend.frameon": False,
            "legend.fontsize": 8,
        }
    )
    measured, simulated = series["step"], series["simulated"]
    charts = {
        "step": step_chart({"one worker": measured["fixed"], "scaled": measured["scaled"]}),
        "value": step_chart(
            {
                "value: twice what a process handles": measured["patient"],
                "value: three quarters of it": measured["scaled"],
            }
        ),
        "backlog": backlog_chart(
            {"one consumer": series["backlog"]["one"], "scaled": series["backlog"]["scaled"]}
        ),
        "check": check_chart(measured, simulated),
        "shapes": shapes_chart(series["shapes"]),
    }
    for name, figure in charts.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=DPI, facecolor="white")
        print(f"wrote {path}")


def grid(rows: int, titles: Sequence[str], height_in: float) -> tuple[Figure, Any]:
    figure, axes = plt.subplots(
        rows,
        len(titles),
        figsize=(WIDTH_IN, height_in),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontweight="bold", fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    return figure, axes


def column(rows: Sequence[Run], name: str) -> list[float]:
    return [row[name] for row in rows]


def step_chart(runs: Mapping[str, Run]) -> Figure:
    figure, axes = grid(4, list(runs), 8.2)
    for (answers, latency, depth, replicas), run in zip(axes.T, runs.values(), strict=True):
        draw_answers(answers, run["seconds"])
        draw_latency(latency, run["seconds"])
        draw_depth(depth, run["samples"])
        draw_replicas(replicas, run["samples"])
    label_rows(axes, ["requests a second", "answered after", "messages", "workers"])
    return figure


def label_rows(axes: Any, labels: Sequence[str]) -> None:
    """Finish a grid once all is drawn: rows share what their axes show."""
    for row, label in zip(axes, labels, strict=True):
        row[0].set_ylabel(label)
        row[-1].legend(loc="upper right")
        if row[0].get_yscale() == "linear":
            row[0].set_ylim(bottom=0)


def in_seconds(axis: Axes) -> None:
    """Have a logarithmic axis of milliseconds say seconds."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms / 1000:g} s"))
    axis.yaxis.set_minor_locator(NullLocator())


def draw_answers(axis: Axes, seconds: Sequence[Run]) -> None:
    at_s, offered = column(seconds, "at_s"), column(seconds, "offered")
    good = [second["answers"].get("200", 0) for second in seconds]
    axis.fill_between(at_s, good, step="post", color=GOOD, alpha=0.55, lw=0, label="answered 200")
    axis.fill_between(
        at_s, good, offered, step="post", color=BAD, alpha=0.65, lw=0, label="502, 503 or 504"
    )
    axis.step(at_s, offered, where="post", color=OFFERED, lw=1, label="sent")


def draw_latency(axis: Axes, seconds: Sequence[Run]) -> None:
    at_s = column(seconds, "at_s")
    axis.step(at_s, column(seconds, "p50_ms"), where="post", color=P50, lw=1.2, label="p50")
    axis.step(at_s, column(seconds, "p95_ms"), where="post", color=P95, lw=1.2, label="p95")
    in_seconds(axis)


def draw_depth(axis: Axes, samples: Sequence[Run]) -> None:
    at_s = column(samples, "at_s")
    unacked, ready = column(samples, "unacked"), column(samples, "ready")
    total = [a + b for a, b in zip(unacked, ready, strict=True)]
    axis.fill_between(at_s, total, color=P50, alpha=0.6, lw=0, label="waiting")
    axis.fill_between(at_s, unacked, color=P95, alpha=0.8, lw=0, label="being worked on")


def draw_replicas(axis: Axes, samples: Sequence[Run]) -> None:
    at_s = column(samples, "at_s")
    axis.fill_between(
        at_s,
        column(samples, "consuming"),
        step="post",
        color=MUTED,
        alpha=0.6,
        lw=0,
        label="taking messages",
    )
    axis.step(at_s, column(samples, "wanted"), where="post", color=WANTED, lw=1.4, label="wanted")
    axis.yaxis.get_major_locator().set_params(integer=True)


def backlog_chart(runs: Mapping[str, Run]) -> Figure:
    figure, axes = grid(3, list(runs), 6.2)
    for (left, rate, replicas), run in zip(axes.T, runs.values(), strict=True):
        progress, total = run["progress"], run["sync"]["pages"]
        at_s = column(progress, "at_s")
        waiting = [total - jobs for jobs in column(progress, "jobs")]
        left.fill_between(at_s, waiting, color=P50, alpha=0.6, lw=0, label="jobs left")
        rate.step(*jobs_per_s(progress), where="post", color=GOOD, lw=1.2, label="over 5 s")
        draw_replicas(replicas, run["samples"])
        replicas.plot(
            run["kills"], [0.15] * len(run["kills"]), "x", color=BAD, ms=5, label="one killed"
        )
    label_rows(axes, ["jobs left", "jobs a second", "consumers"])
    return figure


def jobs_per_s(progress: Sequence[Run], over: int = 5) -> tuple[list[float], list[float]]:
    pairs = list(zip(progress, progress[over:], strict=False))
    times = [later["at_s"] for _, later in pairs]
    rates = [(b["jobs"] - a["jobs"]) / (b["at_s"] - a["at_s"]) for a, b in pairs]
    return times, rates


def check_chart(measured: Mapping[str, Run], simulated: Mapping[str, Run]) -> Figure:
    names = {"fixed": "one worker", "scaled": "scaled", "patient": "scaled, twice the value"}
    figure, axes = grid(3, list(names.values()), 6.2)
    for (latency, depth, replicas), name in zip(axes.T, names, strict=True):
        for run, style in ((measured[name], MEASURED), (simulated[name], SIMULATED)):
            seconds, samples = run["seconds"], run["samples"]
            depths = [sample["ready"] + sample["unacked"] for sample in samples]
            latency.step(column(seconds, "at_s"), column(seconds, "p95_ms"), where="post", **style)
            depth.plot(column(samples, "at_s"), depths, **style)
            replicas.step(column(samples, "at_s"), column(samples, "wanted"), where="post", **style)
        in_seconds(latency)
    label_rows(axes, ["p95", "messages", "workers wanted"])
    return figure


def shapes_chart(shapes: Sequence[Run]) -> Figure:
    figure, axes = grid(3, [shape["summary"]["name"] for shape in shapes], 6.4)
    for (answers, latency, replicas), shape in zip(axes.T, shapes, strict=True):
        draw_answers(answers, shape["seconds"])
        draw_latency(latency, shape["seconds"])
        draw_replicas(replicas, shape["samples"])
    label_rows(axes, ["requests a second", "answered after", "processes"])
    figure.suptitle("Simulated, not measured", fontsize=9, color=BAD)
    return figure


if __name__ == "__main__":
    main()
