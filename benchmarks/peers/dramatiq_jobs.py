"""Dramatiq: ``dramatiq_jobs COUNT`` gives jobs out, the command ``dramatiq`` does them."""

import json
import os
import sys
from time import perf_counter, process_time, time

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

dramatiq.set_broker(
    RabbitmqBroker(
        url=os.environ["PEER_BROKER"], confirm_delivery=bool(os.environ.get("PEER_CONFIRMS"))
    )
)


@dramatiq.actor
def fetch_page(sync_id: str, skip: int, limit: int) -> None:
    pass


def main() -> None:
    fetch_page.send("benchmark", 0, 100)  # connects, and declares the queue
    began, began_at, began_cpu_s = perf_counter(), time(), process_time()
    for number in range(int(sys.argv[1])):
        fetch_page.send("benchmark", number, 100)
    seconds, cpu_s = perf_counter() - began, process_time() - began_cpu_s
    print(json.dumps({"began_at": began_at, "seconds": seconds, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
