"""Where and when something was measured."""

import os
import platform
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

OURS = ("pika", "uvicorn", "uvloop", "pydantic", "structlog", "orjson", "pyjwt")
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, what runs on it, and how busy it was before."""

    cpus: int
    model: str
    system: str
    python: str
    packages: dict[str, str]
    at: str  # UTC
    load_before: float  # processes that ran or wanted to, over the minute before

    @classmethod
    def this(cls) -> "Machine":
        return cls(
            cpus=os.cpu_count() or 0,
            model=_cpu_model(),
            system=f"{platform.system()} {platform.release().partition('-')[0]}",
            python=platform.python_version(),
            packages={name: version(name) for name in OURS},
            at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            load_before=round(os.getloadavg()[0], 2),
        )

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return (
            f"{self.cpus} CPUs ({self.model}), {self.system}, Python {self.python}, {packages}; "
            f"{self.at} UTC, load average before {self.load_before}"
        )


def locked_versions(lock: Path) -> dict[str, str]:
    """Give the versions of what a peer names in pyproject.toml, as its lock has them."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    named = {re.split(r"[\[><=]", each)[0].lower() for each in groups[f"peer-{lock.stem}"]}
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text(), re.MULTILINE)
    return {name: pin for name, pin in pins if name in named}


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
