"""Addresses, roles and user names."""

import unicodedata
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_worker.attempts import user_key
from auth_worker.networks import counted_network, told_network
from auth_worker.roles import ROLES, UnknownRole, check_roles, scopes_of
from auth_worker.usernames import BadUsername, check_username


@pytest.mark.parametrize(
    ("address", "told", "counted"),
    [
        ("192.0.2.77", "192.0.2.0/24", "192.0.2.77/32"),
        (" 192.0.2.77 ", "192.0.2.0/24", "192.0.2.77/32"),
        ("::ffff:192.0.2.77", "192.0.2.0/24", "192.0.2.77/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/48", "fe80::/64"),
        ("::1", "::/48", "::/64"),
        ("192.0.2.0/24", None, None),
        ("192.0.2", None, None),
        ("example.org", None, None),
        ("\0", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_an_address_is_cut_to_its_network(
    address: str | None, told: str | None, counted: str | None
) -> None:
    assert told_network(address) == told
    assert counted_network(address) == counted


@given(st.ip_addresses())
def test_every_address_is_in_the_network_that_is_told(address: object) -> None:
    network = ip_network(told_network(str(address)) or "")

    plain = ip_address(str(address).partition("%")[0])
    assert (getattr(plain, "ipv4_mapped", None) or plain) in network
    assert network.num_addresses > 1


@given(st.text(max_size=64))
def test_any_text_may_come_as_an_address(text: str) -> None:
    told_network(text)


def test_each_role_may_do_what_the_one_before_may_and_more() -> None:
    scopes = [set(scopes_of([role])) for role in ROLES]

    assert ROLES == ("user", "operator", "admin")
    assert scopes == [
        {"catalog:read"},
        {"catalog:read", "catalog:sync", "operations:read"},
        {"catalog:read", "catalog:sync", "operations:read", "users:admin"},
    ]


def test_a_role_that_is_no_more_may_do_nothing() -> None:
    assert scopes_of(["wizard"]) == ()


def test_roles_are_kept_in_order_and_once() -> None:
    assert check_roles(["admin", "user", "admin"]) == ("user", "admin")


@pytest.mark.parametrize("roles", [(), ("user", "root"), ("USER",)])
def test_roles_there_are_not_are_refused(roles: tuple[str, ...]) -> None:
    with pytest.raises(UnknownRole, match="user, operator, admin"):
        check_roles(roles)


@given(st.text(max_size=210))
def test_a_good_user_name_is_printable_and_stays_as_it_is(text: str) -> None:
    try:
        name = check_username(text)
    except BadUsername:
        return

    assert check_username(name) == name
    assert all(each.isprintable() or unicodedata.category(each) == "Zs" for each in name)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_name_can_be_counted_and_its_key_hides_it(text: str) -> None:
    assert len(user_key(text)) == 64
    assert user_key(text) == user_key(f" {text} ")
