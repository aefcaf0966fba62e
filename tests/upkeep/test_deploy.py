"""Alerts and dashboards: well-formed, and of nothing but what a wired worker exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from tests.eventually import eventually
from tests.stack.addresses import Addresses
from tests.stack.paths import ROOT
from tests.webhooks.test_wiring import listening, running
from tests.webhooks.test_wiring import settings as without_redis
from worker.app import wired
from worker.cache.handlers import Invalidate
from worker.config import Settings
from worker.inbound.handlers import ApplyEvent

__all__ = ["without_redis"]

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
OPERATIONS = ROOT / "docs" / "operations.md"
ASKED = re.compile(r"\bpms_\w+")
SELECTED = re.compile(r"(pms_\w+)\{([^}]*)\}")
LABEL = re.compile(r'(\w+)(=~?)"([^"]*)"')
DURATION = re.compile(r"^\d+[smhd]$")
# a label's values that a quiet worker has no series for
RARE = {
    ("pms_xmin_xids", "kind"): {"session", "slot", "prepared"},
    ("pms_jobs_settled_total", "kind"): {Invalidate.kind, ApplyEvent.kind},
    ("pms_rpc_seconds_bucket", "function"): {"changed_tags", "apply_webhook"},
}


@pytest.fixture
def settings(without_redis: Settings) -> Settings:
    """Of a worker with a cache; nobody answers there, for a worker that beats would speak for others' too."""
    return without_redis.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:9/0")})


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def panels() -> Iterator[dict[str, Any]]:
    for path in DASHBOARDS:
        yield from dashboard(path)["panels"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def labels_asked(expression: str) -> Iterator[tuple[str, str, str]]:
    """Metric, label and value; of `=~"a|b"` both."""
    for name, selector in SELECTED.findall(expression):
        for label, match, value in LABEL.findall(selector):
            yield from ((name, label, each) for each in (value.split("|") if match == "=~" else [value]))


async def scraped(settings: Settings) -> str:
    """/metrics of a worker that is at work and has looked once."""
    async with wired(settings) as worker, listening(worker) as http, running(worker):

        async def looked() -> str:
            text = (await http.get("/metrics")).text
            assert "pms_partitions_ahead_days" in text
            assert "pms_api_instances" in text
            return text

        return await eventually(looked, what="the first look")


def unmet(text: str) -> set[str]:
    """What the rules and the dashboards ask for and `text`, a scrape, does not tell."""
    families = list(text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    told = {family.name for family in families} | {sample.name for sample in samples}
    told |= {f"{family.name}_total" for family in families if family.type == "counter"}
    labels = {(name, label, value) for (name, label), values in RARE.items() for value in values}
    labels |= {(sample.name, label, value) for sample in samples for label, value in sample.labels.items()}
    found: set[str] = set()
    for expression in expressions():
        found |= {name for name in ASKED.findall(expression) if name not in told}
        found |= {
            f"{name} {label}={value}"
            for name, label, value in labels_asked(expression)
            if (name, label, value) not in labels
        }
    return found


async def test_every_metric_that_is_asked_for_is_one_that_a_wired_worker_exports(settings: Settings) -> None:
    assert len({name for expression in expressions() for name in ASKED.findall(expression)}) > 20
    text = await scraped(settings)
    assert unmet(text) == set()
    renamed = text.replace("pms_jobs_buried", "pms_jobs_given_up").replace('"our_fault"', '"ours"')
    assert unmet(renamed) == {"pms_jobs_buried", "pms_webhook_attempts_total outcome=our_fault"}
    assert "pms_webhook_stage_seconds_bucket" in unmet(text.replace("pms_webhook_stage", "pms_stage"))
    renamed = text.replace("pms_cache_reads", "pms_api_cache").replace('cache="redis"', 'cache="yes"')
    renamed = renamed.replace('"limited"', '"throttled"').replace("pms_inbound_unknown", "pms_inbound_odd")
    assert unmet(renamed) == {
        "pms_cache_reads_total",
        *(f"pms_cache_reads_total outcome={name}" for name in ("hit", "joined", "stale", "bypass")),
        "pms_api_instances cache=redis",
        "pms_api_requests_total outcome=limited",
        "pms_inbound_unknown",
    }


def test_every_rule_is_whole() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    assert len({group["name"] for group in groups}) == len(groups)
    assert all(set(group) <= {"name", "interval", "rules"} for group in groups)
    assert len({rule["alert"] for rule in rules()}) == len(rules()) > 10
    text = OPERATIONS.read_text()
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert rule["alert"].startswith("Pms")
        assert DURATION.match(rule.get("for", "1m")), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "runbook"}, rule["alert"]
        advice = rule["annotations"]["runbook"]
        assert "\n" not in advice, "one line"
        page, _, anchor = advice.rpartition(" ")[2].partition("#")
        assert page == "docs/operations.md", rule["alert"]
        assert f'<a id="{anchor}"></a>' in text, f"{rule['alert']} leads nowhere: {anchor}"
        assert rule["alert"] in text, f"docs/operations.md does not know {rule['alert']}"


@pytest.mark.parametrize(
    "what",
    [
        "PmsPartitionsLate",
        "PmsPartitionsMissing",
        "PmsRetentionLate",
        "PmsOutboxWaits",
        "PmsDeadRows",
        "PmsXminHeld",
        "PmsWorkerAbsent",
        "PmsNoWorkerReady",
        "PmsLanesParked",
        "PmsOurFault",
        "PmsInvalidEvents",
        "PmsJobsBuried",
        "PmsSettleBacklog",
        "PmsWebhooksDisabled",
        "PmsSyncWaits",
        "PmsApiFailing",
        "PmsCacheNotTold",
        "PmsCacheLags",
        "PmsCachePassedBy",
        "PmsInboundWaits",
        "PmsInboundRefused",
        "PmsInboundUnknown",
    ],
)
def test_what_must_ring_has_a_rule(what: str) -> None:
    assert what in {rule["alert"] for rule in rules()}


def test_no_alarm_listens_to_numbers_that_are_old() -> None:
    """What `queue_health` tells stays at /metrics through an outage: only fresh numbers may ring."""
    of_the_database = re.compile(
        r"pms_(partitions|oldest_partition|outbox_oldest|fan_outs|table_dead|xmin|jobs_buried|invalid|webhook_endpoints"
        r"|sync_(pending|conflicts|client)|inbound|cache_(waiting|lag)|api_instances)"
    )
    for rule in rules():
        if of_the_database.search(rule["expr"]):
            assert "and on (instance) pms_vitals_age_seconds < 120" in rule["expr"], rule["alert"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_loads_as_it_is(path: Path) -> None:
    found = dashboard(path)
    assert found["schemaVersion"] >= 36
    assert found["title"]
    assert found["uid"]
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in ("timeseries", "stat")
        assert panel["targets"], panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
    [variable] = found["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )


def test_the_demanded_panels_are_there() -> None:
    assert len({dashboard(path)["uid"] for path in DASHBOARDS}) == len(DASHBOARDS) == 2
    titles = " | ".join(panel["title"].lower() for panel in panels())
    for what in (
        "by outcome",
        "p50",
        "p99",
        "queue depth",
        "lanes",
        "endpoints by status",
        "dead rows",
        "xmin",
        "partitions",
        "push to settled",
        "changes pending",
        "lag of clients",
        "requests a second",
        "refusals",
        "hit share",
        "stale",
        "stampedes",
        "invalidation lag",
        "inbound events",
        "cache jobs",
    ):
        assert what in titles


async def test_the_wiring_shows_the_database_s_own_numbers(settings: Settings, addresses: Addresses) -> None:
    text = await scraped(settings)
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }
    assert values["pms_partitions_ahead_days"] >= 6, "five past midnight it is six"
    assert 0 <= values["pms_vitals_age_seconds"] < 60
    assert 'pms_table_dead_rows{table="private.outbox"}' in text
    assert 'pms_webhook_endpoints{status="disabled"}' in text
    assert addresses.secret_key not in text
