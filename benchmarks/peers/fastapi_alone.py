"""FastAPI with no broker at all: the products are in its own memory."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException

from benchmarks.peers import bearer, catalogue

app = FastAPI()


async def signed_in(authorization: Annotated[str | None, Header()] = None) -> None:
    try:
        bearer.check(authorization)
    except bearer.Unauthorised as error:
        raise HTTPException(401) from error


@app.get("/products", dependencies=[Depends(signed_in)])
async def products(limit: int = 30) -> dict[str, Any]:
    return catalogue.list_products(limit)
