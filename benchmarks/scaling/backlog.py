"""A backlog of jobs: 20,000 pages of a catalogue to fetch from a slow upstream and store.

While they are worked off, consumers are killed at random. Afterwards each job must have been
counted once: all pages, all products, none twice, none given up.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.scaling.recorder import Recorder, meanwhile, recording, scaled
from benchmarks.scaling.series import Change, Sample
from benchmarks.scaling.system import System, running
from catalog_worker.settings import StoreSettings
from catalog_worker.syncs import Syncs
from catalog_worker.tables import products as products_table
from catalog_worker.wiring import build_storage
from ops import services
from shared.contracts.catalog import Sync
from shared.messaging.names import dead_queue
from shared.storage.database import Database

PROGRAM = "catalog_sync"
PRODUCTS = 20_000
UPSTREAM_MS = 250
ONE_FOR_S = 120.0  # how long one consumer is watched; it would need many times that for all
KILL_EVERY_S = 10.0
_GIVE_UP_S = 1800.0


class BacklogError(Exception):
    """Jobs were lost, done twice or not done in time; the message says which."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How many jobs have been done."""

    at_s: float
    jobs: int


@dataclass(slots=True)
class BacklogRun:
    """How it went; kills are the times at which a consumer was killed."""

    progress: list[Progress] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
