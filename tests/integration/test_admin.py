"""Health, reflection, metrics and the scrape configuration that the repository ships."""
import re
import urllib.error
import urllib.request

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from conftest import ROOT

SERIES = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\.)*",?)*\})? [-+0-9.eEInfaN]+$')


def get(server, path):
    with urllib.request.urlopen(f"http://{server.admin}{path}", timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_health_of_the_process_and_of_the_service(shared_server):
    assert get(shared_server, "/healthz") == (200, "ok\n")
    assert get(shared_server, "/readyz") == (200, "ready\n")
    assert "serving" in get(shared_server, "/")[1]
    answer = health_pb2_grpc.HealthStub(shared_server.channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_names_every_service(shared_server):
    services = set(ProtoReflectionDescriptorDatabase(shared_server.channel).get_services())
    assert {f"engram.v1.{name}Service" for name in ("Task", "Job", "Model", "Dataset", "Inference")} <= services


def test_the_shipped_scrape_configuration_reads_the_real_server(shared_server):
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text())
    [job] = config["scrape_configs"]
    status, text = get(shared_server, job["metrics_path"])
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert status == 200 and lines and all(SERIES.match(line) for line in lines), [line for line in lines if not SERIES.match(line)]
    names = {re.split(r"[{ ]", line)[0] for line in lines}
    assert {"engram_requests_total", "engram_jobs", "engram_inference", "engram_request_seconds_bucket"} <= names


def test_every_panel_of_the_dashboard_asks_for_a_metric_that_exists(shared_server):
    import json
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "engram.json").read_text())
    source = (ROOT / "server" / "metrics.cc").read_text()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            for name in re.findall(r"engram_[a-z_]+", target["expr"]):
                assert f'"{re.sub("_(bucket|sum|count)$", "", name)}"' in source, name
