"""Celery behind Flask: each request waits for its task's result."""

from flask import Flask, Response, abort, jsonify, request

from benchmarks.peers import bearer
from benchmarks.peers.celery_shop import list_products

app = Flask(__name__)


@app.get("/products")
def products() -> Response:
    try:
        bearer.check(request.headers.get("Authorization"))
    except bearer.Unauthorised:
        abort(401)
    task = list_products.delay(request.args.get("limit", 30, type=int))
    return jsonify(task.get(timeout=10))
