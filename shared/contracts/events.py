"""What the services tell whoever listens."""

from typing import Literal

from shared.contracts.base import Event


class SessionRevoked(Event, name="auth.session.revoked"):
    """A user signed out, or a session was ended for them.

    Its access tokens are void from now on; the last of them expires at ``until`` (seconds since
    1970), and then the revocation can be forgotten.
    """

    session_id: str
    user_id: int
    until: float


class LoginSucceeded(Event, name="auth.login.succeeded"):
    """A user signed in. ``client_network`` is their address, cut to its network."""

    user_id: int
    session_id: str
    at: float  # seconds since 1970
    client_network: str | None


class LoginFailed(Event, name="auth.login.failed"):
    """A sign-in failed. The name that was given is left out: people type passwords there."""

    user_id: int | None
    reason: Literal["unknown_user", "wrong_password", "disabled", "locked_out"]
    at: float  # seconds since 1970
    client_network: str | None
