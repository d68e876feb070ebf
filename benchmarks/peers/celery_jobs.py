"""Celery as a job queue: ``celery_jobs COUNT`` gives jobs out, ``celery worker`` does them."""

import json
import os
import sys
from time import perf_counter, process_time, time

from celery import Celery

app = Celery("jobs", broker=os.environ["PEER_BROKER"])
if os.environ.get("PEER_CONFIRMS"):
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task(name="fetch_page", ignore_result=True)
def fetch_page(sync_id: str, skip: int, limit: int) -> None:
    pass


def main() -> None:
    fetch_page.delay("benchmark", 0, 100)  # connects
    began, began_at, began_cpu_s = perf_counter(), time(), process_time()
    for number in range(int(sys.argv[1])):
        fetch_page.delay("benchmark", number, 100)
    seconds, cpu_s = perf_counter() - began, process_time() - began_cpu_s
    print(json.dumps({"began_at": began_at, "seconds": seconds, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
