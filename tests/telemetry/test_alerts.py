"""The dashboard, the alarms and the table of metrics know the metrics that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml

import bitespeed.api.operations  # noqa: F401 - declares the endpoints that are counted
from bitespeed.telemetry.metrics import COMPUTED, DECLARED, Histogram

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PROMETHEUS_OWN_LABELS = {"job", "instance"}
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


def samples() -> dict[str, dict[str, set[str]]]:
    """The names under which Prometheus stores the metrics, with the values of their labels."""
    found: dict[str, dict[str, set[str]]] = {}
    for name, _, labels, series in DECLARED:
        values = {label: {str(key[place]) for key in series} for place, label in enumerate(labels)}
        if isinstance(next(iter(series.values())), Histogram):
            found |= {f"{name}_bucket": values, f"{name}_sum": values, f"{name}_count": values}
        else:
            found[name] = values
    return found | {name: {} for name in COMPUTED} | {"up": {}}


SAMPLES = samples()


def queries() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def filled_in(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def mistakes(query: str) -> list[str]:
    """What is wrong with a query: it is none, or has metrics or labels that do not exist."""
    try:
        parsed = promql_parser.parse(filled_in(query))
    except ValueError as error:
        return [str(error)]
    selectors: list[promql_parser.VectorSelector] = []

    def visit(expression: object) -> None:
        if isinstance(expression, promql_parser.VectorSelector):
            selectors.append(expression)

    promql_parser.walk(parsed, visit)
    return [mistake for selector in selectors for mistake in wrong_in(selector)]


def wrong_in(selector: promql_parser.VectorSelector) -> Iterator[str]:
    labels = SAMPLES.get(selector.name)
    if labels is None:
        yield selector.name
        return
    for matcher in selector.matchers.matchers:
        if matcher.name not in {*labels, *PROMETHEUS_OWN_LABELS}:
            yield f"{selector.name}{{{matcher.name}}}"
        elif not set(matcher.value.split("|")) <= labels.get(matcher.name, {matcher.value}):
            yield f"{selector.name}{{{matcher.name}: {matcher.value}}}"


@pytest.mark.parametrize(("title", "query"), list(queries()))
def test_every_query_is_promql_on_metrics_that_exist(title: str, query: str) -> None:
    assert mistakes(query) == [], title


@pytest.mark.parametrize(
    ("query", "mistake"),
    [
        ("sum by (x (rate(bitespeed_requests_total[5m]))", "parenthesis"),
        ("rate(bitespeed_request_total[5m])", "bitespeed_request_total"),
        ("sum(bitespeed_request_seconds) > 1", "bitespeed_request_seconds"),
        ('rate(bitespeed_cache_lookups_total{result="gone"}[5m])', "result: gone"),
        ('bitespeed_queue_observations{tenant="one"}', "tenant"),
    ],
)
def test_a_query_with_a_mistake_is_noticed(query: str, mistake: str) -> None:
    (found,) = mistakes(query)
    assert mistake in found


def test_every_metric_is_used_by_a_query() -> None:
    told = " ".join(query for _, query in queries())
    unseen = [name for name in (*(d.name for d in DECLARED), *COMPUTED) if name not in told]
    assert unseen == []


def test_every_alarm_is_explained() -> None:
    text = (ROOT / "docs/alerts.md").read_text()
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_the_table_of_metrics_is_complete_and_true() -> None:
    rows = [
        (name, next(iter(series.values())).kind, labels, help_)
        for name, help_, labels, series in DECLARED
    ] + [(name, kind, labels, help_) for name, (kind, labels, help_) in COMPUTED.items()]
    expected = [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {help_} |"
        for name, kind, labels, help_ in rows
    ]
    table = re.findall(r"^\| `bitespeed_.*$", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    assert table == expected
