"""Bodies of HTTP responses that are no contract's reply, as the OpenAPI document shows them."""

from pydantic import BaseModel

from postroad.contracts.catalog import Product, Sync


class SignedIn(BaseModel):
    """An access token, good for ``expires_in`` seconds, and a refresh token, good for one use.

    They are set as the cookies ``token`` and ``refresh_token`` too.
    """

    message: str
    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


class SignedOut(BaseModel):
    """The session is over."""

    message: str


class OneProduct(BaseModel):
    """One product."""

    data: Product


class OneSync(BaseModel):
    """How far a sync is."""

    data: Sync


class HttpProblem(BaseModel):
    """An error (RFC 9457). ``code`` is stable; ``error`` repeats ``detail``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    error: str
