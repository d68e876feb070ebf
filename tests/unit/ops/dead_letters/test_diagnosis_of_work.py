"""What would become of an event or a job: read as the queue that it waits in would."""

import json
from collections.abc import Callable
from time import time
from typing import Any

import pytest

from ops.dead_letters.diagnosis import Reader
from postroad.contracts.base import Event, Job
from postroad.contracts.events import SyncRequested
from postroad.contracts.syncs import FetchPage
from postroad.dead_letters.captured import read_messages
from postroad.security.keyring import KeyRing
from postroad.security.keys import TrustBundle
from postroad.security.lasting_signatures import LastingSigner
from postroad.security.signatures import read_signature
from tests.support.explaining import Keys


class PrintLabel(Job, name="catalog.label.print"):
    """A job of another package."""

    number: int


EVENT = SyncRequested(sync_id="s")
JOB = FetchPage(sync_id="s", skip=0, limit=30)


def post(keys: KeyRing, message: Event | Job, *, user_id: str | None = None) -> dict[str, Any]:
    """Show an event or a job as it waits in the catalogue's queue of work."""
    body = message.model_dump_json().encode()
    ids = {"name": message.name, "body": body, "message_id": "m", "correlation_id": "c"}
    signer = LastingSigner(keys)
    is_job = isinstance(message, Job)
    signature = signer.job(audience="catalog", **ids) if is_job else signer.event(**ids)  # type: ignore[arg-type]
    headers = {
        "signature": signature,
        "x-death": [{"queue": "work.catalog.sync", "reason": "rejected", "time": int(time())}],
    }
    return {
        "exchange": "dead.work",
        "routing_key": message.name,
        "properties": {
            "headers": headers,
            "type": message.name,
            "user_id": user_id or keys.service,
        },
        "payload": body.decode(),
        "payload_encoding": "string",
    }


@pytest.mark.parametrize(("message", "typ"), [(EVENT, "event"), (JOB, "job")])
def test_honest_work_passes(
    keys: Keys,
    explained: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    message: SyncRequested | FetchPage,
    typ: str,
) -> None:
    status = explained(post(keys["catalog"], message))

    assert status == 0
    assert f"{typ} for catalog" in capsys.readouterr().out


@pytest.mark.parametrize("message", [EVENT, JOB])
def test_work_of_one_who_may_not_send_it_is_refused(
    keys: Keys,
    explained: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    message: SyncRequested | FetchPage,
) -> None:
    status = explained(post(keys["auth"], message))

    assert status == 1
    assert "Refused: caller_not_allowed" in capsys.readouterr().out


def test_work_may_come_from_the_one_who_put_it_aside_and_from_no_third(
    keys: Keys, explained: Callable[..., int]
) -> None:
    assert explained(post(keys["catalog"], JOB, user_id="catalog")) == 0
    assert explained(post(keys["catalog"], JOB, user_id="bridge")) == 1


def test_work_that_failed_for_good_has_nothing_wrong(
    keys: Keys, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    dead = post(keys["catalog"], JOB)
    dead["properties"]["headers"]["attempt"] = 5

    assert explained(dead) == 0
    assert "its handler failed for good, in attempt 5" in capsys.readouterr().out


def test_work_that_breaks_its_contract_cannot_be_done(
    keys: Keys, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = FetchPage.model_construct(sync_id="s", skip=-1, limit=30)

    assert explained(post(keys["catalog"], broken)) == 1
    assert "it cannot be done, and is dead-lettered: invalid_request" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reason", "said"),
    [("delivery_limit", "it may be what kills it"), ("expired", "nobody worked on it in time")],
)
def test_work_that_the_broker_gave_up_has_nothing_wrong(
    keys: Keys,
    explained: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    reason: str,
    said: str,
) -> None:
    dead = post(keys["catalog"], JOB)
    dead["properties"]["headers"]["x-death"][0]["reason"] = reason

    assert explained(dead) == 0
    assert said in capsys.readouterr().out


def test_a_redrive_is_read_as_its_reader_does(
    keys: Keys, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    dead = post(keys["catalog"], JOB)
    first = read_signature(dead["properties"]["headers"]["signature"]).claims
    dead["properties"]["headers"]["signature"] = LastingSigner(keys["catalog"]).redrive(
        first, audience="catalog", body=dead["payload"].encode()
    )

    assert explained(dead) == 1

    shown = capsys.readouterr().out
    assert "ok       a redrive" in shown
    assert "ok       who sent it at first may send it" in shown
    assert "Refused: caller_not_allowed" in shown  # the catalogue is no operator


@pytest.mark.parametrize("exchange", ["wait", "retry"])
def test_work_that_was_put_aside_is_read_as_its_queue_would(
    keys: Keys, explained: Callable[..., int], exchange: str
) -> None:
    aside = post(keys["catalog"], EVENT) | {
        "exchange": exchange,
        "routing_key": "1.work.auth.audit",
    }
    aside["properties"]["headers"]["x-death"] = [{"queue": "wait.1", "reason": "expired"}]
    aside["properties"]["user_id"] = "auth"

    assert explained(aside) == 0


def test_an_event_can_be_read_by_all(
    keys: Keys, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    event = post(keys["catalog"], EVENT) | {"exchange": "events"}
    del event["properties"]["headers"]["x-death"]

    assert explained(event) == 0
    assert "event for all who listen" in capsys.readouterr().out


def test_a_job_of_another_package_passes_if_its_sender_may_send_it(keys: Keys) -> None:
    catalog = keys["catalog"].trust.services["catalog"]
    granted = catalog.model_copy(update={"enqueues": (PrintLabel.name,)})
    trust = TrustBundle(services=keys["catalog"].trust.services | {"catalog": granted})
    reader = Reader(KeyRing(keys["catalog"].identity, trust))
    (dead,) = read_messages(json.dumps(post(keys["catalog"], PrintLabel(number=7))))
    source = dead.place()
    assert source is not None

    diagnosis = reader.diagnose(dead, source, time())

    assert diagnosis.failure is None
    assert diagnosis.findings[-1].detail == "no contract here is named catalog.label.print"
