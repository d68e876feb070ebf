"""The pattern of RabbitMQ's tutorial on RPC with pika: the side that answers."""

import json
import os

import pika
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.peers import catalogue

QUEUE = "rpc_queue"


def on_request(
    channel: BlockingChannel,
    method: pika.spec.Basic.Deliver,
    properties: pika.BasicProperties,
    body: bytes,
) -> None:
    page = catalogue.list_products(**json.loads(body))
    channel.basic_publish(
        exchange="",
        routing_key=properties.reply_to,
        properties=pika.BasicProperties(correlation_id=properties.correlation_id),
        body=json.dumps(page),
    )
    channel.basic_ack(method.delivery_tag)


def main() -> None:
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["PEER_BROKER"]))
    channel = connection.channel()
    channel.queue_declare(queue=QUEUE)
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue=QUEUE, on_message_callback=on_request)
    channel.start_consuming()


if __name__ == "__main__":
    main()
