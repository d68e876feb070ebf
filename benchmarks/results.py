"""What is kept of a benchmark: JSON, a part a file."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")

FOLDER = Path(__file__).parent / "results"


def write(path: Path, results: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(TypeAdapter(type(results)).dump_json(results, indent=1) + b"\n")
    print(f"wrote {path}", flush=True)


def read(path: Path, kind: type[T]) -> T | None:
    """Read what a part has left; none when it has not been measured."""
    return TypeAdapter(kind).validate_json(path.read_bytes()) if path.exists() else None
