"""aio-pika's RPC pattern: the side that answers."""

import asyncio
import os
from typing import Any

import aio_pika
from aio_pika.patterns import RPC

from benchmarks.peers import catalogue


async def list_products(*, limit: int) -> dict[str, Any]:
    return catalogue.list_products(limit)


async def main() -> None:
    connection = await aio_pika.connect_robust(os.environ["PEER_BROKER"])
    async with connection:
        rpc = await RPC.create(await connection.channel())
        await rpc.register("list_products", list_products, auto_delete=True)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
