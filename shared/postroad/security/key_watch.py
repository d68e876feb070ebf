"""Renewing a service's keys while it runs."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import time

from postroad.logger import get_logger
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, KeyFileError, PublicKey, TrustBundle

log = get_logger(__name__)

WATCH_INTERVAL_S = 1.0


async def _pause() -> None:
    await asyncio.sleep(WATCH_INTERVAL_S)


async def watch_key_files(
    keys: KeyRing,
    identity_file: Path,
    trust_file: Path,
    *,
    pause: Callable[[], Awaitable[None]] = _pause,
) -> None:
    """Renew the keys whenever their files change, or a key in them begins or ends its use.

    ``pause`` is awaited before each look at the files.
    """
    seen: list[int] = []  # they may have changed since they were read
    boundary = _next_boundary(keys)
    while True:
        await pause()
        found = _versions(identity_file, trust_file)
        if found == seen and time() < boundary:
            continue
        try:
            keys.renew(Identity.load(identity_file), TrustBundle.load(trust_file))
        except KeyFileError as error:
            log.error("keys not renewed", reason=str(error))
            keys.renew(keys.identity, keys.trust)  # others of them may be in use by now
        else:
            log.info("keys renewed", generation=keys.generation)
        seen, boundary = found, _next_boundary(keys)


def _versions(*files: Path) -> list[int]:
    return [file.stat().st_mtime_ns if file.exists() else 0 for file in files]


def _next_boundary(keys: KeyRing) -> float:
    """Find when the next key comes into use, or retires."""
    now = time()
    known: list[PublicKey] = [*keys.identity.keys]
    for service in keys.trust.services.values():
        known += service.keys
    moments = [key.active_from for key in known] + [key.retires_at or now for key in known]
    return min((moment for moment in moments if moment > now), default=float("inf"))
