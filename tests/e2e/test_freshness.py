"""What a client learns of an answer's age and version, and need not be sent again."""

import httpx
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

PATHS = ["/products?limit=3", "/products/3", "/products/categories"]


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_says_how_old_it_is_and_which(user: httpx.AsyncClient, path: str) -> None:
    response = await user.get(path)

    assert response.status_code == 200
    assert response.headers["etag"].startswith('"')
    assert 0 <= int(response.headers["age"]) < 5
    assert response.headers["cache-control"] == "private, no-cache"
    assert "warning" not in response.headers


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_at_hand_is_not_sent_again(user: httpx.AsyncClient, path: str) -> None:
    etag = (await user.get(path)).headers["etag"]

    same = await user.get(path, headers={"If-None-Match": f'"another", W/{etag}'})
    other = await user.get(path, headers={"If-None-Match": '"another"'})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert "age" in same.headers
    assert same.headers["cache-control"] == "private, no-cache"
    assert (other.status_code, other.headers["etag"]) == (200, etag)


async def test_other_answers_have_other_etags(user: httpx.AsyncClient) -> None:
    tags = {(await user.get(f"/products/{number}")).headers["etag"] for number in range(1, 6)}

    assert len(tags) == 5


async def test_nobody_learns_without_signing_in_whether_an_answer_holds(
    user: httpx.AsyncClient, visitor: httpx.AsyncClient
) -> None:
    etag = (await user.get("/products/3")).headers["etag"]

    response = await visitor.get("/products/3", headers={"If-None-Match": etag})

    assert response.status_code == 401
    assert "etag" not in response.headers
