"""aio-pika's RPC pattern behind Starlette: the side that asks."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.patterns import RPC
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.peers import bearer


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with await aio_pika.connect_robust(os.environ["PEER_BROKER"]) as connection:
        app.state.rpc = await RPC.create(await connection.channel())
        yield


async def products(request: Request) -> Response:
    try:
        bearer.check(request.headers.get("Authorization"))
    except bearer.Unauthorised:
        return Response(status_code=401)
    limit = int(request.query_params.get("limit", "30"))
    return JSONResponse(await request.app.state.rpc.proxy.list_products(limit=limit))


app = Starlette(routes=[Route("/products", products)], lifespan=lifespan)
