import json
import re
from html import unescape
from importlib.resources import files

import pytest

from http_bridge.documents.asyncapi_page import messages_page
from postroad.asyncapi.document import build_document
from postroad.asyncapi.wire import Document
from postroad.contracts.registry import CONTRACTS, EVENTS, JOBS


@pytest.fixture(scope="module")
def document() -> Document:
    return build_document()


@pytest.fixture(scope="module")
def page(document: Document) -> str:
    return messages_page(document)


def article(page: str, name: str) -> str:
    found = re.search(rf'<article id="{re.escape(name)}">.*?</article>', page, re.DOTALL)
    assert found, name
    return found[0]


def text(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html))


@pytest.mark.parametrize("name", [*CONTRACTS, *EVENTS, *JOBS])
def test_every_message_has_a_section_of_its_own(page: str, name: str) -> None:
    assert name in text(article(page, name))


def test_a_request_says_all_that_a_caller_needs(page: str) -> None:
    shown = text(article(page, "catalog.products.list"))

    for part in (
        "for a user with the scope catalog:read",
        "5 s, unless given",
        "limitinteger1 to 10030",
        "qstring or null1 to 200 charactersnull",
        '"asc" | "desc"',
        "Reply: ProductPage",
        "datalist of Product",
        "upstream_busyThe product API asks us to slow down.yesno",
    ):
        assert part in shown


def test_a_request_about_the_user_says_that_it_takes_their_token(page: str) -> None:
    assert "cover it, with the user's token" in text(article(page, "auth.profiles.get"))


def test_a_required_field_is_said_to_be(page: str) -> None:
    assert "product_idinteger1 to 2\u202f147\u202f483\u202f647required" in text(
        article(page, "catalog.products.get")
    )
    assert "usernamestring1 to 200 charactersrequired" in text(
        article(page, "auth.sessions.create")
    )


def test_every_link_within_the_page_leads_somewhere(page: str) -> None:
    targets = set(re.findall(r' id="([^"]+)"', page))

    assert set(re.findall(r'href="#([^"]+)"', page)) <= targets


def test_the_page_takes_nothing_from_elsewhere_and_runs_nothing(page: str) -> None:
    style = (files("http_bridge.documents") / "messages.css").read_text()

    addresses = re.findall(r'(?:href|src)="([^"]*)"', page)

    assert {each for each in addresses if not each.startswith("#")} == {
        "/docs",
        "/asyncapi.json",
        "/docs/messages.css",
    }
    assert not re.search(r"<script|\son\w+=|style=", page)
    assert not re.search(r"url\(|@import", style)


def test_what_a_contract_says_is_text_not_html(document: Document) -> None:
    hostile: Document = json.loads(json.dumps(document))
    hostile["operations"]["catalog.products.list"]["summary"] = "<script>alert(1)</script>"
    hostile["components"]["messages"]["ProductPage"]["examples"] = [{"payload": {"a": "<b>"}}]

    page = messages_page(hostile)

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page
