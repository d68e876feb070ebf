"""`postroad contracts`: the documents of the contracts, and what a change of them breaks."""

import json
import re
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops.commands.errors import CommandError
from ops.compatibility.contracts import Severity, breaks, changes
from ops.services.manifests import ROOT, events, jobs, manifests, requests
from ops.terminal.text import show
from postroad.asyncapi.document import build_document, describe_error
from postroad.contracts.errors import ERRORS
from postroad.topology.manifest import find_manifests

DOCUMENT_FILE = ROOT / "docs" / "asyncapi.json"
WIRE_FILE = DOCUMENT_FILE.with_name("wire-protocol.md")
RELEASED_FOLDER = DOCUMENT_FILE.with_name("released")

EXAMPLES = """\
examples:
  postroad contracts diff docs/released/asyncapi-0.1.0.json   since then
  postroad contracts diff old.json new.json                   between two documents
  postroad contracts show | jq '.operations | keys'
"""
_MARKS = {
    Severity.BREAKING: "breaks",
    Severity.WARNING: "beware",
    Severity.ADDITION: "new",
}
UNREADABLE = 2  # the exit status when a document cannot be used
_BEGIN, _END = "<!-- errors, by 'postroad contracts write' -->\n", "<!-- end of errors -->\n"
_HEAD = "| code | when | try again? | was it done? |\n| --- | --- | --- | --- |\n"
_NAME = re.compile(r"asyncapi-(\d+)\.(\d+)\.(\d+)\.json")

Document = dict[str, Any]
Version = tuple[int, int, int]


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("show", help="print the document").set_defaults(action=_show)
    actions.add_parser(
        "write", help=f"write docs/{DOCUMENT_FILE.name}, and the errors in docs/{WIRE_FILE.name}"
    ).set_defaults(action=_write)
    actions.add_parser(
        "check",
        help="fail when what 'write' writes is out of date, or breaks the last release",
    ).set_defaults(action=_check)
    comparing = actions.add_parser(
        "diff",
        help="name what changed; fail when it breaks somebody",
        description="Name what changed from one AsyncAPI document to another. Fails when a change "
        "breaks somebody who keeps to the old one, with status 1; with 2 when a document cannot be "
        "read.",
    )
    comparing.add_argument("old", metavar="OLD", type=Path, help="a document")
    comparing.add_argument(
        "new", metavar="NEW", type=Path, nargs="?", help="another one (the present contracts)"
    )
    comparing.set_defaults(action=_diff)
    actions.add_parser(
        "release", help="keep the document as that of its version, for later comparison"
    ).set_defaults(action=_release)


def run(options: Namespace) -> int:
    """Do what the action says; give the exit status."""
    return int(options.action(options))


def _show(_options: Namespace) -> int:
    print(_text(_of(lambda _: True)), end="")
    return 0


def _write(_options: Namespace) -> int:
    for path, text in _generated().items():
        path.write_text(text)
        print(f"wrote {path}")
    return 0


def _check(_options: Namespace) -> int:
    for path, text in _generated().items():
        if not path.exists() or path.read_text() != text:
            raise CommandError(f"{path} is out of date; write it with 'postroad contracts write'")
        print(f"{path.name} is in date")
    document = _of_library()
    released = last_released(RELEASED_FOLDER)
    found = changes(_load(released), document)
    if not breaks(found):
        print(f"nothing breaks {released.name}")
        return 0
    for change in found:
        if change.severity is Severity.BREAKING:
            print(f"{_MARKS[change.severity]:7} {change.sentence}")
    if may_break(_version(released), document["info"]["version"]):
        print(f"version {document['info']['version']} may break {released.name}")
        return 0
    raise CommandError(
        f"this breaks {released.name}; docs/contracts.md says how to do it on purpose"
    )


def _diff(options: Namespace) -> int:
    old = _load(options.old)
    new = _load(options.new) if options.new else _of_library()
    try:
        found = changes(old, new)
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        which = f"{options.old} or {options.new}" if options.new else options.old
        raise CommandError(
            f"{which} is not an AsyncAPI 3.0 document of contracts (at {error})", UNREADABLE
        ) from error
    show(f"{_MARKS[change.severity]:7} {change.sentence}" for change in found)
    if not found:
        print("nothing has changed")
    return 1 if breaks(found) else 0


def _release(_options: Namespace) -> int:
    document = _of_library()
    path = RELEASED_FOLDER / f"asyncapi-{document['info']['version']}.json"
    if path.exists() and path.read_text() != _text(document):
        raise CommandError(
            f"{path.name} is out already, and other than this; raise VERSION in "
            "shared/postroad/asyncapi/document.py"
        )
    path.write_text(_text(document))
    print(f"wrote {path}")
    return 0


def write_own(service: str) -> Path:
    """Write the document of a service's own contracts, and return its path."""
    manifest = next(each for each in find_manifests(ROOT) if each.name == service)
    path = manifest.folder / DOCUMENT_FILE.name
    path.write_text(_text(_of({service}.__contains__)))
    return path


def _generated() -> dict[Path, str]:
    """Return what is written of the contracts, by file."""
    own = {
        each.folder / DOCUMENT_FILE.name: _text(_of({each.name}.__contains__))
        for each in manifests()
        if each.contracts
    }
    return {
        DOCUMENT_FILE: _text(_of_library()),
        WIRE_FILE: with_errors(WIRE_FILE.read_text()),
        **own,
    }


def _of_library() -> Document:
    """Describe the contracts that the library ships: those of services without any of their own."""
    own = {each.name for each in manifests() if each.contracts}
    return _of(lambda service: service not in own)


def _of(is_wanted: Callable[[str], bool]) -> Document:
    """Describe the contracts of services."""
    return build_document(
        {name: each for name, each in requests().items() if is_wanted(each.service)},
        {name: each for name, each in events().items() if is_wanted(each.service)},
        {name: each for name, each in jobs().items() if is_wanted(each.service)},
    )


def with_errors(page: str) -> str:
    """Return a page whose table of errors says what their classes in the contracts do."""
    before, _, rest = page.partition(_BEGIN)
    rows = [
        _row(describe_error(error))
        for error in ERRORS.values()
        if error.__module__.startswith("postroad.contracts.")
    ]
    return "".join([before, _BEGIN, _HEAD, *rows, _END, rest.partition(_END)[2]])


def _row(error: Document) -> str:
    again = "yes" if error["is_retryable"] else "no"
    done = "no"
    if error["may_have_happened"]:
        done = "perhaps"
        again = "if the method is idempotent" if error["is_retryable"] else "no"
    return f"| `{error['code']}` | {error['when']} | {again} | {done} |\n"


def last_released(folder: Path) -> Path:
    """Find the document of the highest version.

    Raises:
        CommandError: there is none.
    """
    files = [path for path in folder.glob("asyncapi-*.json") if _NAME.fullmatch(path.name)]
    if not files:
        raise CommandError(f"no released document in {folder}")
    return max(files, key=lambda path: _numbers(_version(path)))


def may_break(released: str, present: str) -> bool:
    """Say whether a version may break what keeps to another one (Semantic Versioning 2.0.0)."""
    old, new = _numbers(released), _numbers(present)
    return new[0] > old[0] or (new[0] == old[0] == 0 and new[1] > old[1])


def _version(released: Path) -> str:
    return released.stem.removeprefix("asyncapi-")


def _numbers(version: str) -> Version:
    major, minor, patch = map(int, version.split("."))
    return major, minor, patch


def _load(path: Path) -> Document:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", UNREADABLE) from error
    except (ValueError, RecursionError) as error:  # or it is nested without end
        raise CommandError(f"{path} is not JSON", UNREADABLE) from error
    if not isinstance(document, dict) or not {"operations", "components"} <= document.keys():
        raise CommandError(f"{path} is not an AsyncAPI document of contracts", UNREADABLE)
    return document


def _text(document: Document) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
