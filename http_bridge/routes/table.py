"""Every route, once: dispatch, metrics, OpenAPI and ``GET /`` are made from this table.

A contract that is only passed on takes one line; what a route can say is in ``routing``.
"""

from collections.abc import Iterable

from http_bridge.http.problems import CrossSite, UnknownHost
from http_bridge.routes import docs, health, live, page, passwords, sessions
from http_bridge.routes.backend import HandlerRoute
from http_bridge.routes.products import no_products
from http_bridge.routes.routing import ContractRoute, Route
from postroad.contracts.auth import (
    ChangePassword,
    CreateSession,
    EndOwnSession,
    EndSession,
    GetOwnUser,
    ListOwnSessions,
    RefreshSession,
)
from postroad.contracts.catalog import GetProduct, ListCategories, ListProducts
from postroad.contracts.errors import NotAuthenticated, NotAuthorised, Unavailable
from postroad.contracts.syncs import GetSync, StartSync

_JSON = ("application/json",)

DOCUMENTS: tuple[Route, ...] = (
    HandlerRoute("GET", "/docs", docs.page, link="docs"),
    *(HandlerRoute("GET", path, docs.part) for path in docs.PATHS),
    HandlerRoute("GET", "/openapi.json", docs.openapi, link="openapi"),
    HandlerRoute("GET", "/docs/messages", docs.messages, link="messages"),
    HandlerRoute("GET", "/asyncapi.json", docs.asyncapi, link="asyncapi"),
)
"""What the API is, for people and programs; ``DOCS=off`` hides it."""

ROUTES: tuple[Route, ...] = (
    *DOCUMENTS,
    HandlerRoute("GET", "/", page.about, gives=(*_JSON, "text/html")),
    *(HandlerRoute("GET", path, page.part) for path in page.PATHS),
    HandlerRoute(
        *("POST", "/auth", sessions.sign_in),
        link="sign_in",
        contract=CreateSession,
        takes=sessions.Credentials,
        gives=sessions.SignedIn,
        errors=(UnknownHost,),
    ),
    HandlerRoute(
        *("POST", "/auth/refresh", sessions.refresh),
        link="refresh",
        contract=RefreshSession,
        takes=sessions.RefreshToken,
        is_body_required=False,
        gives=sessions.SignedIn,
        errors=(CrossSite, UnknownHost),
    ),
    HandlerRoute(
        *("POST", "/auth/logout", sessions.sign_out),
        link="sign_out",
        contract=EndSession,
        takes=sessions.RefreshToken,
        is_body_required=False,
        gives=sessions.SignedOut,
        errors=(CrossSite,),
        is_secured=True,
    ),
    ContractRoute("GET", "/auth/me", GetOwnUser, link="own_user"),
    ContractRoute("GET", "/auth/sessions", ListOwnSessions, link="own_sessions"),
    ContractRoute("DELETE", "/auth/sessions/{session_id}", EndOwnSession),
    HandlerRoute(
        *("POST", "/auth/password", passwords.change_password),
        link="change_password",
        contract=ChangePassword,
        takes=passwords.NewPassword,
        gives=passwords.NewPasswordSet,
        errors=(CrossSite,),
        is_secured=True,
    ),
    HandlerRoute("GET", "/.well-known/jwks.json", sessions.keys, link="keys", gives=_JSON),
    ContractRoute(
        "GET", "/products", ListProducts, link="products", conditional=True, empty=no_products
    ),
    ContractRoute(
        "GET", "/products/categories", ListCategories, link="categories", conditional=True
    ),
    ContractRoute("GET", "/products/{product_id}", GetProduct, wrapped=True, conditional=True),
    ContractRoute(
        *("POST", "/products/sync", StartSync),
        link="sync",
        wrapped=True,
        location="/products/sync/{sync_id}",
    ),
    ContractRoute("GET", "/products/sync/{sync_id}", GetSync, wrapped=True),
    HandlerRoute(
        *("GET", "/live", live.live),
        link="live",
        gives=("text/event-stream",),
        errors=(NotAuthenticated, NotAuthorised),
        is_secured=True,
    ),
    HandlerRoute("GET", "/healthz", health.health, link="health", gives=_JSON, is_probe=True),
    HandlerRoute(
        *("GET", "/readyz", health.readiness),
        link="readiness",
        gives=_JSON,
        errors=(Unavailable,),
        is_probe=True,
    ),
)


def shown(routes: Iterable[Route], *, has_docs: bool) -> tuple[Route, ...]:
    """Return the routes that there are, with or without the documents."""
    return tuple(route for route in routes if has_docs or route not in DOCUMENTS)


SERVICES = tuple(sorted({each.contract.service for each in ROUTES if each.contract is not None}))
"""The services that must answer before the bridge is ready."""
