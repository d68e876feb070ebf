"""The same answer with no broker and no token: Flask, one gunicorn process.

Runs in an environment of its own (``benchmarks/requirements.txt``); the page is the one that the
system under test answers, saved by the benchmark.
"""

import json
import os
from pathlib import Path

from flask import Flask, Response, jsonify

app = Flask(__name__)
PAGE = json.loads(Path(os.environ["BASELINE_PAGE"]).read_text())


@app.get("/products")  # type: ignore[untyped-decorator]  # not in our environment
def products() -> Response:
    return jsonify(PAGE)
