"""The audit of sign-ins, on the running system."""

import httpx
import pytest

from postroad.testing import eventually
from tests.e2e.system import System
from tests.e2e.test_direct_services import postroad

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

NAME, PASSWORD = "audited", "a password to be audited"


async def test_what_a_user_did_is_in_the_history(system: System) -> None:
    system.add_user(NAME, PASSWORD)
    given = {"username": NAME, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=system.url) as http:
        await http.post("/auth", json=given | {"password": "wrong"})
        await http.post("/auth", json=given)
        signed_out = await http.post("/auth/logout")
    assert signed_out.status_code == 200

    async def history() -> list[str]:
        status, output, _ = await postroad(system, "users", "history", NAME)
        assert status == 0
        return [line.partition(f"  {NAME}  ")[2] for line in output.splitlines()]

    async def is_noted() -> bool:
        return len(await history()) >= 3

    await eventually(is_noted, timeout_s=30)
    assert sorted(await history()) == [
        "failed to sign in (wrong password) from 127.0.0.0/24",
        "session ended (signed out)",
        "signed in from 127.0.0.0/24",
    ]
