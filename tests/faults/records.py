"""What was asked and answered, what was accepted, and what was done to the system meanwhile.

Times are those of the campaign's monotonic clock, in seconds.
"""

from collections import Counter
from dataclasses import dataclass, field

OK = "ok"


@dataclass(frozen=True, slots=True)
class Request:
    """A request and how it ended.

    ``outcome`` is ``ok``, the code of a problem object, or what else came of it: ``refused`` (no
    connection), ``cut`` (none any more), ``silent`` (no answer), ``status 500`` and the like.
    ``answered`` says what the answer itself claims to be about, ``digest`` all that it says.
    """

    caller: str
    way: str  # http, direct or blocking
    about: str
    began: float
    ended: float
    deadline_s: float
    outcome: str
    answered: str = ""
    digest: str = ""

    @property
    def is_ok(self) -> bool:
        return self.outcome == OK


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event of which somebody was told that it has happened: it must have its effect once."""

    name: str
    key: str  # that it has in the database: a session's id
    at: float


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing done to the system: from when, until when, and when all was well again."""

    kind: str
    what: str
    began: float
    lifted: float
    healthy: float | None  # none: not within the time there was
    hides_bridge: bool = False  # it cannot answer, nor refuse
    moves_clock: bool = False
    well_meanwhile_s: float | None = None  # after which all was well though it was not taken back
    was_the_end: bool = False  # nothing was well again, for as long as we waited


@dataclass(frozen=True, slots=True)
class Sync:
    """An accepted sync, as the service tells of it at the end."""

    sync_id: str
    status: str
    pages: int | None
    pages_done: int
    products: int
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds."""

    program: str
    pid: int
    age_s: float
    descriptors: int
    rss_kib: int
    threads: int


@dataclass(frozen=True, slots=True)
class Stall:
    """A time in which those who ask were held up themselves, by a busy machine."""

    began: float
    ended: float


@dataclass(slots=True)
class Records:
    """All that is known of a campaign."""

    broker: str = ""  # which release, and how many nodes
    requests: list[Request] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    syncs_accepted: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)  # in order of time
    heard: Counter[str] = field(default_factory=Counter)  # by a listener, by session
    stalls: list[Stall] = field(default_factory=list)
    answered_copies: list[str] = field(default_factory=list)  # of requests
    not_done: list[str] = field(default_factory=list)  # faults that failed themselves
    # read at the end
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)  # (event's name, key)
    syncs: list[Sync] = field(default_factory=list)
    given_up: dict[str, int] = field(default_factory=dict)  # by queue of dead letters of work
    broker_before: Counter[str] = field(default_factory=Counter)
    broker_after: Counter[str] = field(default_factory=Counter)
    left_over: list[str] = field(default_factory=list)  # processes after the end
