"""The benchmark's own sums: figures, shares of a profile, and targets held against them."""

import asyncio
import sys
from dataclasses import replace

import pytest

from benchmarks.comparison import Comparison, Options, Row, middle
from benchmarks.contenders import LOCKS, PEERS
from benchmarks.document import with_report
from benchmarks.goals import Evidence, Goal, goals
from benchmarks.growth import InFlight
from benchmarks.layers import by_layer
from benchmarks.load import Report, Result
from benchmarks.machine import ROOT, Machine
from benchmarks.startup import Startup, by_package
from benchmarks.system import GUEST, with_guests
from benchmarks.tables import table
from benchmarks.usage import ProcessGone, cpu_by_group, memory_by_group

MACHINE = Machine(2, "a CPU", "Linux", "3.11", {}, "2026-01-01 00:00", 0.0)
RESULT = Result(1000.0, 10.0, 20.0, 30.0, {"bridge": 200.0, "rabbitmq": 100.0}, {"bridge": 50.0})


def comparison(*rows: Row) -> Comparison:
    return Comparison(MACHINE, "3.10.8", Options(), 7862, 150.0, list(rows), {})


def goal(evidence: Evidence, what: str) -> Goal:
    [found] = [each for each in goals(evidence) if what in each.what]
    return found


def test_a_target_that_was_not_measured_is_neither_met_nor_missed() -> None:
    found = goals(Evidence())

    assert {each.measured for each in found} == {"not measured"}
    assert {each.is_met for each in found} == {None}


@pytest.mark.parametrize(("rate", "is_met"), [(10_000.0, True), (9_990.0, False)])
def test_a_peer_is_held_against_ours_at_64_connections_of_the_same_run(
    rate: float, is_met: bool
) -> None:
    peer = Row("nameko", 64, RESULT)
    elsewhere = Row("ours", 16, replace(RESULT, requests_per_s=1e6))
    ours = Row("ours", 64, replace(RESULT, requests_per_s=rate))

    found = goal(Evidence(comparison(elsewhere, ours, peer)), "nameko")

    assert found.is_met is is_met


@pytest.mark.parametrize(("cpu_us", "is_met"), [(550.0, True), (551.0, False)])
def test_cpu_per_request_counts_all_processes(cpu_us: float, is_met: bool) -> None:
    costs = {"bridge": 200.0, "worker": 150.0, "rabbitmq": cpu_us - 350.0}

    found = goal(
        Evidence(comparison(Row("ours", 64, replace(RESULT, cpu_us=costs)))), "CPU per request"
    )

    assert found.is_met is is_met


def test_cpu_is_held_against_raw_rpc_and_a_bare_application_together() -> None:
    rows = [
        Row("ours", 64, replace(RESULT, cpu_us={"all": 320.0})),
        Row("raw-pika", 64, replace(RESULT, cpu_us={"all": 170.0})),
        Row("bare-asgi", 64, replace(RESULT, cpu_us={"all": 30.0})),
    ]

    found = goal(Evidence(comparison(*rows)), "CPU against raw-pika RPC")

    assert found.measured == "1.60 times"
    assert found.is_met


def test_a_start_that_takes_too_long_misses_its_target() -> None:
    startup = Startup(MACHINE, 20.0, second_run_s=6.1, worker_ready_s=0.9, imports_ms={})

    assert goal(Evidence(startup=startup), "make run").is_met is False
    assert goal(Evidence(startup=startup), "worker process until").is_met is True


def test_the_middle_of_several_runs_is_taken_figure_by_figure() -> None:
    runs = [
        replace(RESULT, requests_per_s=rate, cpu_us={"bridge": us})
        for rate, us in ((1.0, 9.0), (3.0, 7.0), (2.0, 8.0))
    ]

    found = middle(runs)

    assert found.requests_per_s == 2.0
    assert found.cpu_us == {"bridge": 8.0}


def test_a_report_is_turned_into_costs_of_one_request() -> None:
    report = Report(requests=1000, seconds=2.0, p50_ms=1.0, p95_ms=2.0, p99_ms=3.0)

    result = report.result({"bridge": 0.25}, {"bridge": 50.0})

    assert result.requests_per_s == 500.0
    assert result.cpu_us == {"bridge": 250.0}


async def test_a_process_that_has_ended_is_named_and_not_counted_as_idle() -> None:
    child = await asyncio.create_subprocess_exec("true")
    await child.wait()

    with pytest.raises(ProcessGone, match=f"process {child.pid} has ended"):
        cpu_by_group({"peer": [child.pid]})


async def test_a_child_that_has_ended_meanwhile_is_left_out() -> None:
    story = (
        "import os, time\n"
        "child = os.fork() or os._exit(0)\n"
        "os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n"  # ended, and listed still
        "print(flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", story, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    await parent.stdout.readline()

    found = memory_by_group({"peer": [parent.pid]})

    parent.kill()
    await parent.wait()
    assert found["peer"] > 1


def test_work_for_those_who_hung_up_is_work_on_requests_too() -> None:
    report = Report(requests=900, seconds=2.0, p50_ms=1.0, p95_ms=2.0, p99_ms=3.0)

    result = report.result({"bridge": 0.25}, {"bridge": 50.0}, hung_up=100)

    assert result.requests_per_s == 450.0
    assert result.cpu_us == {"bridge": 250.0}


def test_a_sample_belongs_to_the_innermost_frame_that_a_layer_claims() -> None:
    ours = "/a/shared/postroad"
    stacks = [
        (["main (/a/http_bridge/__main__.py:25)", "encode (/a/pika/spec.py:1)"], 5),
        (
            [
                f"Client._publish ({ours}/messaging/client.py:1)",
                f"Signer.request ({ours}/security/signatures.py:1)",
                f"_b64 ({ours}/security/signatures.py:9)",
            ],
            3,
        ),
        (
            ["Thread._bootstrap (/a/threading.py:1)", f"get ({ours}/security/access_tokens.py:1)"],
            100,
        ),
        (["run (/a/uvicorn/main.py:1)", "Runner.run (/a/asyncio/runners.py:118)"], 2),
    ]

    found = by_layer(stacks)

    assert found == {"pika": 5, "sign": 3, "socket": 2}


def test_imports_are_added_up_by_package() -> None:
    printed = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:      1000 |       1000 |   json.decoder\n"
        "import time:      2000 |       3000 | pika.spec\n"
        "import time:      3000 |       3000 |   pika\n"
    )

    assert by_package(printed) == {"all": 6.0, "pika": 5.0, "standard library": 1.0}


def test_memory_of_requests_under_way_is_compared_between_thirds() -> None:
    samples = [{"bridge": float(mb)} for mb in (10, 90, 50, 60, 55, 58)]
    report = Report(requests=1, seconds=1.0, p50_ms=1.0, p95_ms=1.0, p99_ms=1.0)
    in_flight = InFlight(10_000, report, samples)

    assert in_flight.settled_mb() == {"bridge": 60.0}
    assert in_flight.last_mb() == {"bridge": 58.0}


def test_peers_may_do_everything_in_their_own_virtual_hosts_alone() -> None:
    definitions = {"vhosts": [{"name": "postroad"}], "users": [], "permissions": []}

    found = with_guests(definitions, "secret", ["nameko"])

    assert [host["name"] for host in found["vhosts"]] == ["postroad", "nameko"]
    assert [(each["user"], each["vhost"]) for each in found["permissions"]] == [(GUEST, "nameko")]


def test_a_virtual_host_that_is_ours_is_not_named_twice() -> None:
    definitions = {"vhosts": [{"name": "postroad"}], "users": [], "permissions": []}

    found = with_guests(definitions, "secret", ["postroad"])

    assert found["vhosts"] == [{"name": "postroad"}]


def test_a_report_is_put_between_its_marks_and_nowhere_else() -> None:
    text = "a\n<!-- peers -->\nold\n<!-- end -->\nb\n<!-- layers -->\nkept\n<!-- end -->\n"

    found = with_report(text, "peers", "new\\1\n")

    assert found == text.replace("old", "\nnew\\1\n")


def test_each_peer_has_a_lock_and_the_modules_that_it_runs() -> None:
    for peer in PEERS:
        words = [word for word in (*peer.http, *peer.worker) if word.startswith("benchmarks.")]
        modules = [word.partition(":")[0].replace(".", "/") for word in words]

        assert (LOCKS / f"{peer.lock}.txt").exists()
        assert modules
        assert all((ROOT / f"{module}.py").exists() for module in modules)


def test_a_table_has_its_figures_to_the_right() -> None:
    assert table(["who", "us"], [["ours", "9"], ["theirs", "1,000"]]) == (
        "| who    |    us |\n| ------ | ----: |\n| ours   |     9 |\n| theirs | 1,000 |"
    )
