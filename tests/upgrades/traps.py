"""Triggers in the services' databases, by which messages of one release are left for the other."""

from typing import LiteralString

import psycopg

HOLD, REFUSE = "hold", "refuse"
_MAKE: LiteralString = """
CREATE TABLE traps (name text PRIMARY KEY);

CREATE FUNCTION hold_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM traps WHERE name = 'hold') THEN
        NEW.claimed_by := 'held';
        NEW.claimed_until := 'infinity';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hold BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION hold_message();

CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM traps
               WHERE name = 'refuse' OR name = 'refuse ' || (to_jsonb(NEW) ->> 'session_id')) THEN
        RAISE EXCEPTION 'refused by a trap';
    END IF;
    RETURN NEW;
END $$;
"""
_REFUSE_IN: dict[str, LiteralString] = {
    "audit": "CREATE TRIGGER refuse BEFORE INSERT ON audit"
    " FOR EACH ROW EXECUTE FUNCTION refuse_row()",
    "products": "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON products"
    " FOR EACH ROW EXECUTE FUNCTION refuse_row()",
}


class Traps:
    """Those of one database; each does nothing unless it is set.

    ``hold``: what is written to the outbox looks claimed, so that no relay sends it.
    ``refuse``: a row of the table that background work writes is refused; ``refuse ID`` those of
    a session.
    """

    def __init__(self, url: str, table: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(_MAKE)
        self._connection.execute(_REFUSE_IN[table])

    def set(self, name: str) -> None:
        self._connection.execute("INSERT INTO traps VALUES (%s)", (name,))

    def lift(self, name: str) -> None:
        self._connection.execute("DELETE FROM traps WHERE name = %s", (name,))

    def held(self) -> int:
        """Count the messages that wait in the outbox because they are held."""
        found = self._connection.execute("SELECT count(*) FROM outbox WHERE claimed_by = 'held'")
        ((count,),) = found.fetchall()
        return int(count)

    def release(self) -> int:
        """Let the relays have what was held, and count it."""
        return self._connection.execute(
            "UPDATE outbox SET claimed_by = NULL, claimed_until = NULL WHERE claimed_by = 'held'"
        ).rowcount

    def close(self) -> None:
        self._connection.close()
