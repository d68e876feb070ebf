"""What a route is, how a contract is passed on, and which route answers a request."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from pydantic import TypeAdapter, ValidationError

from http_bridge.asgi.messages import (
    JSON,
    PRIVATE_NO_STORE,
    HttpRequest,
    HttpResponse,
    PathParameters,
)
from http_bridge.http.bodies import read_json
from http_bridge.http.caching import fresh_response
from http_bridge.routes.backend import Backend, Contract, HandlerRoute
from postroad.contracts.base import Request
from postroad.contracts.errors import InvalidRequest, explain
from postroad.contracts.message import Message
from postroad.messaging.reply import Reply

_JSON_OBJECT = TypeAdapter(dict[str, object])


@dataclass(frozen=True, slots=True)
class ContractRoute:
    """A route that passes a contract on for a signed-in user, and the reply back as it came.

    Fields that the path names come from there, all others from the query of a ``GET``, or from the
    JSON body of another method.
    """

    method: str
    path: str
    contract: Contract
    link: str | None = None  # its name in ``GET /``; none: it is not there
    wrapped: bool = False  # the reply is put into ``{"data": reply}``
    conditional: bool = False  # with ``ETag`` and ``Age``; 304 when the client has it already
    no_content_unless: tuple[str, ...] | None = None  # 204 for an empty list, unless one is given
    location: str | None = None  # where to ask on, with fields of the reply; then 202
    is_probe: ClassVar = False

    def __post_init__(self) -> None:
        for name in self.path_fields - self.contract.model_fields.keys():
            raise ValueError(f"{self.path}: {self.contract.__name__} has no field {name!r}")

    @property
    def path_fields(self) -> set[str]:
        """Return the fields that come from the path."""
        return {part[1:-1] for part in self.path.split("/") if part.startswith("{")}

    @property
    def has_body(self) -> bool:
        """Whether there are fields for a body to hold; otherwise it is not looked at."""
        return self.method != "GET" and len(self.contract.model_fields) > len(self.path_fields)

    async def answer(self, request: HttpRequest, backend: Backend) -> HttpResponse:
        if self.method != "GET" and b"authorization" not in request.headers:
            backend.site.check_same_site(request)
        user = backend.tokens.require(request)
        if self.has_body:
            message = await self._read_body(request, backend.body_max_bytes)
        else:
            message = read_parameters(self.contract, request.parameters, request.query)
        reply = await backend.calls.call(message, user=user, correlation_id=request.request_id)
        if self._is_empty(message, reply):
            return HttpResponse(HTTPStatus.NO_CONTENT, b"", [PRIVATE_NO_STORE], reply.timing)
        body = b'{"data":%b}' % reply.body if self.wrapped else reply.body
        if self.conditional:
            return fresh_response(request, reply, body)
        headers = [JSON, PRIVATE_NO_STORE]
        if self.location is None:
            return HttpResponse(HTTPStatus.OK, body, headers, reply.timing)
        location = self.location.format_map(reply.parse().model_dump())
        headers.append((b"location", location.encode()))
        return HttpResponse(HTTPStatus.ACCEPTED, body, headers, reply.timing)

    def _is_empty(self, message: Request[Any], reply: Reply[Any]) -> bool:
        """Whether there is nothing to list at all; a list that begins need not be parsed."""
        if self.no_content_unless is None or reply.body.startswith(b'{"data":[{'):
            return False
        if any(getattr(message, name) is not None for name in self.no_content_unless):
            return False
        return bool(reply.parse().total == 0)

    async def _read_body(self, request: HttpRequest, max_bytes: int) -> Request[Message]:
        fields = await read_json(request, _JSON_OBJECT.validate_json, max_bytes)
        return _validate(self.contract, fields | dict(request.parameters), "body")


@lru_cache(maxsize=1024)
def read_parameters(
    contract: Contract, parameters: PathParameters, query: bytes
) -> Request[Message]:
    """Read path and query; people ask for the same few pages again and again.

    Raises:
        InvalidRequest: a parameter is out of range.
    """
    fields = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    return _validate(contract, fields | dict(parameters), "query")


def _validate(contract: Contract, fields: Mapping[str, object], whole: str) -> Request[Message]:
    try:
        return contract.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(explain(error, whole=whole)) from error


Route = HandlerRoute | ContractRoute


@dataclass(frozen=True, slots=True)
class Resource:
    """A path of the table, and its routes by method."""

    path: str
    routes: dict[str, Route]
    is_probe: bool

    def match(self, segments: list[str]) -> PathParameters | None:
        """Return the parameters in a path of as many segments; none when it is another path."""
        parameters = []
        for name, segment in zip(self.path.split("/"), segments, strict=True):
            if name.startswith("{") and segment:
                parameters.append((name[1:-1], segment))
            elif name != segment:
                return None
        return tuple(parameters)


class Router:
    """Finds the resource that a path names: by its words first, then by its parameters."""

    def __init__(self, routes: Iterable[Route]) -> None:
        by_path: dict[str, dict[str, Route]] = defaultdict(dict)
        for route in routes:
            if route.method in by_path[route.path]:
                raise ValueError(f"{route.method} {route.path} is in the table twice")
            by_path[route.path][route.method] = route
        self._fixed: dict[str, Resource] = {}
        self._with_parameters: dict[int, list[Resource]] = defaultdict(list)  # by segments
        for path in sorted(by_path, key=lambda path: [s.startswith("{") for s in path.split("/")]):
            is_probe = any(route.is_probe for route in by_path[path].values())
            resource = Resource(path, by_path[path], is_probe)
            if "{" in path:
                self._with_parameters[len(path.split("/"))].append(resource)
            else:
                self._fixed[path] = resource

    def find(self, path: str) -> tuple[Resource | None, PathParameters]:
        """Return the resource, and the values of its parameters; a slash at the end is left out."""
        resource = self._fixed.get(path) or self._fixed.get(path.rstrip("/"))
        if resource is not None:
            return resource, ()
        segments = path.split("/")
        for resource in self._with_parameters.get(len(segments), ()):
            if (parameters := resource.match(segments)) is not None:
                return resource, parameters
        return None, ()
