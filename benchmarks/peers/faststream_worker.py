"""FastStream: a subscriber that answers requests."""

import os
from typing import Any

from faststream import FastStream
from faststream.rabbit import RabbitBroker

from benchmarks.peers import catalogue

broker = RabbitBroker(os.environ["PEER_BROKER"])
app = FastStream(broker)


@broker.subscriber("products")
async def list_products(limit: int) -> dict[str, Any]:
    return catalogue.list_products(limit)
