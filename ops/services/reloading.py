"""Programs that are started anew when their code changes, and services that come."""

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Protocol

import structlog

from ops.local.broker import BrokerError
from ops.local.worker import NotStarted
from ops.services.grants import GrantError
from ops.services.manifests import ROOT
from ops.state.folder import StateError
from postroad.topology.manifest import FILE_NAME
from postroad.topology.services import ServicesFileError

log = structlog.get_logger()

_FILES_NAMED = 3


class Replacing(Protocol):
    """Who runs the processes."""

    async def replace(self, name: str) -> int: ...


class Reloader:
    """Replaces the processes of programs whose code changes, and starts those of new services."""

    def __init__(
        self,
        supervisor: Replacing,
        *,
        concerned: Callable[[Iterable[Path]], list[str]],
        renew: Callable[[], Awaitable[list[str]]],
    ) -> None:
        """``renew`` takes up manifests that have changed, and returns the programs it started."""
        self._supervisor = supervisor
        self._concerned = concerned
        self._renew = renew
        self._changed: set[Path] = set()  # and not taken up yet
        self._waiting: dict[str, None] = {}  # programs to replace, in order
        self._started: list[str] = []  # programs that are new, and not reported yet

    async def run(self, changes: AsyncIterable[set[Path]]) -> None:
        """Follow changes until cancelled.

        What fails is tried again at the next change, whatever that is. A change while processes
        are being replaced begins anew.
        """
        reloading: asyncio.Task[None] | None = None
        try:
            async for changed in changes:
                await _give_up(reloading)
                self._changed |= changed
                reloading = asyncio.create_task(self._reload(_named(changed)))
        finally:
            await _give_up(reloading)

    async def _reload(self, changed: str) -> None:
        began = time.monotonic()
        new: list[str] = []
        if any(file.name == FILE_NAME for file in self._changed):
            try:
                new = await self._renew()
            except (BrokerError, GrantError, ServicesFileError, StateError) as error:
                log.error("services stay as they were", reason=str(error))
                return
        self._waiting |= dict.fromkeys(self._concerned(self._changed))
        self._changed.clear()
        self._started += new
        for name in new:
            self._waiting.pop(name, None)
        replaced = await self._replace()
        if replaced or self._started:
            took_s = round(time.monotonic() - began, 2)
            more = {"started": ", ".join(self._started)} if self._started else {}
            log.info(
                "reloaded", programs=", ".join(replaced), **more, changed=changed, took_s=took_s
            )
            self._started.clear()

    async def _replace(self) -> list[str]:
        """Replace what waits for it, and return what had processes."""
        names = list(self._waiting)
        ends = await asyncio.gather(*map(self._supervisor.replace, names), return_exceptions=True)
        replaced = []
        for name, end in zip(names, ends, strict=True):
            if isinstance(end, NotStarted):
                log.error("new code does not start; the old goes on", program=name, reason=str(end))
            elif isinstance(end, BaseException):
                raise end
            else:
                del self._waiting[name]
                if end:
                    replaced.append(name)
        return replaced


async def _give_up(reloading: asyncio.Task[None] | None) -> None:
    if reloading is not None:
        reloading.cancel()
        await asyncio.gather(reloading, return_exceptions=True)


def _named(files: Iterable[Path]) -> str:
    names = sorted(str(file.relative_to(ROOT)) for file in files)
    more = len(names) - _FILES_NAMED
    return ", ".join(names[:_FILES_NAMED]) + (f" and {more} more" if more > 0 else "")
