"""A sample product API: routes and answers, with the quirks of a well-known public one.

    GET /products                      limit, skip, sortBy, order, select, delay
    GET /products/search               the same, and q
    GET /products/category/{slug}      the same as /products
    GET /products/{id}                 select, delay
    GET /products/categories           [{slug, name, url}]
    GET /products/category-list        [slug]
    GET /healthz
    PUT /faults                        for tests and demos only: replace the faults while it runs
    PUT /changes                       the same: other prices, and products that are gone

Faults touch /products and what is below it, never the others.
"""

import asyncio
import hashlib
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import quote

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from sample_api import catalogue, query
from sample_api.faults import Faults, faulty_answer, first_problem

BUNDLED = 120

View = Callable[[Request, catalogue.Products], object]


def build_app(faults: Faults, *, products: int = BUNDLED) -> Starlette:
    """Keep the faults on `app.state.faults`, which a test may replace at any time."""
    app = Starlette(
        routes=[
            # First, because `/products/7/` would otherwise be an unknown path.
            Route("/{path:path}/", _without_trailing_slash),
            _product_route("/products", _list_products),
            _product_route("/products/search", _search),
            _product_route("/products/categories", _categories),
            _product_route("/products/category-list", _category_list),
            _product_route("/products/category/{slug}", _category),
            _product_route("/products/{product_id}", _product),
            Route("/healthz", _health),
            Route("/faults", _replace_faults, methods=["PUT"]),
            Route("/changes", _replace_changes, methods=["PUT"]),
        ],
        exception_handlers={
            query.BadQuery: _bad_request,
            catalogue.UnknownProduct: _unknown_product,
            HTTPStatus.NOT_FOUND: _unknown_path,
            HTTPStatus.METHOD_NOT_ALLOWED: _unknown_path,
        },
    )
    app.router.redirect_slashes = False  # its redirect is a 307
    app.state.faults = faults
    app.state.products = catalogue.Catalogue(products)
    return app


def _product_route(path: str, view: View) -> Route:
    async def endpoint(request: Request) -> Response:
        faults: Faults = request.app.state.faults
        asked_ms = query.delay_ms(request.query_params)
        await asyncio.sleep((faults.delay_ms + asked_ms) / 1000)
        fault = faults.draw()
        if fault is None:
            return _tagged(request, view(request, request.app.state.products))
        if fault == "empty":
            return _tagged(request, view(request, []))
        return faulty_answer(fault, faults)

    return Route(path, endpoint)


def _list_products(request: Request, products: catalogue.Products) -> object:
    return catalogue.page(products, query.page_query(request.query_params))


def _search(request: Request, products: catalogue.Products) -> object:
    found = catalogue.matching(products, query.search_text(request.query_params))
    return _list_products(request, found)


def _category(request: Request, products: catalogue.Products) -> object:
    return _list_products(request, catalogue.in_category(products, request.path_params["slug"]))


def _product(request: Request, products: catalogue.Products) -> object:
    product = catalogue.find(products, request.path_params["product_id"])
    return catalogue.selected(product, query.select_fields(request.query_params))


def _categories(request: Request, products: catalogue.Products) -> object:
    list_url = str(request.url.replace(path="/products/category", query=""))
    return [
        {"slug": slug, "name": slug.replace("-", " ").title(), "url": f"{list_url}/{slug}"}
        for slug in catalogue.category_slugs(products)
    ]


def _category_list(_: Request, products: catalogue.Products) -> object:
    return catalogue.category_slugs(products)


def _tagged(request: Request, content: object) -> Response:
    """Answer with an ETag, or with 304 when the client holds this very answer."""
    response: Response = JSONResponse(content)
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    held = request.headers.get("If-None-Match", "").replace("W/", "").split(",")
    if {tag, "*"} & {candidate.strip() for candidate in held}:
        response = Response(status_code=HTTPStatus.NOT_MODIFIED)
    response.headers["ETag"] = f"W/{tag}"
    return response


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _replace_faults(request: Request) -> Response:
    """Replace all faults; a field left out goes back to its environment variable or default."""
    try:
        faults = Faults.model_validate_json(await request.body())
    except ValidationError as error:
        return JSONResponse({"message": first_problem(error)}, HTTPStatus.BAD_REQUEST)
    request.app.state.faults = faults
    return JSONResponse(faults.model_dump())


async def _replace_changes(request: Request) -> Response:
    """Replace all changes; without any, the catalogue is again as it was at the start."""
    try:
        changes = catalogue.Changes.model_validate_json(await request.body())
    except ValidationError as error:
        return JSONResponse({"message": first_problem(error)}, HTTPStatus.BAD_REQUEST)
    request.app.state.products = request.app.state.products.changed(changes)
    return JSONResponse(changes.model_dump(mode="json"))


async def _without_trailing_slash(request: Request) -> Response:
    # Stripped on both sides: `//host/` must not become a redirect to another host.
    path = "/" + request.path_params["path"].strip("/")
    if path == "/":
        return await _unknown_path(request)
    search = f"?{request.url.query}" if request.url.query else ""
    location = quote(path) + search
    return Response(
        f"Moved Permanently. Redirecting to {location}",
        HTTPStatus.MOVED_PERMANENTLY,
        {"Location": location},
        media_type="text/plain",
    )


async def _bad_request(_: Request, error: Exception) -> Response:
    return JSONResponse({"message": str(error)}, HTTPStatus.BAD_REQUEST)


async def _unknown_product(_: Request, error: Exception) -> Response:
    return JSONResponse({"message": str(error)}, HTTPStatus.NOT_FOUND)


async def _unknown_path(_: Request, __: Exception | None = None) -> Response:
    page = "<!DOCTYPE html><title>Not found</title><h1>Not found</h1>"
    return HTMLResponse(page, HTTPStatus.NOT_FOUND)
