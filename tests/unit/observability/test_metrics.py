"""What is counted is told as Prometheus reads it, and to nobody who does not ask properly."""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as PrometheusHistogram

from http_bridge.http.metrics import METHODS, HttpMetrics
from ops.local.ports import LOOPBACK, free_ports
from postroad.contracts.errors import Unavailable
from postroad.observability import metrics_server
from postroad.observability.metrics import (
    BUCKETS_S,
    Histogram,
    Histograms,
    Metric,
    by_label,
    number,
)
from postroad.observability.metrics_server import (
    CONNECTIONS_MAX,
    HEAD_MAX_BYTES,
    serving_metrics,
)
from postroad.settings import MetricsSettings
from postroad.testing import eventually
from tests.support.bridges import ROUTES
from tests.support.scraping import Scrape, scrape

DURATIONS_S = (0.0, 0.0004, 0.0005, 0.00051, 0.02, 0.05, 0.07, 1.0, 59.0, 60.0, 61.0, 7200.0)


def counting(value: float) -> Metric:
    return Metric("counter", "things_total", "Things", number(lambda: value))


def test_a_spread_is_what_prometheus_own_histogram_would_be() -> None:
    theirs = PrometheusHistogram(
        "took_seconds", "Time", ["what"], buckets=BUCKETS_S, registry=(own := CollectorRegistry())
    )
    ours = Histograms()

    for seconds in DURATIONS_S:
        theirs.labels("it").observe(seconds)
        ours["it"].add(seconds)

    measure = Metric("histogram", "took_seconds", "Time", by_label(lambda: ours), ("what",))
    told = {
        (sample.name, tuple(sample.labels.items())): sample.value
        for sample in Scrape.of_text(generate_latest(own).decode()).samples
        if not sample.name.endswith("_created")
    }
    scraped = Scrape.of([measure])
    for (name, labels), value in told.items():
        assert scraped.value(name, **dict(labels)) == pytest.approx(value), (name, labels)
    assert len([name for name in scraped.samples if name.name.startswith("took")]) == len(told)


def test_a_spread_that_was_never_added_to_is_all_zeros() -> None:
    scraped = Scrape.of([Metric("histogram", "took_seconds", "Time", lambda: {(): Histogram()})])

    assert scraped.value("took_seconds_count") == scraped.value("took_seconds_sum") == 0


def test_labels_are_escaped() -> None:
    strange = 'a"b\\c\nd'
    measure = Metric("gauge", "odd", "Odd", by_label(lambda: {strange: 1.0}), ("what",))

    assert Scrape.of([measure]).labels("odd", "what") == {strange}


def test_what_cannot_be_known_now_is_left_out_and_the_rest_is_told() -> None:
    def away() -> Any:
        raise Unavailable("the database is away")

    scraped = Scrape.of([Metric("gauge", "rows", "Rows", away), counting(3)])

    assert "rows" not in scraped.names
    assert scraped.value("things_total") == 3


def test_the_process_and_the_version_are_told_too() -> None:
    names = Scrape.of([]).names

    assert {"postroad_build_info", "process_cpu_seconds_total"} <= names


async def test_without_prometheus_client_a_metrics_port_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "postroad.observability.prometheus", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    async with serving_metrics(MetricsSettings(port=None), [counting(1)]):
        pass
    with pytest.raises(SystemExit, match=r"METRICS_PORT: .*pip install 'postroad\[metrics\]'"):
        async with serving_metrics(MetricsSettings(port=0), []):
            pass


async def test_without_a_port_nothing_listens() -> None:
    before = open_files()

    async with serving_metrics(MetricsSettings(port=None), [counting(1)]):
        assert open_files() == before


async def test_metrics_are_served_while_the_context_lasts() -> None:
    (port,) = free_ports(1)

    async with serving_metrics(MetricsSettings(port=port), [counting(4)]):
        assert (await scrape(port)).value("things_total") == 4
        assert (await scrape(port)).value("things_total") == 4

    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(LOOPBACK, port)


async def test_they_are_on_loopback_unless_told_otherwise() -> None:
    assert MetricsSettings(port=1).host == LOOPBACK


async def test_a_port_that_is_taken_ends_the_start_and_says_so() -> None:
    (port,) = free_ports(1)

    async with serving_metrics(MetricsSettings(port=port), []):
        with pytest.raises(SystemExit, match="METRICS_PORT"):
            async with serving_metrics(MetricsSettings(port=port), []):
                pass


@pytest.mark.parametrize(
    "head",
    [
        b"POST /metrics HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /metrics/../secret HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
        b"\xff\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"x" * (2 * HEAD_MAX_BYTES),
        b"GET /met",
        b"",
    ],
)
async def test_who_asks_for_something_else_gets_nothing_and_harms_nobody(head: bytes) -> None:
    (port,) = free_ports(1)

    async with serving_metrics(MetricsSettings(port=port), [counting(1)]):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(head)
        writer.write_eof()
        answer = await reader.read()
        writer.close()

        assert b"things" not in answer
        assert answer == b"" or answer.startswith(b"HTTP/1.1 404 ")
        assert (await scrape(port)).value("things_total") == 1


async def test_who_connects_without_end_takes_no_more_than_a_few_files() -> None:
    (port,) = free_ports(1)

    async with serving_metrics(MetricsSettings(port=port), [counting(1)]):
        before = open_files()
        silent = [await asyncio.open_connection(LOOPBACK, port) for _ in range(200)]

        assert (await scrape(port)).value("things_total") == 1
        await eventually(
            lambda: open_files() <= before + len(silent) + CONNECTIONS_MAX, timeout_s=2
        )
        for _, writer in silent:
            writer.close()


async def test_who_does_not_take_the_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "PATIENCE_S", 0.3)
    (port,) = free_ports(1)
    much = Metric("counter", "things_total", "x" * 8_000_000, number(lambda: 1))

    async with serving_metrics(MetricsSettings(port=port), [much]):
        before = open_files()
        with socket.create_connection((LOOPBACK, port)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")

            await eventually(lambda: open_files() == before + 2)
            await eventually(lambda: open_files() == before + 1, timeout_s=5)


def test_each_method_of_the_table_of_routes_has_its_own_label() -> None:
    assert {route.method for route in ROUTES} <= set(METHODS)


def test_methods_that_are_none_of_ours_share_one_label() -> None:
    answered = HttpMetrics()

    for number_ in range(300):
        answered.add("/products", f"METHOD{number_}", 405, 0.001)

    scraped = Scrape.of(answered.metrics(lambda: 0))
    assert scraped.value("postroad_http_requests_total", route="/products", method="other") == 300


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
