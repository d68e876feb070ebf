"""Rates of queues, by what a broker counted at two moments."""

from ops.scaling.traffic import Rates, Reading, Series

PUBLISHED = "rabbitmq_detailed_queue_messages_published_total"
DELIVERED = "rabbitmq_detailed_channel_messages_delivered_ack_total"
FETCHED = "rabbitmq_detailed_channel_get_total"
REDELIVERED = "rabbitmq_detailed_channel_messages_redelivered_total"


def reading(at_s: float, *counts: tuple[str, str, int]) -> Reading:
    return Reading(
        at_s, {Series(metric, channel, "rpc.auth"): count for metric, channel, count in counts}
    )


def test_counts_of_all_channels_of_a_queue_are_added() -> None:
    before = reading(10, (PUBLISHED, "1", 5), (PUBLISHED, "2", 7), (DELIVERED, "3", 1))
    after = reading(
        12,
        *((PUBLISHED, "1", 9), (PUBLISHED, "2", 7)),
        *((DELIVERED, "3", 2), (FETCHED, "3", 5), (REDELIVERED, "3", 9)),
    )

    assert after.rates(before) == {"rpc.auth": Rates(into=2.0, out=3.0)}


def test_a_channel_that_began_meanwhile_is_counted_from_its_beginning() -> None:
    after = reading(11, (PUBLISHED, "1", 4))

    assert after.rates(reading(10)) == {"rpc.auth": Rates(into=4.0, out=0.0)}


def test_a_broker_that_began_again_counts_from_nothing() -> None:
    before, after = reading(10, (PUBLISHED, "1", 500)), reading(11, (PUBLISHED, "1", 3))

    assert after.rates(before)["rpc.auth"].into == 3.0


def test_a_channel_that_ended_takes_nothing_away() -> None:
    before = reading(10, (PUBLISHED, "1", 500), (PUBLISHED, "2", 1))
    after = reading(11, (PUBLISHED, "2", 2))

    assert after.rates(before)["rpc.auth"].into == 1.0
