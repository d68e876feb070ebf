"""The limit of what pika can do: RPC with nothing around it, in two processes."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.contenders import environment
from benchmarks.load import LoadError, Report, Result, used_since
from benchmarks.system import System
from benchmarks.usage import cpu_by_group, memory_by_group
from ops.local import processes

VIRTUAL_HOST = "raw"
MODULE = "benchmarks.limits.raw_rpc"


class RawReport(Report):
    """What the client saw, and what it used meanwhile."""

    cpu_s: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class RawRpc:
    """A process that answers, to be asked by another one that is started for each measurement."""

    name: str
    options: tuple[str, ...]
    env: dict[str, str]
    processes: dict[str, list[int]]

    def measure(self, *, connections: int, seconds: float) -> Result:
        """Keep so many requests under way, on one connection.

        Raises:
            LoadError: the client failed.
        """
        return asyncio.run(self._measure(connections, seconds))

    async def _measure(self, in_flight: int, seconds: float) -> Result:
        before = cpu_by_group(self.processes)
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE, "ask", *self.options),
            *("--in-flight", str(in_flight), "--seconds", str(seconds)),
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await client.communicate()
        if client.returncode:
            raise LoadError(f"the client ended with {client.returncode}")
        report = RawReport.model_validate_json(output)
        used = {"client": report.cpu_s} | used_since(before, self.processes)
        return report.result(used, {"client": report.memory_mb} | memory_by_group(self.processes))


@asynccontextmanager
async def answering(name: str, system: System, page: bytes, *options: str) -> AsyncIterator[RawRpc]:
    """Run the process that answers; a client waits for its queue."""
    env = environment(system, virtual_host=VIRTUAL_HOST, page=page)
    options = (*options, "--queue", name)
    child = processes.spawn([sys.executable, "-m", MODULE, "answer", *options], env=env)
    try:
        pids = {"server": [child.pid], "rabbitmq": [system.broker.pid or 0]}
        yield RawRpc(name, options, env, pids)
    finally:
        await processes.stop(child, grace_s=5)
