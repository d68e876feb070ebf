"""What the services tell whoever listens."""

from typing import Literal

from pydantic import FiniteFloat

from postroad.contracts.base import Event


class SessionRevoked(Event, name="auth.session.revoked"):
    """A user signed out, or a session was ended for them.

    Its access tokens are void from now on; the last of them expires at ``until`` (seconds since
    1970), and then the revocation can be forgotten.
    """

    session_id: str
    user_id: int
    until: float
    at: float | None = None  # null from a service older than these two
    reason: str | None = None  # signed_out, token_reused, disabled, new_password or replaced


class LoginSucceeded(Event, name="auth.login.succeeded"):
    """A user signed in. ``client_network`` is their address, cut to its network."""

    user_id: int
    session_id: str
    at: float  # seconds since 1970
    client_network: str | None


class LoginFailed(Event, name="auth.login.failed"):
    """A sign-in failed, or a change of password for want of the current one.

    The name that was given is left out: people type passwords there.
    ``locked_out`` follows the failure after which no more may fail for a while, and says how many
    ``attempts`` that took; those that are refused from then on are not told one by one.
    """

    user_id: int | None
    reason: Literal["unknown_user", "wrong_password", "disabled", "locked_out"]
    at: float  # seconds since 1970
    client_network: str | None
    attempts: int = 1


class SyncRequested(Event, name="catalog.sync.requested"):
    """The stored catalogue is to be brought up to date; ``GetSync`` says how far it is."""

    sync_id: str


class ProductAdded(Event, name="catalog.product.added"):
    """A product is in the catalogue that was not there before."""

    product_id: int
    title: str
    price: FiniteFloat  # in the upstream's currency units
    sync_id: str


class ProductPriceChanged(Event, name="catalog.product.price_changed"):
    """A product costs more or less than before."""

    product_id: int
    old_price: FiniteFloat
    new_price: FiniteFloat
    sync_id: str


class ProductRemoved(Event, name="catalog.product.removed"):
    """A product is in the catalogue no more."""

    product_id: int
    sync_id: str
