"""Run the sample product API: ``python -m sample_api``."""

import argparse
import errno
import signal
import socket
import sys
import textwrap
from typing import NoReturn

import uvicorn
from pydantic import ValidationError

from sample_api.faults import Faults, first_problem
from sample_api.server import BUNDLED, build_app

_PREFIX = Faults.model_config["env_prefix"]
MOST = 10_000_000
_INDENTED = textwrap.TextWrapper(
    78, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
)


def main() -> None:
    arguments = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    app = build_app(_faults(), products=arguments.products)
    listener = _listen(arguments.host, arguments.port)
    sys.stdout.write(f"sample product API on {_url(listener)}/products\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, access_log=False, log_level="warning", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sample_api",
        description="Serve made-up products in the shape of dummyjson.com, from this machine.",
        epilog=_faults_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=8081, help="port; 0 takes any free one (%(default)s)"
    )
    parser.add_argument(
        "--products",
        type=_count,
        default=BUNDLED,
        metavar="N",
        help="how many there are; those beyond %(default)s are variations (%(default)s)",
    )
    return parser


def _faults_help() -> str:
    lines = ["It misbehaves on demand. Environment variables, read at start:", ""]
    for name, field in Faults.model_fields.items():
        lines.append(f"  {_PREFIX}{name.upper()} ({field.default})")
        lines += _INDENTED.wrap(field.description or "")
    lines += ["", "PUT /faults with the same fields as JSON changes them while it runs."]
    lines += ['PUT /changes with {"prices": {ID: PRICE}, "removed": [ID]} changes the products.']
    return "\n".join(lines)


def _faults() -> Faults:
    try:
        return Faults()
    except ValidationError as error:
        field, _, reason = first_problem(error).partition(": ")
        sys.exit(f"{_PREFIX}{field.upper()}: {reason}")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sys.exit(f"port {port} on {host} is already in use; choose another with --port")
        reason = str(error.strerror).partition(" (")[0].lower()
        sys.exit(f"cannot listen on {host} port {port}: {reason}")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to {MOST}")
    return int(text)


def _leave(_: int, __: object) -> NoReturn:
    """End with status 0: uvicorn raises the signal again once it has shut down."""
    sys.exit(0)


if __name__ == "__main__":
    main()
