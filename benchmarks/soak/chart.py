"""The chart of a soak: ``chart.py SERIES FOLDER``, in the environment of the scaling charts."""

import json
import sys
from pathlib import Path

from matplotlib import pyplot as plt

ROWS = {
    "pss_mib": "memory, MiB",
    "files": "open files",
    "threads": "threads",
}
MUTED = "#afb8c1"
WIDTH_IN, DPI = 9.2, 110


def main() -> None:
    results = json.loads(Path(sys.argv[1]).read_text())
    series = results["series"]
    broker, answers = series.pop("broker"), series.pop("answers")
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
            "legend.fontsize": 7,
        }
    )
    figure, axes = plt.subplots(
        len(ROWS) + 2, 1, figsize=(WIDTH_IN, 11), sharex=True, layout="constrained"
    )
    for axis, (what, label) in zip(axes, ROWS.items(), strict=False):
        for name, of_one in series.items():
            axis.plot(minutes(of_one[what]), of_one[what], lw=1, label=name)
        axis.set_ylabel(label)
    for what in ("connections", "channels"):
        axes[-2].plot(minutes(broker[what]), broker[what], lw=1, label=what)
    axes[-2].set_ylabel("at the broker")
    for what, values in answers.items():
        axes[-1].plot(minutes(values), values, lw=0.8, label=what.removesuffix("_ms"))
    axes[-1].set_yscale("log")
    axes[-1].set_ylabel("answered after, ms")
    axes[-1].set_xlabel("minutes")
    for axis in axes:
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        if axis.get_yscale() == "linear":
            axis.set_ylim(bottom=0)
    path = Path(sys.argv[2]) / "soak.png"
    figure.savefig(path, dpi=DPI, facecolor="white")
    print(f"wrote {path}")


def minutes(values: list[float]) -> list[float]:
    return [second / 60 for second in range(len(values))]


if __name__ == "__main__":
    main()
