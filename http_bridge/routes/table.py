"""Every route, once: dispatch, metrics, OpenAPI and ``GET /`` are made from this table.

Routes with a handler stand here. Those that only pass a contract on stand in the ``service.toml``
of the service that answers it.
"""

from collections.abc import Iterable

from http_bridge.http.problems import HTTP_STATUS, CrossSite, UnknownHost
from http_bridge.routes import docs, health, live, page, passwords, sessions
from http_bridge.routes.backend import HandlerRoute
from http_bridge.routes.routing import ContractRoute, Route
from postroad.contracts.auth import ChangePassword, CreateSession, EndSession, RefreshSession
from postroad.contracts.errors import NotAuthenticated, NotAuthorised, Unavailable
from postroad.contracts.registry import CONTRACTS
from postroad.topology.manifest import HttpRoute, Manifest

_JSON = ("application/json",)

DOCUMENTS: tuple[Route, ...] = (
    HandlerRoute("GET", "/docs", docs.page, link="docs"),
    *(HandlerRoute("GET", path, docs.part) for path in docs.PATHS),
    HandlerRoute("GET", "/openapi.json", docs.openapi, link="openapi"),
    HandlerRoute("GET", "/docs/messages", docs.messages, link="messages"),
    HandlerRoute("GET", "/asyncapi.json", docs.asyncapi, link="asyncapi"),
)
"""What the API is, for people and programs; ``DOCS=off`` hides it."""

HANDLERS: tuple[Route, ...] = (
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


def routes_of(manifests: Iterable[Manifest]) -> tuple[Route, ...]:
    """Return the whole table: the handlers here, and what services offer in their manifests.

    The statuses of the services' errors are known from then on.

    Raises:
        ValueError: a path names a field that its contract does not have.
    """
    for each in (manifests := list(manifests)):
        HTTP_STATUS.update(each.http_statuses)
    return (*HANDLERS, *(_passing_on(route) for each in manifests for route in each.http))


def _passing_on(route: HttpRoute) -> ContractRoute:
    options = route.model_dump(exclude={"method", "path", "contract"})
    return ContractRoute(route.method, route.path, CONTRACTS[route.contract], **options)


def shown(routes: Iterable[Route], *, has_docs: bool) -> tuple[Route, ...]:
    """Return the routes that there are, with or without the documents."""
    return tuple(route for route in routes if has_docs or route not in DOCUMENTS)


def services_behind(routes: Iterable[Route]) -> tuple[str, ...]:
    """Return the services that must answer before the bridge is ready."""
    return tuple(sorted({each.contract.service for each in routes if each.contract is not None}))
