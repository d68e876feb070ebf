"""What HTTP is told of an answer's age and version."""

from time import time

import pytest

from http_bridge.asgi.messages import HttpRequest, HttpResponse
from http_bridge.http.caching import fresh_response, holds
from postroad.contracts.catalog import ProductPage
from postroad.messaging.reply import Reply
from tests.support.bridges import request_with

BODY = b'{"data":[]}'


def request(if_none_match: bytes | None = None) -> HttpRequest:
    headers = {} if if_none_match is None else {b"if-none-match": if_none_match}
    scope = {
        "method": "GET",
        "path": "/products",
        "query_string": b"",
        "scheme": "http",
        "headers": list(headers.items()),
    }

    async def receive() -> dict[str, object]:
        raise AssertionError("no body is read")

    return HttpRequest.from_scope(scope, receive)


def answer(
    if_none_match: bytes | None = None,
    *,
    body: bytes = BODY,
    as_of: float | None = None,
    is_stale: bool = False,
) -> tuple[HttpResponse, dict[bytes, bytes]]:
    response = fresh_response(
        request(if_none_match), Reply(ProductPage, body, as_of, is_stale), body
    )
    headers = dict(response.headers)
    assert len(headers) == len(response.headers), "no header comes twice"
    return response, headers


def test_an_answer_is_kept_by_the_client_alone_and_asked_about_each_time() -> None:
    response, headers = answer()

    assert (response.status, response.body) == (200, BODY)
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"cache-control"] == b"private, no-cache"
    assert headers[b"vary"] == b"Authorization, Cookie"


def test_the_etag_is_quoted_and_that_of_the_body() -> None:
    tags = [answer(body=body)[1][b"etag"] for body in (b"1", b"1", b"2")]

    assert tags[0] == tags[1] != tags[2]
    assert tags[0].startswith(b'"')
    assert tags[0].endswith(b'"')


@pytest.mark.parametrize(("age_s", "age"), [(0.0, b"0"), (41.5, b"41"), (-3.0, b"0")])
def test_the_age_is_in_whole_seconds_and_never_negative(age_s: float, age: bytes) -> None:
    _, headers = answer(as_of=time() - age_s)

    assert headers[b"age"] == age


def test_an_answer_of_unknown_age_has_none() -> None:
    assert b"age" not in answer(as_of=None)[1]


def test_only_a_stale_answer_has_a_warning() -> None:
    _, fresh = answer(as_of=time())
    _, stale = answer(as_of=time() - 100, is_stale=True)

    assert b"warning" not in fresh
    assert stale[b"warning"].startswith(b"110 ")


@pytest.mark.parametrize("template", [b"%b", b"W/%b", b'"a", %b', b'"a",W/%b , "b"', b"*"])
def test_a_client_that_has_the_answer_is_told_so_without_a_body(template: bytes) -> None:
    _, known = answer()
    tags = template.replace(b"%b", known[b"etag"])

    response, headers = answer(tags, as_of=time() - 7, is_stale=True)

    assert (response.status, response.body) == (304, b"")
    assert b"content-type" not in headers
    assert headers[b"etag"] == known[b"etag"]
    assert headers[b"age"] == b"7"
    assert headers[b"cache-control"] == known[b"cache-control"]
    assert headers[b"warning"].startswith(b"110 ")


@pytest.mark.parametrize("tags", [b"", b'"a"', b"a, b", b"**", b'"*"', b","])
def test_a_client_that_has_another_answer_gets_this_one(tags: bytes) -> None:
    response, _ = answer(tags)

    assert (response.status, response.body) == (200, BODY)


def test_a_list_may_come_in_several_lines() -> None:
    request = request_with((b"if-none-match", b'"a", "b"'), (b"if-none-match", b'"c"'))

    assert [holds(request, tag) for tag in (b'"a"', b'"c"', b'"d"')] == [True, True, False]
