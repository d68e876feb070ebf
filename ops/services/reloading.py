"""Programs that are started anew when their code changes."""

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import Protocol

import structlog

from ops.local.worker import NotStarted
from ops.services.manifests import ROOT

log = structlog.get_logger()

_FILES_NAMED = 3


class Replacing(Protocol):
    """Who runs the processes."""

    async def replace(self, name: str) -> int: ...


async def keep_reloading(
    supervisor: Replacing,
    changes: AsyncIterable[set[Path]],
    *,
    concerned: Callable[[Iterable[Path]], list[str]],
) -> None:
    """Replace the processes of programs whose code changes, until cancelled.

    What does not start is tried again at the next change, whatever that is. A change while
    processes are being replaced begins anew.
    """
    waiting: dict[str, None] = {}  # programs to replace, in order
    replacing: asyncio.Task[None] | None = None
    try:
        async for changed in changes:
            await _give_up(replacing)
            waiting |= dict.fromkeys(concerned(changed))
            replacing = asyncio.create_task(_replace(supervisor, waiting, changed))
    finally:
        await _give_up(replacing)


async def _give_up(replacing: asyncio.Task[None] | None) -> None:
    if replacing is not None:
        replacing.cancel()
        await asyncio.gather(replacing, return_exceptions=True)


async def _replace(
    supervisor: Replacing, waiting: dict[str, None], changed: Iterable[Path]
) -> None:
    began = time.monotonic()
    names = list(waiting)
    ends = await asyncio.gather(*map(supervisor.replace, names), return_exceptions=True)
    replaced = []
    for name, end in zip(names, ends, strict=True):
        if isinstance(end, NotStarted):
            log.error("new code does not start; the old goes on", program=name, reason=str(end))
        elif isinstance(end, BaseException):
            raise end
        else:
            del waiting[name]
            if end:
                replaced.append(name)
    if replaced:
        took_s = round(time.monotonic() - began, 2)
        log.info("reloaded", programs=replaced, changed=_named(changed), took_s=took_s)


def _named(files: Iterable[Path]) -> str:
    names = sorted(str(file.relative_to(ROOT)) for file in files)
    more = len(names) - _FILES_NAMED
    return ", ".join(names[:_FILES_NAMED]) + (f" and {more} more" if more > 0 else "")
