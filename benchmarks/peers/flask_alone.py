"""Flask with no broker at all: the products are in its own memory."""

from flask import Flask, Response, abort, jsonify, request

from benchmarks.peers import bearer, catalogue

app = Flask(__name__)


@app.get("/products")
def products() -> Response:
    try:
        bearer.check(request.headers.get("Authorization"))
    except bearer.Unauthorised:
        abort(401)
    return jsonify(catalogue.list_products(request.args.get("limit", 30, type=int)))
