"""Limits and constants of the wire that more than one room needs."""

# Of a body; a worker's prefetch times this is what its queue can make it hold in memory. The broker
# is told the same (max_message_size in rabbitmq/rabbitmq.conf).
MESSAGE_MAX_BYTES = 4 * 2**20

# Of a request's body. The largest that a contract of ours allows takes less than half of it.
REQUEST_MAX_BYTES = 64 * 2**10

PROBLEM = "problem+json"
"""What a reply is when it is an error: the claim ``cty``, and ``application/...`` as a property."""

LONGEST_DEADLINE_S = 60.0
"""How far ahead a request's deadline may be."""

RETRY_DELAYS_S = (1, 10, 60, 600)
"""How long work that failed waits before the 2nd, 3rd, 4th and 5th attempt, unless its job says.

Each has a wait queue of its own, so a job can choose no other delays.
"""

LONGEST_WAIT_S = 30 * 86_400.0
"""The longest time that a setting may name: infinity, and what timers cannot hold, is longer."""

LEEWAY_S = 5.0
"""How far two services' clocks may be apart."""
