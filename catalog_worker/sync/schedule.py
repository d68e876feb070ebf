"""What the catalogue's database needs now and then; any number of replicas may see to it."""

from catalog_worker.settings import StoreSettings
from catalog_worker.sync.syncs import Syncs
from postroad.storage.database import Database
from postroad.storage.retrying import regularly

_LOOK_EVERY_S = 60.0
_SHORTEST_S = 0.5


async def keep_schedule(syncs: Syncs, settings: StoreSettings) -> None:
    """Until cancelled, start a sync when one is due, and give up one that is stuck."""
    every_s = settings.sync_every_s

    def look() -> None:
        syncs.fail_stuck()
        if every_s:
            syncs.start_if_due(every_s)

    often_s = min(_LOOK_EVERY_S, every_s / 10) if every_s else _LOOK_EVERY_S
    await regularly(look, interval_s=max(_SHORTEST_S, often_s))


async def forget_old_syncs(syncs: Syncs, database: Database, settings: StoreSettings) -> None:
    """Until cancelled, delete syncs that nobody asks for any more."""

    def clean() -> None:
        with database.writing() as transaction:
            syncs.clean(transaction)

    await regularly(clean, interval_s=settings.clean_interval_s)
