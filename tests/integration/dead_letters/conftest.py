"""One broker for all tests of dead letters, and the command."""

import asyncio
from collections.abc import Iterator

import pytest

from ops.commands.dispatch import run_command
from ops.local.running import addresses
from ops.services.operator import OPERATOR, settings_as
from tests.integration.dead_letters.running import Command, Running


@pytest.fixture(scope="package")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("state"))
    asyncio.run(running.broker.start())
    try:
        with running.state.held("tests"):
            running.state.write_running(addresses("", running.broker))
            settings_as(running.state, OPERATOR)
            yield running
    finally:
        running.broker.kill()


@pytest.fixture
def running(started: Running) -> Running:
    started.empty()
    started.state.dead_letters_log.unlink(missing_ok=True)
    return started


@pytest.fixture
def command(running: Running) -> Command:
    """Run the command, and give its exit status."""

    def run(*arguments: str) -> int:
        state = ["--state", str(running.state.folder)]
        return run_command(["dead-letters", *arguments, *state])

    return run
