"""Alerts, dashboard and runbook speak of metrics that there are, and of each other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.names import OTHERS, RABBITMQ, asked_for, labels_of, our_metrics, series
from tests.observability.test_rules import needs_promtool, promtool

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "deploy/observability/rules.yml").read_text())
ALL_RULES = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in ALL_RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in ALL_RULES if "record" in rule}
DASHBOARD = json.loads((ROOT / "deploy/observability/dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DASHBOARD_EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [rule["expr"] for rule in ALL_RULES] + DASHBOARD_EXPRESSIONS
RUNBOOK = (ROOT / "docs/runbook.md").read_text()

# of the scraper, of RabbitMQ, or made by the expression
OTHER_LABELS = {"job", "instance", "program", "queue", "version", "le", "of"}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_metric_that_is_asked_for_exists(expression: str) -> None:
    asked = asked_for(expression)

    assert asked
    assert asked <= series().keys() | RABBITMQ | OTHERS | RECORDED


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_label_that_is_asked_for_exists(expression: str) -> None:
    known = set[str]().union(*(series().get(name, set()) for name in asked_for(expression)))

    assert labels_of(expression) <= known | OTHER_LABELS


def test_metrics_are_named_as_prometheus_asks() -> None:
    for measure in our_metrics():
        assert re.fullmatch(r"postroad_[a-z_]+", measure.name)
        assert (measure.kind == "counter") == measure.name.endswith("_total")
        assert measure.kind != "histogram" or measure.name.endswith("_seconds")
        assert measure.help


def test_no_metric_is_named_twice_in_one_process() -> None:
    names = [measure.name for measure in our_metrics()]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_says_what_to_do_about_it(alert: dict[str, Any]) -> None:
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    paragraph = RUNBOOK.partition(f"\n### {alert['alert']}\n")[2].partition("\n##")[0]

    assert (page, anchor) == ("docs/runbook.md", alert["alert"].lower())
    assert paragraph.strip().startswith(f"*{alert['labels']['severity']}.*")
    for part in ("**It means**", "**Users\nsee**", "**Look at**", "**Do**"):
        assert part.replace("\n", " ") in paragraph.replace("\n", " "), part


def test_the_runbook_has_no_paragraph_for_an_alert_that_is_gone() -> None:
    assert re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE) == [alert["alert"] for alert in ALERTS]


def test_what_the_runbook_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", RUNBOOK)

    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_what_the_runbook_asks_for_exists() -> None:
    named = set(re.findall(r"postroad_[a-z_]+", RUNBOOK))
    families = {measure.name for measure in our_metrics()}

    assert named
    assert named <= families


def test_each_panel_has_a_place_and_a_number_of_its_own() -> None:
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]

    assert len(squares) == len(set(squares))
    assert max(x for x, _ in squares) < 24
    assert len(numbers) == len(set(numbers))


@needs_promtool
def test_each_expression_of_the_dashboard_is_prometheus_own(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(DASHBOARD_EXPRESSIONS)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))
