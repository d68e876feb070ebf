"""Which code belongs to which program of `postroad up`."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from ops.services.manifests import ROOT, manifests
from postroad import version
from postroad.topology.manifest import FILE_NAME, Manifest

LIBRARY = Path(version.__file__).parent
SAMPLE_API = ROOT / "sample_api"
UPSTREAM = "upstream"


def code() -> dict[str, tuple[Path, ...]]:
    """Return the files and folders that each program is made of, apart from dependencies.

    Who offers HTTP also reads what the other services offer: their manifests, and their contracts.
    """
    offered = tuple(path for each in manifests() for path in _offered_by(each))
    made_of: dict[str, tuple[Path, ...]] = {UPSTREAM: (SAMPLE_API,)}
    for each in manifests():
        more = offered if each.rights.offers_http else ()
        made_of |= dict.fromkeys(each.programs, (each.folder, LIBRARY, *more))
    return made_of


def http_programs() -> set[str]:
    """Return the programs that answer HTTP."""
    return {name for each in manifests() if each.rights.offers_http for name in each.programs}


def folders() -> list[Path]:
    """Return the folders in which a change belongs to a program, or to a service that is new."""
    packages = (path.parent for path in ROOT.glob(f"*/{FILE_NAME}"))
    return [LIBRARY, SAMPLE_API, *packages]


def concerned(changed: Iterable[Path]) -> list[str]:
    """Return the programs to which changed files belong, in the order in which they start."""
    files = list(changed)
    return [
        name
        for name, paths in code().items()
        if any(file.is_relative_to(path) for file in files for path in paths)
    ]


def _offered_by(manifest: Manifest) -> Iterator[Path]:
    yield manifest.folder / FILE_NAME
    for module in manifest.contracts:
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            file = Path(spec.origin)
            yield file.parent if file.name == "__init__.py" else file
