"""The pattern of RabbitMQ's tutorial on RPC with pika, behind Flask.

A ``BlockingConnection`` may not be shared by threads, so each of gunicorn's has one.
"""

import json
import os
import threading
import uuid
from typing import Any

import pika
from flask import Flask, Response, abort, jsonify, request
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.peers import bearer

app = Flask(__name__)
local = threading.local()


class CatalogueClient:
    """Asks one question at a time, and waits for its answer."""

    def __init__(self) -> None:
        parameters = pika.URLParameters(os.environ["PEER_BROKER"])
        self._connection = pika.BlockingConnection(parameters)
        self._channel = self._connection.channel()
        self._replies = self._channel.queue_declare(queue="", exclusive=True).method.queue
        self._channel.basic_consume(
            queue=self._replies, on_message_callback=self._on_reply, auto_ack=True
        )
        self._awaited = ""
        self._reply: bytes | None = None

    def list_products(self, **arguments: int) -> Any:
        self._awaited, self._reply = str(uuid.uuid4()), None
        self._channel.basic_publish(
            exchange="",
            routing_key="rpc_queue",
            properties=pika.BasicProperties(reply_to=self._replies, correlation_id=self._awaited),
            body=json.dumps(arguments),
        )
        while self._reply is None:
            self._connection.process_data_events(time_limit=10)
        return json.loads(self._reply)

    def _on_reply(
        self,
        _channel: BlockingChannel,
        _method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        if properties.correlation_id == self._awaited:
            self._reply = body


@app.get("/products")
def products() -> Response:
    try:
        bearer.check(request.headers.get("Authorization"))
    except bearer.Unauthorised:
        abort(401)
    if not hasattr(local, "client"):
        local.client = CatalogueClient()
    return jsonify(local.client.list_products(limit=request.args.get("limit", 30, type=int)))
