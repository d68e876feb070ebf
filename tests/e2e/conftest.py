"""One running system for all end-to-end tests, and who uses it: by HTTP, and in a browser."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from postroad.ids import new_id
from tests.e2e import signing_in
from tests.e2e.browser import running_browser, sign_in, visiting
from tests.e2e.system import System, running_system

CREDENTIALS = {"username": "admin", "password": "admin"}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def token(system: System) -> str:
    async with httpx.AsyncClient(base_url=system.url) as http:
        response = await http.post("/auth", json=CREDENTIALS)
    assert response.status_code == 200, response.text
    return str(response.json()["access_token"])


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(system: System) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has not signed in."""
    async with httpx.AsyncClient(base_url=system.url, timeout=10) as http:
        yield http


@pytest_asyncio.fixture(loop_scope="session")
async def user(system: System, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=system.url, timeout=10, headers=headers) as http:
        yield http


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture
def operator(system: System) -> str:
    name = f"olivia-{new_id()[-6:]}"
    system.add_user(name, signing_in.PASSWORD, roles=("operator",))
    return name


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, system: System) -> AsyncIterator[Page]:
    async with visiting(browser, system.url) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def signed_in(page: Page, operator: str) -> Page:
    await sign_in(page, operator, signing_in.PASSWORD)
    return page


@pytest_asyncio.fixture(loop_scope="session")
async def app(system: System) -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps no cookies; its failures count against no other test's address."""
    async with signing_in.client_at(system, "127.0.0.2") as http:
        yield http


@pytest.fixture
def username(system: System) -> str:
    """A user of this test alone."""
    name = f"reader-{new_id()}"
    system.add_user(name, signing_in.PASSWORD)
    return name


@pytest_asyncio.fixture(loop_scope="session")
async def tokens(app: httpx.AsyncClient, username: str) -> signing_in.Tokens:
    return await signing_in.signed_in(app, username)
