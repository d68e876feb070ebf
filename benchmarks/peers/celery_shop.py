"""Celery: a task whose result comes back over ``rpc://``."""

import os
from typing import Any

from celery import Celery

from benchmarks.peers import catalogue

app = Celery("shop", broker=os.environ["PEER_BROKER"], backend="rpc://")


@app.task
def list_products(limit: int) -> dict[str, Any]:
    return catalogue.list_products(limit)
