"""What ``postroad.testing`` offers a service that has a database and works off a queue."""

from pathlib import Path

from catalog_worker.tables import SCHEMA, outbox
from postroad.contracts.syncs import FetchPage
from postroad.security.keyring import KeyRing
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from postroad.storage.outbox import Outbox
from postroad.testing import MemoryBroker, eventually, working
from postroad.testing.relaying import relaying
from postroad.topology.definitions import Definitions

JOB = FetchPage(sync_id="s", skip=0, limit=10)


async def test_what_is_written_into_an_outbox_is_worked_off(
    tmp_path: Path, topology: Definitions, keys: dict[str, KeyRing]
) -> None:
    broker, url = MemoryBroker(topology), f"sqlite:///{tmp_path / 'catalog.db'}"
    migrate(url, SCHEMA)
    database, box, done = Database(url), Outbox(outbox), list[FetchPage]()

    async with (
        relaying(broker, keys["catalog"], box, database),
        working(broker, keys["catalog"], "sync", {FetchPage: done.append}),
    ):
        with database.writing() as transaction:
            box.add(transaction, JOB)
        await eventually(lambda: done and not box.backlog(database).messages)

    assert done == [JOB]
    database.close()


async def test_a_message_that_nobody_works_off_waits_in_its_queue(
    tmp_path: Path, topology: Definitions, keys: dict[str, KeyRing]
) -> None:
    broker, url = MemoryBroker(topology), f"sqlite:///{tmp_path / 'catalog.db'}"
    migrate(url, SCHEMA)
    database, box = Database(url), Outbox(outbox)

    async with relaying(broker, keys["catalog"], box, database):
        with database.writing() as transaction:
            box.add(transaction, JOB)
        await eventually(lambda: broker.messages("work.catalog.sync"))

    [message] = broker.messages("work.catalog.sync")
    assert message.body == JOB.model_dump_json().encode()
    database.close()
