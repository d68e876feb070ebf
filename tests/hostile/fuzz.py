"""Make hostile messages for as long as one likes: ``python -m tests.hostile.fuzz --minutes 10``.

It is what the tests do, with other messages each time. The first that is let in though it should
not be, or that raises what is not documented, is made as small as possible and printed.
"""

import logging
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from time import monotonic

import structlog
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from postroad.asyncapi.examples import EXAMPLES
from postroad.contracts.base import Message
from tests.hostile.strategies import BODIES
from tests.hostile.test_contracts import check_contract
from tests.hostile.test_envelopes import KINDS, check_signed, check_tampered
from tests.hostile.wire import check_read, check_written

ROUND = 200  # messages of each kind

Check = Callable[[st.DataObject], None]


def checks() -> dict[str, Check]:
    """Give all checks, by what they are shown."""
    return {
        **{f"{kind}, tampered with": partial(check_tampered, kind=kind) for kind in KINDS},
        **{f"{kind}, signed nonsense": partial(check_signed, kind=kind) for kind in KINDS},
        **{
            f"body of {contract.__name__}": partial(_check_body, contract=contract)
            for contract in EXAMPLES
        },
        "frames, read by ours and by pika": lambda data: _check_frames(data, check_read),
        "frames, written by ours and by pika": lambda data: _check_frames(data, check_written),
    }


def _check_frames(data: st.DataObject, check: Callable[[Random], object]) -> None:
    check(Random(data.draw(st.integers(0, 2**64))))


def _check_body(data: st.DataObject, *, contract: type[Message]) -> None:
    check_contract(data.draw(BODIES), contract)


def run(check: Check, number: int) -> None:
    """Show a check one round of messages."""

    @seed(number)
    @settings(
        max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data())
    def shown(data: st.DataObject) -> None:
        check(data)

    shown()


def main() -> None:
    parser = ArgumentParser(description="Make hostile messages, and see that none is let in.")
    parser.add_argument("--minutes", type=float, default=1.0, help="for how long (1)")
    parser.add_argument("--seed", type=int, default=0, help="where to begin, to repeat a round")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    end = monotonic() + arguments.minutes * 60
    shown = 0
    for number in count(arguments.seed):
        for name, check in checks().items():
            if monotonic() > end:
                print(f"{shown} messages, none let in that should not be")
                return
            sys.stdout.write(f"\r{shown:9} messages, seed {number}: {name:50}")
            sys.stdout.flush()
            run(check, number)
            shown += ROUND


if __name__ == "__main__":
    main()
