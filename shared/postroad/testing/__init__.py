"""What a service's tests need: a broker in memory, keys, and clients and workers on it.

    services = find_services(Path(__file__).parents[1])
    broker, keys = MemoryBroker(definitions(services)), make_keys(services)
    async with (
        serving(broker, keys["catalog"], {GetProduct: get_product}),
        calling(broker, keys["bridge"]) as client,
    ):
        product = await client.call(GetProduct(product_id=7))

The broker keeps to the rights in each ``service.toml``, as RabbitMQ does.

It needs the extra ``worker``; ``postroad.testing.relaying``, for a service with an outbox,
``database`` as well.
"""

from postroad.broker.memory.broker import MemoryBroker
from postroad.testing.bugs import raising_bugs
from postroad.testing.keys import access_token, make_keys
from postroad.testing.running import Reachable, calling, serving, working
from postroad.testing.sending import read_body, send
from postroad.testing.waiting import eventually

__all__ = [
    "MemoryBroker",
    "Reachable",
    "access_token",
    "calling",
    "eventually",
    "make_keys",
    "raising_bugs",
    "read_body",
    "send",
    "serving",
    "working",
]
