"""FastStream's ``request()`` behind FastAPI."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from faststream.rabbit import RabbitBroker

from benchmarks.peers import bearer

broker = RabbitBroker(os.environ["PEER_BROKER"])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with broker:
        await broker.start()
        yield


app = FastAPI(lifespan=lifespan)


async def signed_in(authorization: Annotated[str | None, Header()] = None) -> None:
    try:
        bearer.check(authorization)
    except bearer.Unauthorised as error:
        raise HTTPException(401) from error


@app.get("/products", dependencies=[Depends(signed_in)])
async def products(limit: int = 30) -> Any:
    reply = await broker.request(limit, queue="products", timeout=10.0)
    return await reply.decode()
