"""What the sample upstream does wrong on purpose."""

import time
from collections import Counter

import httpx
import pytest
from pydantic import ValidationError

from sample_api.faults import HUGE_BYTES, Faults
from sample_api.server import build_app
from tests.support.sample_upstream import client_of, running


def misbehave(api: httpx.Client, **faults: object) -> None:
    assert api.put("/faults", json=faults).status_code == 200


def test_a_server_error_is_json(api: httpx.Client) -> None:
    misbehave(api, fail_rate=1, fail_with=500)

    response = api.get("/products")

    assert response.status_code == 500
    assert response.json() == {"message": "Internal Server Error"}


def test_too_many_requests_says_when_to_come_back(api: httpx.Client) -> None:
    misbehave(api, fail_rate=1, fail_with="429", retry_after_s=3)

    response = api.get("/products")

    assert (response.status_code, response.headers["Retry-After"]) == (429, "3")
    assert "request limit exceeded" in response.json()["message"]


def test_html_is_a_page_with_status_200(api: httpx.Client) -> None:
    misbehave(api, fail_rate=1, fail_with="html")

    response = api.get("/products")

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")


def test_nonsense_is_json_of_another_shape(api: httpx.Client) -> None:
    misbehave(api, fail_rate=1, fail_with="nonsense")

    response = api.get("/products")

    assert response.status_code == 200
    assert not isinstance(response.json()["products"], list)


def test_a_huge_answer_is_many_megabytes_of_the_right_shape(api: httpx.Client) -> None:
    misbehave(api, fail_rate=1, fail_with="huge")

    response = api.get("/products")

    assert len(response.content) > HUGE_BYTES > 10_000_000
    assert "Content-Length" not in response.headers
    assert response.json()["products"] == []


def test_an_empty_catalogue_answers_as_a_catalogue_would(api: httpx.Client) -> None:
    misbehave(api, fail_rate=1, fail_with="empty")

    assert api.get("/products").json() == {"products": [], "total": 0, "skip": 0, "limit": 0}
    assert api.get("/products/category-list").json() == []
    assert api.get("/products/1").status_code == 404


def test_a_truncated_answer_breaks_off() -> None:
    with (
        running(SAMPLE_UPSTREAM_FAIL_RATE="1", SAMPLE_UPSTREAM_FAIL_WITH="truncated") as (_, url),
        pytest.raises(httpx.RemoteProtocolError, match="without sending complete"),
    ):
        httpx.get(f"{url}/products", trust_env=False)


def test_faults_delay_every_answer(api: httpx.Client) -> None:
    misbehave(api, delay_ms=60)
    started = time.monotonic()

    api.get("/products/1")

    assert time.monotonic() - started >= 0.06


def test_a_fail_rate_of_a_half_fails_about_half_of_the_time(api: httpx.Client) -> None:
    misbehave(api, fail_rate=0.5)

    statuses = Counter(api.get("/products/1").status_code for _ in range(200))

    assert 60 <= statuses[500] <= 140
    assert statuses[200] + statuses[500] == 200


def test_faults_leave_health_alone_and_end_when_replaced(api: httpx.Client) -> None:
    misbehave(api, fail_rate=1)

    assert api.get("/products").status_code == 500
    assert api.get("/healthz").json() == {"status": "ok"}

    misbehave(api)

    assert api.get("/products").status_code == 200


def test_a_test_may_replace_the_faults_on_the_app() -> None:
    app = build_app(Faults(fail_rate=1))
    api = client_of(app)

    app.state.faults = Faults(fail_rate=0)

    assert api.get("/products").status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"fail_rate": 7}', "fail_rate: Input should be less than or equal to 1"),
        ('{"fail_with": "rain"}', "fail_with: Input should be '500', "),
        ('{"fial_rate": 1}', "fial_rate: Extra inputs are not permitted"),
        ("{", "Invalid JSON"),
    ],
)
def test_faults_that_make_no_sense_are_refused_and_change_nothing(
    api: httpx.Client, body: str, message: str
) -> None:
    response = api.put("/faults", content=body)

    assert response.status_code == 400
    assert response.json()["message"].startswith(message)
    assert api.get("/products").status_code == 200


def test_faults_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_UPSTREAM_FAIL_RATE", "0.25")
    monkeypatch.setenv("SAMPLE_UPSTREAM_FAIL_WITH", "429")

    assert (Faults().fail_rate, Faults().fail_with) == (0.25, "429")

    monkeypatch.setenv("SAMPLE_UPSTREAM_FAIL_RATE", "2")
    with pytest.raises(ValidationError):
        Faults()


def test_every_fault_is_documented() -> None:
    assert all(field.description for field in Faults.model_fields.values())
