"""Calls to other services, each through the gate of the service that it calls."""

from collections.abc import Hashable

from http_bridge.calls.gate import Gate
from postroad.contracts.base import ReplyT, Request
from postroad.messaging.client import Client, Reply
from postroad.security.access_tokens import AccessToken


class Calls:
    """Calls as ``Client`` does, or refuses at once what would wait for too long.

    Each service has a gate of its own: too many sign-ins keep nobody from products. Whoever has
    not signed in yet is told from others by the client's ``address``.
    """

    def __init__(self, client: Client, *, deadline_s: float, in_flight_max: int) -> None:
        """``deadline_s``: how long callers wait at most, by which the gates are set."""
        self._client = client
        self._deadline_s = deadline_s
        self._in_flight_max = in_flight_max
        self._gates: dict[str, Gate] = {}

    async def call(
        self,
        request: Request[ReplyT],
        *,
        timeout_s: float,
        correlation_id: str,
        user: AccessToken | None = None,
        address: str | None = None,
    ) -> Reply[ReplyT]:
        """Send a request and return its reply as it came.

        Raises:
            Overloaded: too many are waiting for this service; nothing was sent.
            ServiceError: what else ``Client.call_raw`` raises.
        """
        with self._gate(request.service()).enter(_caller(user, address)):
            return await self._client.call_raw(
                request, timeout_s=timeout_s, user=user, correlation_id=correlation_id
            )

    def _gate(self, service: str) -> Gate:
        gate = self._gates.get(service)
        if gate is None:
            gate = Gate(deadline_s=self._deadline_s, most=self._in_flight_max)
            self._gates[service] = gate
        return gate


def _caller(user: AccessToken | None, address: str | None) -> Hashable:
    return user.user_id if user is not None else address
