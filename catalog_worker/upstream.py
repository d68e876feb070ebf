"""Products from an HTTP API shaped like dummyjson.com's."""

import threading
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import requests
import structlog
from pydantic import BaseModel, RootModel, ValidationError, field_validator

from catalog_worker.settings import CatalogSettings
from shared.contracts.catalog import (
    Category,
    CategoryList,
    ListProducts,
    Product,
    ProductPage,
)
from shared.contracts.errors import UpstreamBusy, UpstreamFailed
from shared.messaging.call import current_call

log = structlog.get_logger()

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_REDIRECTS = 3
CHUNK_BYTES = 64 * 1024
LONGEST_WAIT_S = 3600
FIELDS = ",".join(Product.model_fields)


class _Page(BaseModel):
    """Upstream's listing. Its ``limit`` is the number returned, its ``skip`` may be null."""

    products: list[Product]
    total: int

    @field_validator("products", mode="before")
    @classmethod
    def _drop_bad_products(cls, products: Any) -> Any:
        """Leave a product out that breaks the contract, rather than lose the page for it."""
        if not isinstance(products, list):
            return products
        good = []
        for product in products:
            try:
                good.append(Product.model_validate(product))
            except ValidationError as error:
                log.warning("bad product dropped", errors=error.error_count())
        if products and not good:
            raise ValueError("not one product is readable")
        return good


class UpstreamCatalog:
    """Asks upstream each time. Safe to use from several threads: each has its own session."""

    def __init__(self, settings: CatalogSettings) -> None:
        self._settings = settings
        self._base_url = str(settings.upstream_url).rstrip("/")
        self._local = threading.local()

    def list(self, request: ListProducts) -> ProductPage:
        """Fetch a page of products.

        Raises:
            UpstreamFailed: upstream is away, too slow, or answers nonsense.
            UpstreamBusy: it asks us to slow down.
        """
        parameters: dict[str, str | int] = {
            "limit": request.limit,
            "skip": request.skip,
            "select": FIELDS,
        }
        if request.sort_by is not None:
            parameters |= {"sortBy": request.sort_by, "order": request.order}
        if request.q is not None:
            parameters["q"] = request.q
            path = "/products/search"
        elif request.category is not None:
            path = f"/products/category/{quote(request.category)}"
        else:
            path = "/products"
        page = _parse(_Page, self._get(path, parameters))
        return ProductPage(
            data=page.products, total=page.total, skip=request.skip, limit=len(page.products)
        )

    def find(self, product_id: int) -> Product | None:
        """Fetch one product; raises as ``list`` does."""
        body = self._get(f"/products/{product_id}", {"select": FIELDS})
        return None if body is None else _parse(Product, body)

    def categories(self) -> CategoryList:
        """Fetch the categories; raises as ``list`` does."""
        return CategoryList(data=_parse(_Categories, self._get("/products/categories", {})).root)

    def _get(self, path: str, parameters: dict[str, str | int]) -> bytes | None:
        """Get the JSON at a path; none when upstream says, in JSON, that there is no such thing."""
        url, query = self._base_url + path, parameters or None
        deadline = monotonic() + self._time_left_s()
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with self._session().get(
                    url,
                    params=query,
                    stream=True,
                    allow_redirects=False,
                    timeout=(self._settings.upstream_connect_timeout_s, self._time_left_s()),
                ) as response:
                    if not response.is_redirect:
                        return self._read(response, deadline)
                    url, query = _redirect_target(response), None
            except requests.RequestException as error:
                raise UpstreamFailed(f"the product source {_failure(error)}") from error
        raise UpstreamFailed("the product source redirects without end")

    def _read(self, response: requests.Response, deadline: float) -> bytes | None:
        if response.status_code == requests.codes.too_many_requests:
            raise UpstreamBusy(
                "the product source asks us to slow down",
                retry_after_s=_retry_after_s(response.headers.get("Retry-After", "")),
            )
        is_json = "json" in response.headers.get("Content-Type", "")
        if response.status_code == requests.codes.not_found and is_json:
            return None
        if response.status_code != requests.codes.ok:
            raise UpstreamFailed(f"the product source answered {response.status_code}")
        if not is_json:
            raise UpstreamFailed("the product source did not answer JSON")
        body = bytearray()
        for chunk in response.iter_content(CHUNK_BYTES):
            body += chunk
            if len(body) > self._settings.upstream_body_max_bytes:
                raise UpstreamFailed("the product source answered too much")
            if monotonic() > deadline:
                raise UpstreamFailed("the product source is too slow")
        return bytes(body)

    def _time_left_s(self) -> float:
        """Seconds to wait for upstream: no longer than somebody waits for us."""
        call = current_call.get(None)
        left_s = call.time_left_s() if call else self._settings.upstream_read_timeout_s
        return max(0.01, min(left_s, self._settings.upstream_read_timeout_s))

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers["Accept"] = "application/json"
        session: requests.Session = self._local.session
        return session


class _Categories(RootModel[list[Category]]):
    """Upstream's list of categories."""


def _parse(model: type[ModelT], body: bytes | None) -> ModelT:
    if body is None:
        raise UpstreamFailed("the product source does not know its own paths")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        log.warning("upstream answered nonsense", model=model.__name__, errors=error.error_count())
        raise UpstreamFailed("the product source answered nonsense") from error


def _redirect_target(response: requests.Response) -> str:
    """Follow a redirect on the same host alone: upstream does not choose whom we talk to."""
    target = urljoin(response.url, response.headers["Location"])
    if urlsplit(target)[:2] != urlsplit(response.url)[:2]:
        raise UpstreamFailed("the product source redirects elsewhere")
    return target


def _failure(error: requests.RequestException) -> str:
    match error:
        case requests.Timeout():
            return "is too slow"
        case requests.ConnectionError():
            return "cannot be reached"
        case _:
            return "broke off its answer"


def _retry_after_s(header: str) -> int | None:
    is_number = header.isascii() and header.isdigit() and len(header) < 10
    return min(int(header), LONGEST_WAIT_S) if is_number else None
