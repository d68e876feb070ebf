"""Which messages have been dealt with, so that what comes twice has its effect once."""

from collections.abc import Callable
from time import time

from sqlalchemy import Table

from postroad.security.lasting_signatures import EVENT_LIFETIME_S
from postroad.storage.database import Transaction

_DAY_S = 86_400
# A message that the broker did not confirm in time is sent again and lives anew: as long as a
# broker may be away.
MEMORY_S = EVENT_LIFETIME_S + 7 * _DAY_S


class Inbox:
    """Notes messages in the transaction of their effect: both come about, or neither.

    A message is one to a whole service: two queues of a service that take the same event need
    an inbox each.
    """

    def __init__(self, table: Table, *, clock: Callable[[], float] = time) -> None:
        self._table = table
        self._clock = clock

    def first_time(self, transaction: Transaction, message_id: str) -> bool:
        """Note a message; false if that was done before.

        Whoever is just dealing with the same message is waited for.
        """
        insert = transaction.insert(self._table).on_conflict_do_nothing()
        noted = transaction.connection.execute(
            insert.values(message_id=message_id, at=self._clock()).returning(
                self._table.c.message_id
            )
        )
        return noted.first() is not None

    def clean(self, transaction: Transaction) -> int:
        """Forget the messages that are too old to come again, and say how many those were."""
        too_old = self._table.c.at <= self._clock() - MEMORY_S
        return transaction.connection.execute(self._table.delete().where(too_old)).rowcount
