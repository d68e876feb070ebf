"""What the tests of publishing and of consuming both name."""

from postroad.topology.names import dead_queue, rpc_queue

AUTH, CATALOG = rpc_queue("auth"), rpc_queue("catalog")


DEAD_CATALOG = dead_queue(CATALOG)


METHOD, AUTH_METHOD = "catalog.products.get", "auth.sessions.create"


LONG_MS, SHORT_MS = "30000", "1"
