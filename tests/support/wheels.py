"""The library as other teams have it: its wheel, in an environment of their own."""

import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "direct-publishers.md").read_text()
TIMEOUT_S = 100.0


def run(*command: str, cwd: Path) -> str:
    """Run a command that has to succeed; return what it prints."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scripts_of_the_guide(folder: Path) -> list[Path]:
    """Write the guide's Python scripts into a folder, beside packages that are named like ours."""
    for name in ("shared", "ops"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("OWNER = 'another team'\n")
    shown = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    scripts = [folder / f"script_{number}.py" for number in range(len(shown))]
    for script, text in zip(scripts, shown, strict=True):
        script.write_text(f"import ops\nimport shared\n{text}\nassert ops.OWNER == shared.OWNER\n")
    return scripts


def build_wheel(folder: Path) -> Path:
    """Build the library's wheel into a folder."""
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    run(*build, cwd=ROOT / "shared")
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Environment:
    """A virtual environment in a folder outside the repository."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "Environment":
        """Make one with nothing in it."""
        venv.create(folder, symlinks=True)
        return cls(folder)

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        (folder,) = self.folder.glob("lib/python*/site-packages")
        return folder

    @property
    def distributions(self) -> set[str]:
        """Name what is installed."""
        return {
            re.sub(r"[-_.]+", "-", each.name.partition("-")[0]).lower()
            for each in self.site_packages.glob("*.dist-info")
        }

    def pip(self, *arguments: str) -> None:
        """Run our pip on it."""
        pip = (sys.executable, "-m", "pip", "--python", str(self.python), "--no-input", "--quiet")
        run(*pip, *arguments, cwd=self.folder)

    def install(self, wheel: Path, *, extra: str = "") -> None:
        """Install the wheel, and what it needs in the versions of our lock."""
        locked = self.folder / "locked.txt"
        lines = (ROOT / "requirements.txt").read_text().splitlines()
        pins = (line.removesuffix(" \\") for line in lines if re.match(r"\w", line))
        locked.write_text("\n".join(pins))
        self.pip("install", "--constraint", str(locked), f"{wheel}{extra}")
