"""Asking a service whether its database would take a change now.

Each asks for what its service does with the database, so that whoever may do that may ask.
"""

from postroad.contracts.base import Message, Request


class Readiness(Message):
    """Whether a change would be taken: ``problem`` says why not, null if it would."""

    problem: str | None = None


class ProbeSessions(Request[Readiness], method="auth.sessions.probe"):
    """Whether a session could begin. A second delivery asks again, which is harmless."""


class ProbeSyncs(Request[Readiness], method="catalog.syncs.probe"):
    """Whether a sync could start. A second delivery asks again, which is harmless."""
