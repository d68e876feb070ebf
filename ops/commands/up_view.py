"""What `postroad up` prints: the logs of its programs, and how to begin once it is up."""

import os
import shlex
import sys
from contextlib import suppress

from ops.logs.lines import Renderer, parse_line
from ops.state.folder import StateFolder
from ops.terminal.colours import wants_colours
from postroad.plain_text import plain_lines


def show_log(lines: bytes) -> None:
    """Show lines of a log as people like them, unless ``LOG_FORMAT`` says otherwise."""
    if os.environ.get("LOG_FORMAT", "console") == "json":
        text = plain_lines(lines.decode(errors="replace"))
    else:
        render = Renderer(has_colours=wants_colours())
        each = lines.removesuffix(b"\n").split(b"\n")
        text = "".join(f"{render(parse_line('', line))}\n" for line in each)
    with suppress(OSError):  # a terminal that has gone
        sys.stdout.write(text)
        sys.stdout.flush()


def welcome(url: str, state: StateFolder, elapsed_s: float, *, reloads: bool) -> str:
    """Return what is printed once everything runs."""
    jar = shlex.quote(str(state.cookie_file))
    sign_in = '{"username":"admin","password":"admin"}'
    reloading = "A change of the code restarts the programs it belongs to. " if reloads else ""
    return (
        f"\nPostroad is up at {url} after {elapsed_s:.1f} s."
        " Open it in a browser, and sign in as admin / admin; or, in another terminal:\n"
        f"\n  curl -c {jar} -H 'Content-Type: application/json' -d '{sign_in}' {url}/auth"
        f"\n  curl -b {jar} '{url}/products?limit=3'\n"
        "\n'postroad status' shows queues and processes, 'postroad logs' what they say."
        f" {url}/docs has the API. {reloading}Ctrl-C stops everything. Logs:\n"
    )
