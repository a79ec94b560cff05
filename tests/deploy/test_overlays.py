"""Every environment builds, is what Kubernetes and the operators accept to the last field, and fits together."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from eventstore.telemetry.alerts import rules
from tests.deploy.checks import CHECKS, Check
from tests.deploy.definitions import Definitions
from tests.deploy.manifests import DEPLOY, Document, Manifests, built, owner
from tests.telemetry.test_watching_over import run, tool

OLDEST = "1.30.0"
NEWEST: str = kubernetes_validate.latest_version()
GROUPS_OF_OTHERS = ("kafka.strimzi.io/", "keda.sh/", "monitoring.coreos.com/")


def of_kubernetes(document: Document, version: str = NEWEST) -> list[str]:
    """Tell where a document is not as Kubernetes wants it, unknown fields included."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{owner(document)}: {error}"]
    return []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_every_field(version: str, manifests: Manifests) -> None:
    own = [each for each in manifests.documents if not each["apiVersion"].startswith(GROUPS_OF_OTHERS)]
    assert len(own) > 10
    assert [finding for each in own for finding in of_kubernetes(each, version)] == []


def test_the_operators_definitions_accept_every_field(manifests: Manifests, definitions: Definitions) -> None:
    theirs = [each for each in manifests.documents if each["apiVersion"].startswith(GROUPS_OF_OTHERS)]
    assert len(theirs) > 10
    assert [f"{owner(each)}{finding}" for each in theirs for finding in definitions.findings(each)] == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_everything_fits_together(check: Check, manifests: Manifests) -> None:
    assert check(manifests) == []


def test_the_newest_kustomize_and_the_one_on_the_path_make_the_same() -> None:
    kubectl = shutil.which("kubectl", path="/usr/bin:/usr/local/bin")
    if kubectl is None:
        pytest.skip("no kubectl on this machine but the one that came from PyPI")
    overlay = DEPLOY / "overlays" / "production"
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True, timeout=20, check=True)
    assert [*yaml.safe_load_all(done.stdout)] == [*yaml.safe_load_all(built("production"))]


def test_the_readme_names_the_oldest_kubernetes_that_is_enough() -> None:
    assert f"Kubernetes {OLDEST.removesuffix('.0')} or newer" in (DEPLOY / "README.md").read_text()


def test_no_manifest_is_left_out() -> None:
    everything = "".join(path.read_text() for path in DEPLOY.rglob("kustomization.yaml"))
    files = [
        path for path in DEPLOY.rglob("*.yaml") if "operator" not in path.parts and path.name != "kustomization.yaml"
    ]
    assert len(files) > 20
    assert [str(path) for path in files if f"- {path.name}\n" not in everything] == []
    components = [path.name for path in (DEPLOY / "components").iterdir()]
    used = (DEPLOY / "overlays/production/kustomization.yaml").read_text()
    assert [name for name in components if f"components/{name}\n" not in used] == []


def test_the_applications_alerts_are_those_of_its_metrics(manifests: Manifests) -> None:
    found = manifests.get("PrometheusRule", "tasks")["spec"]["groups"]
    runbook = found[0]["rules"][0]["annotations"]["runbook_url"].partition("#")[0]
    assert found == json.loads(json.dumps(rules(runbook)))["groups"]


# What makes an alert fire, and what does not, as series of one value a minute.
FIRING = {
    "KafkaNothingCanBeWritten": ('kafka_cluster_partition_underminisr{namespace="n"}', "1+0x60", "0+0x60"),
    "KafkaCopiesMissing": ('kafka_server_replicamanager_underreplicatedpartitions{namespace="n"}', "3+0x60", "3+0x10 0x50"),
    "KafkaPartitionsOffline": ('kafka_controller_kafkacontroller_offlinepartitionscount{namespace="n"}', "1+0x60", "0x60"),
    "KafkaNoController": ('kafka_controller_kafkacontroller_activecontrollercount{namespace="n"}', "0+0x60", "1+0x60"),
    "KafkaUncleanElection": (
        'kafka_controller_controllerstats_uncleanleaderelectionspersec_total{namespace="n"}', "0x55 1x5", "5+0x60",
    ),
    "KafkaDiskFull": (
        'kubelet_volume_stats_available_bytes{persistentvolumeclaim="data-0-events-brokers-3"}', "14+0x60", "16+0x60",
    ),
    "KafkaCertificateExpires": ('strimzi_certificate_expiration_timestamp_ms{cluster="c",type="t"}', "1800000000+0x120", "9e12+0x120"),
}  # fmt: skip
CAPACITY = {
    "series": 'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="data-0-events-brokers-3"}',
    "values": "100+0x120",
}


def test_each_alert_of_kafka_fires_when_it_should_and_not_otherwise(production: Manifests, tmp_path: Path) -> None:
    spec = production.get("PrometheusRule", "kafka")["spec"]
    assert {rule["alert"] for group in spec["groups"] for rule in group["rules"]} == FIRING.keys()
    rules_file = tmp_path / "rules.json"
    rules_file.write_text(json.dumps(spec))
    assert f"{len(FIRING)} rules found" in run(tool("promtool"), "check", "rules", rules_file)
    cases = []
    for name, (series, firing, quiet) in FIRING.items():
        firing_now = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
        for values, fires in ((firing, 1), (quiet, 0)):
            expected = {"expr": firing_now, "eval_time": "60m", "exp_samples": [{"labels": "{}", "value": fires}]}
            given = [{"series": series, "values": values}, CAPACITY]
            cases.append({"name": name, "interval": "1m", "input_series": given, "promql_expr_test": [expected]})
    (tmp_path / "tests.json").write_text(
        json.dumps({"rule_files": [str(rules_file)], "evaluation_interval": "1m", "tests": cases})
    )
    run(tool("promtool"), "test", "rules", tmp_path / "tests.json")
