"""Whether all is well: whatever is asked is answered, and work that is given out gets done."""

import asyncio
import random
import time
from http import HTTPStatus

import httpx

from postroad.contracts.catalog import GetProduct
from postroad.contracts.errors import ServiceError
from postroad.messaging.client import Client
from tests.faults.effects import Effects
from tests.faults.load import read_token
from tests.faults.system import OPERATOR, PRODUCTS

GIVE_UP_S = 90.0  # a system that is not well by then will not be
_LOOK_S = 0.1
_WORK_TAKES_S = 2.0  # when all is well; then everything is asked anew


class Health:
    """Asks for one of everything, as a person, as a service, and as an operator."""

    def __init__(self, http: httpx.AsyncClient, client: Client, effects: Effects) -> None:
        self._http = http
        self._client = client
        self._effects = effects
        self._chance = random.Random()  # of what is asked, not of what is done

    async def restored(self) -> str:
        """Wait until all is well; when that takes too long, give what is not."""
        done = await asyncio.to_thread(self._effects.syncs_done)
        give_up_at = time.monotonic() + GIVE_UP_S
        while problem := await self._problem(done):
            if time.monotonic() > give_up_at:
                return problem
            await asyncio.sleep(_LOOK_S)
        return ""

    async def _problem(self, done: set[str]) -> str:
        """Name what does not work, if anything; ``done`` are the syncs that are no news."""
        number = self._chance.randint(1, PRODUCTS)
        try:
            if (await self._http.get("/readyz")).status_code != HTTPStatus.OK:
                return "the bridge is not ready"
            signed_in = await self._http.post("/auth", json=OPERATOR)
            if signed_in.status_code != HTTPStatus.OK:
                return f"signing in: {signed_in.text}"
            self._http.cookies.clear()
            token = read_token(signed_in.json()["access_token"])
            headers = {"Authorization": f"Bearer {token.text}"}
            shown = await self._http.get(f"/products/{number}", headers=headers)
            if shown.status_code != HTTPStatus.OK:
                return f"a product: {shown.text}"
            await self._client.call(GetProduct(product_id=number))
        except (httpx.TransportError, ServiceError) as error:
            return f"{type(error).__name__}: {error}"
        return await self._undone(token.session_id, done)

    async def _undone(self, session: str, done: set[str]) -> str:
        """Wait a little until background work is done, and name what is not."""
        give_up_at = time.monotonic() + _WORK_TAKES_S
        while time.monotonic() < give_up_at:
            is_noted = await asyncio.to_thread(self._effects.is_noted, session)
            if is_noted and await asyncio.to_thread(self._effects.syncs_done) - done:
                return ""
            await asyncio.sleep(_LOOK_S)
        return "no sync is done" if is_noted else "a sign-in is not noted"
