"""The parts of the fault campaign that need no system: what is chosen, and what is printed."""

import asyncio
import re
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from postroad.testing import eventually
from tests.faults.campaign import deal
from tests.faults.checker import Finding
from tests.faults.expected import answers
from tests.faults.kinds import ALL_KINDS as FAULTS
from tests.faults.proxy import Line, Proxy
from tests.faults.table import report
from tests.unit.faults.test_checker import ASKED, FAULT, records

ROOT = Path(__file__).parents[3]
DOCUMENTATION = (ROOT / "docs" / "faults.md").read_text()
KINDS = ["one", "two", "three"]


def test_kinds_are_dealt_equally_and_the_same_seed_deals_the_same() -> None:
    dealt = deal(KINDS, 31, seed=4)

    assert len(dealt) == 31
    assert max(Counter(dealt).values()) - min(Counter(dealt).values()) <= 1
    assert dealt == deal(KINDS, 31, seed=4) != deal(KINDS, 31, seed=5)


def test_the_documentation_names_each_kind() -> None:
    rows = [row for row in DOCUMENTATION.splitlines() if row.startswith("| `")]

    assert re.findall(r"`([a-z]+_[a-z_]+)`", "\n".join(rows)) == list(FAULTS)


def test_no_two_right_answers_are_the_same() -> None:
    right = answers()

    assert len(set(right.values())) == len(right)


def test_the_table_shows_the_longest_time_without_an_answer_within_a_fault() -> None:
    seen = records()
    seen.faults = [replace(FAULT, began=10.0, lifted=12.0, healthy=20.0)]
    times = (9.0, 11.0, 13.5, 19.0, 40.0)
    seen.requests = [replace(ASKED, began=at, ended=at) for at in times]

    text = report(seen, [], seed=1, took_s=60)

    assert "| kill worker | 1 | 3 | 0 | 5.5 s | 8.0 s |" in text


def test_the_table_says_that_a_kind_was_not_recovered_from() -> None:
    seen = records()
    seen.faults.append(replace(FAULT, healthy=None))

    assert "| not in time |" in report(seen, [], seed=1, took_s=60)


def test_the_table_shows_after_how_long_all_was_well_without_a_node() -> None:
    seen = records()
    assert "without the node" not in report(seen, [], seed=1, took_s=60)

    seen.faults.append(replace(FAULT, kind="kill_leader", well_meanwhile_s=4.5))
    text = report(seen, [], seed=1, took_s=60)

    assert re.search(r"\| kill leader \|.*\| 4\.5 s \| 1\.5 s \|\n", text)
    assert re.search(r"\| kill worker \|.* s \| \| 1\.5 s \|\n", text)


def test_the_report_says_which_brokers_there_were() -> None:
    seen = records()
    seen.broker = "RabbitMQ 4.3.6, one node"

    assert f"\n{seen.broker}; " in report(seen, [], seed=1, took_s=60)


def test_the_report_counts_and_names_what_must_not_be() -> None:
    text = report(records(), [Finding("lost", "an event")], seed=1, took_s=60)

    assert "| lost | 1 |" in text
    assert "| doubled | 0 |" in text
    assert text.endswith("- lost: an event\n")


async def test_a_paused_proxy_holds_back_what_comes_and_passes_it_on_afterwards() -> None:
    heard = bytearray()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(100))
        heard.extend(await reader.read(100))
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1") as server:
        proxy = Proxy(server.sockets[0].getsockname()[1])
        await proxy.open()
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"before")
        await eventually(lambda: heard == b"before")

        proxy.pause()
        writer.write(b", after")
        await eventually(lambda: proxy.held_bytes == len(b", after"))
        assert heard == b"before"

        proxy.resume()
        await eventually(lambda: heard == b"before, after")
        writer.close()
        await proxy.shut()


async def test_a_line_is_cut_before_each_of_its_nodes() -> None:
    ended = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(1)
        writer.close()
        ended.append(writer)

    async with (
        await asyncio.start_server(hear, "127.0.0.1") as one,
        await asyncio.start_server(hear, "127.0.0.1") as other,
    ):
        line = Line([server.sockets[0].getsockname()[1] for server in (one, other)])
        await line.open()
        opened = [await asyncio.open_connection("127.0.0.1", port) for port in line.ports]

        line.cut()

        for reader, writer in opened:
            assert await reader.read(1) == b""
            writer.close()
            await writer.wait_closed()
        await eventually(lambda: len(ended) == 2)
        await line.shut()
