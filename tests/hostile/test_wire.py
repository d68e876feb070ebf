"""Whatever a broker sends, and whatever we send, is as pika alone would have it."""

import logging
from random import Random

from tests.hostile.wire import check_read, check_written

ROUND = 400  # of each; `make fuzz` makes more


def test_messages_are_written_as_pika_writes_them() -> None:
    for seed in range(ROUND):
        check_written(Random(seed))


def test_frames_are_read_as_pika_reads_them() -> None:
    taken = 0
    logging.disable(logging.CRITICAL)  # pika tells of each frame that it does not expect
    try:
        for seed in range(2 * ROUND):
            taken += check_read(Random(seed))[1]
    finally:
        logging.disable(logging.NOTSET)

    assert taken > ROUND  # frames, by ours: what is always left to pika would be no test
