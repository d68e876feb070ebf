"""The RabbitMQ that is installed on this machine, as a node of a campaign's."""

import os
import signal

from ops.local.broker import PrivateBroker
from ops.state.folder import StateFolder


class OwnNode:
    """A private node on loopback."""

    name = "broker"

    def __init__(self, broker: PrivateBroker, state: StateFolder) -> None:
        self._broker = broker
        self._state = state
        self.amqp_port = broker.ports.amqp

    @property
    def pid(self) -> int | None:
        return self._broker.pid

    async def start(self) -> None:
        await self._broker.start()
        self.amqp_port = self._broker.ports.amqp  # it moves when somebody took its port

    async def stop(self) -> None:
        await self._broker.stop()

    async def kill(self) -> None:
        self._broker.kill()

    async def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def ctl(self, *arguments: str) -> str:
        return await self._broker.ctl(*arguments)

    async def import_definitions(self) -> None:
        await self.ctl("import_definitions", str(self._state.definitions_file))
        await self._broker.keep_definitions()

    def _signal(self, number: signal.Signals) -> None:
        assert self.pid is not None
        os.kill(self.pid, number)
