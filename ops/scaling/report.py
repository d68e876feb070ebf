"""What `postroad up` tells other commands of its processes, by a file: we speak no HTTP inside."""

from pydantic import AwareDatetime, BaseModel, ValidationError

from ops.state.folder import StateError, StateFolder


class Change(BaseModel):
    """A decision that changed something."""

    at: AwareDatetime
    program: str
    before: int
    after: int
    reason: str


class ProgramReport(BaseModel):
    """One program's processes; ``least`` and ``most`` are None when it is not scaled."""

    wanted: int
    pids: list[int]
    draining: int
    crashes: int
    metrics_ports: list[int] = []  # on loopback, one for each process
    least: int | None = None
    most: int | None = None


class Report(BaseModel):
    """All programs, in the order in which they were started, and the last scaling decisions."""

    programs: dict[str, ProgramReport]
    changes: list[Change]
    metrics_port: int | None = None  # of `postroad up` itself, on loopback


def read_report(state: StateFolder) -> Report | None:
    """Read what the running system reports, none when it does not.

    Raises:
        StateError: the file is broken.
    """
    text = state.scaling()
    try:
        return None if text is None else Report.model_validate_json(text)
    except ValidationError as error:
        raise StateError(f"{state.folder}: scaling.json is broken: {error}") from error
