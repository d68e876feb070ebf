"""Nameko: an HTTP entrypoint in one service calls another one by RPC."""

import json
from typing import Any

from nameko.rpc import RpcProxy, rpc
from nameko.web.handlers import http
from werkzeug.wrappers import Request, Response

from benchmarks.peers import bearer, catalogue


class Catalogue:
    name = "catalogue"

    @rpc
    def list_products(self, limit: int) -> dict[str, Any]:
        return catalogue.list_products(limit)


class Gateway:
    name = "gateway"
    catalogue = RpcProxy("catalogue")

    @http("GET", "/products")
    def products(self, request: Request) -> Response:
        try:
            bearer.check(request.headers.get("Authorization"))
        except bearer.Unauthorised:
            return Response(status=401)
        page = self.catalogue.list_products(request.args.get("limit", 30, type=int))
        return Response(json.dumps(page), mimetype="application/json")
