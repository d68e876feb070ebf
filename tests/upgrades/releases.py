"""A release: a revision of this repository with its own environment, or a folder of files."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.revisions import command_of


class CommandFailed(Exception):
    """A release's command failed; the message is what it printed."""


@dataclass(frozen=True, slots=True)
class Release:
    """What runs, and on which Python."""

    name: str  # before or after
    title: str  # the commit, or what else it is
    python: Path
    tree: Path

    @property
    def variables(self) -> dict[str, str]:
        """The variables by which this release is imported, and no other."""
        return {"PYTHONPATH": f"{self.tree}{os.pathsep}{self.tree / 'shared'}"}

    async def run(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run one of its modules as a command, and return what it prints.

        Raises:
            CommandFailed: its exit status is not 0.
        """
        process = await asyncio.create_subprocess_exec(
            *(str(self.python), "-P", "-m", module, *arguments),
            cwd=self.tree,
            env={**os.environ, **(env or {}), **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise CommandFailed(f"{self.title}: {module} {' '.join(arguments)}: {output.decode()}")
        return output.decode()


def of_commit(name: str, commit: str, folder: Path) -> Release:
    """Unpack a commit and install what it locks, unless that was done before.

    Raises:
        PeerError: it does not install.
    """
    postroad, tree = command_of(commit, folder)
    return Release(name, commit, postroad.with_name("python"), tree)


def of_folder(name: str, title: str, tree: Path = ROOT) -> Release:
    """Take a folder of files as they are, with the packages that are installed here."""
    return Release(name, title, Path(sys.executable), tree)
