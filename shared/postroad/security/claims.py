"""What a signature says of its message: the claims in its protected header.

alg   HS256 with the pairwise key of two services, or EdDSA for an event, a job or a redrive
kid   that key
typ   request, reply, event, job or redrive (an event or a job that a person sends again)
iss   the service that signed
aud   the one service it is for; "events" for an event
op    the method, or the event's or the job's name
iat   when it was signed, and
exp   the absolute deadline, both in seconds since 1970 with a fraction
jti   the message's own id
cid   the correlation id: one for everything a request at the edge sets off
rto   a request's reply address
ath   a request's user token: SHA-256 in base64url, as in RFC 9449
rid   a reply's request: its ``jti``
cty   "problem+json" when a reply is an error
dat   since when a reply's data is known, in seconds since 1970; left out when it is new
old   true when that data is older than it should be
tms   a reply's times in microseconds: its request in the queue, in the worker, and how much of
      that the worker waited for an upstream, left out when it asked none
org   a redrive's origin: the service that signed the event or the job at first
nth   which redrive of its message this is, from 1 on
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Reason(StrEnum):
    """Why a message is refused; counted and logged under this name."""

    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    WRONG_TYPE = "wrong_type"
    SENDER_MISMATCH = "sender_mismatch"
    WRONG_AUDIENCE = "wrong_audience"
    CARBON_COPY = "carbon_copy"
    WRONG_REPLY_ADDRESS = "wrong_reply_address"
    EXPIRED = "expired"
    DEADLINE_TOO_FAR = "deadline_too_far"
    CALLER_NOT_ALLOWED = "caller_not_allowed"
    REPLAYED = "replayed"
    TOKEN_MISMATCH = "token_mismatch"  # noqa: S105  # a reason, no secret


class Refused(Exception):
    """A message fails a check: it is dead-lettered and never answered."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


Microseconds = Annotated[int, Field(ge=0, lt=2**53)]  # what any reader of JSON holds exactly
# what a reply repeats of its request: plain, since it is written into JSON as it is
PlainId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]


# in seconds since 1970, until the year 9999: what everybody's clock and calendar can hold
Moment = Annotated[float, Field(ge=0, lt=253_402_300_800)]


class Claims(BaseModel):
    """The protected header of a signature; the module's docstring explains each field."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    alg: Literal["HS256", "EdDSA"]
    b64: Literal[False]
    crit: list[Literal["b64"]] = Field(min_length=1, max_length=1)
    kid: str
    typ: Literal["request", "reply", "event", "job", "redrive"]
    iss: str
    aud: str
    op: PlainId
    iat: Moment
    exp: Moment
    jti: PlainId
    cid: PlainId
    rto: str | None = None
    ath: str | None = None
    rid: str | None = None
    cty: str | None = None
    dat: Moment | None = None
    old: bool = False
    tms: list[Microseconds] | None = Field(default=None, min_length=2, max_length=3)
    org: str | None = None
    nth: int = Field(default=0, ge=0, le=1_000_000)

    @property
    def origin(self) -> str:
        """Name the service whose message it is, whoever sent it again."""
        return self.iss if self.org is None else self.org
