"""compose.tls.yml: the whole system, with the broker by mutual TLS."""

import pytest

from tests.docker import docker_answers
from tests.e2e.compose import running_project

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not docker_answers(), reason="Docker does not answer"),
    pytest.mark.timeout(600),
]


SERVICES = ("auth", "bridge", "catalog")


def test_everybody_shows_a_certificate_and_nobody_gets_in_without_tls() -> None:
    with running_project("compose.tls.yml") as compose:
        with compose.sign_in("reader", "a password of this test", role="user") as reader:
            assert reader.get("/products/1").status_code == 200

        ctl = ("exec", "--no-TTY", "broker", "rabbitmqctl", "--quiet")
        columns = ("user", "ssl", "ssl_protocol", "peer_cert_subject")
        listing = compose(*ctl, "list_connections", *columns).splitlines()[1:]
        assert set(listing) == {f"{name}\ttrue\ttlsv1.3\tCN={name}" for name in SERVICES}
        listeners = compose("exec", "--no-TTY", "broker", "rabbitmq-diagnostics", "-q", "listeners")
        assert " 5671, protocol: amqp/ssl" in listeners
        assert " 5672," not in listeners
