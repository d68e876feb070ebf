"""The simulation's part of the benchmark: its figures, and all the charts."""

import json
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.environments import prepare_environment
from benchmarks.scaling import step
from benchmarks.scaling.comparison import Comparison, compare, simulated_runs, worlds
from benchmarks.scaling.results import BacklogResults, StepResults, write
from benchmarks.scaling.shapes import Summary, shapes
from ops.services import policies

HERE = Path(__file__).parent
ENVIRONMENT = Path(".postroad/charts").resolve()


@dataclass(frozen=True, slots=True)
class Paper:
    """What the simulation was told of the measured system, and what it says."""

    service_s: float
    way_s: float
    start_s: float
    comparisons: dict[str, Comparison]
    shapes: list[Summary]


def work_out(measured: StepResults, jobs: BacklogResults, folder: Path) -> None:
    """Simulate, compare, write ``simulation.json`` and draw the charts."""
    print("Simulation of what was measured", flush=True)
    simulated = simulated_runs(measured)
    runs = {"fixed": measured.fixed, "scaled": measured.scaled, "patient": measured.patient}
    comparisons = {
        name: compare(runs[name], run, measured.stages) for name, run in simulated.items()
    }
    print("Simulation of a million requests a second (some minutes)", flush=True)
    large = shapes(policies.load()[step.PROGRAM])
    world = worlds(measured)["scaled"]
    write(
        folder / "simulation.json",
        Paper(
            service_s=round(world.service_s, 4),
            way_s=round(world.way_s, 4),
            start_s=round(world.start_s, 2),
            comparisons=comparisons,
            shapes=[shape.summary for shape in large],
        ),
    )
    draw(
        folder,
        {
            "step": {name: asdict(run) for name, run in runs.items()},
            "backlog": {"one": asdict(jobs.one), "scaled": asdict(jobs.scaled)},
            "simulated": {name: asdict(run) for name, run in simulated.items()},
            "shapes": [asdict(shape) for shape in large],
        },
    )


def draw(folder: Path, series: dict[str, object]) -> None:
    """Draw the charts, by a program that has what it takes to draw."""
    python = prepare_environment(ENVIRONMENT, HERE / "requirements.txt")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(series, file)
        file.flush()
        subprocess.run([python, HERE / "charts.py", file.name, folder], check=True)
