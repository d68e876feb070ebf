"""Which programs `postroad up` runs, apart from how: commands that only name them start faster."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """What a program runs, and as which service: whose broker user, keys and settings it has."""

    service: str
    module: str


# In the order in which they start.
PROGRAMS = {
    "auth_worker": Entry("auth", "auth_worker"),
    "catalog_worker": Entry("catalog", "catalog_worker"),
    "auth_audit": Entry("auth", "auth_worker.audit"),
    "catalog_sync": Entry("catalog", "catalog_worker.sync"),
    "http_bridge": Entry("bridge", "http_bridge"),
}
