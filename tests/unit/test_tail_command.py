"""`postroad tail`: which events a pattern means."""

import pytest

from ops.acting import CannotAct
from ops.tail import _chosen
from shared.contracts.registry import EVENTS

LOGINS = {"auth.login.failed", "auth.login.succeeded"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("#", set(EVENTS)),
        ("auth.login.*", LOGINS),
        ("auth.login.#", LOGINS),
        ("auth.login.failed.#", {"auth.login.failed"}),
        ("*.session.revoked", {"auth.session.revoked"}),
        ("auth.session.revoked", {"auth.session.revoked"}),
        ("auth.#.failed", {"auth.login.failed"}),
    ],
)
def test_a_pattern_means_what_it_means_to_the_broker(pattern: str, names: set[str]) -> None:
    assert {event.name for event in _chosen(pattern)} == names


@pytest.mark.parametrize("pattern", ["auth.*", "auth.login", "auth.logins.*", "authxlogin.failed"])
def test_a_pattern_that_means_nothing_is_an_error(pattern: str) -> None:
    with pytest.raises(CannotAct, match="no event is like"):
        _chosen(pattern)
