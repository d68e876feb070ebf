"""What the topology's definitions say to the in-memory broker: where messages go, who may what."""

import re
from collections.abc import Mapping
from typing import Any

from postroad.topology.definitions import Definitions

DEFAULT_EXCHANGE = "amq.default"  # what permissions call the exchange whose name is empty


class ChannelClosed(Exception):
    """The broker refuses by closing the channel, with all that is under way on it."""


class Rules:
    """Definitions, interpreted as RabbitMQ does."""

    def __init__(self, definitions: Definitions) -> None:
        self._kinds = {exchange["name"]: exchange["type"] for exchange in definitions["exchanges"]}
        self._bindings: list[Mapping[str, Any]] = list(definitions["bindings"])
        self._policies = sorted(
            definitions["policies"], key=lambda policy: -int(policy["priority"])
        )
        self._permissions = {entry["user"]: entry for entry in definitions["permissions"]}
        self._topic_permissions = {
            (entry["user"], entry["exchange"]): entry for entry in definitions["topic_permissions"]
        }

    def policy(self, queue: str) -> Mapping[str, Any]:
        """Give the one policy that applies to a queue."""
        for policy in self._policies:
            if re.search(policy["pattern"], queue):
                return dict(policy["definition"])
        return {}

    def allows(self, user: str, act: str, name: str) -> bool:
        """Return whether a user has a permission: ``act`` is configure, write or read."""
        permitted = self._permissions.get(user, {}).get(act, "")
        return _allows(permitted, name or DEFAULT_EXCHANGE)

    def check(self, user: str, act: str, name: str) -> None:
        """Check a permission, as ``allows`` does.

        Raises:
            ChannelClosed: the user does not have it.
        """
        if not self.allows(user, act, name):
            raise ChannelClosed(f"403 {user} may not {act} {name or DEFAULT_EXCHANGE}")

    def check_topic(self, user: str, act: str, exchange: str, routing_key: str) -> None:
        """Check a topic permission; an exchange without an entry is open.

        Raises:
            ChannelClosed: the user does not have it.
        """
        entry = self._topic_permissions.get((user, exchange))
        if self._kinds.get(exchange) != "topic" or entry is None:
            return
        if not _allows(entry[act], routing_key):
            raise ChannelClosed(f"403 {user} may not {act} {routing_key} on {exchange}")

    def bind(self, exchange: str, queue: str, routing_key: str) -> None:
        """Add a binding."""
        self._bindings.append(
            {"source": exchange, "destination": queue, "routing_key": routing_key}
        )

    def unbind(self, queue: str) -> None:
        """Remove a queue's bindings."""
        self._bindings = [each for each in self._bindings if each["destination"] != queue]

    def route(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> list[str]:
        """Name the queues that a message goes to, each once.

        Raises:
            ChannelClosed: there is no such exchange.
        """
        keys = [routing_key, *headers.get("CC", ()), *headers.get("BCC", ())]
        if not exchange:
            return list(dict.fromkeys(keys))
        if exchange not in self._kinds:
            raise ChannelClosed(f"404 no exchange {exchange}")
        matched = (
            binding["destination"]
            for binding in self._bindings
            if binding["source"] == exchange and self._matches(binding, keys)
        )
        return list(dict.fromkeys(matched))

    def _matches(self, binding: Mapping[str, Any], keys: list[str]) -> bool:
        if self._kinds[binding["source"]] == "topic":
            pattern = binding["routing_key"].split(".")
            return any(_matches_topic(pattern, key.split(".")) for key in keys)
        return binding["routing_key"] in keys


def _allows(pattern: str, name: str) -> bool:
    return bool(pattern) and re.search(pattern, name) is not None


def _matches_topic(pattern: list[str], words: list[str]) -> bool:
    """Match word by word: ``*`` is one word, ``#`` any number of them."""
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(_matches_topic(rest, words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and first in ("*", words[0]) and _matches_topic(rest, words[1:])
