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


def test_the_shipped_manifest_fits_the_real_server(new_server):
    """The server starts from the ConfigMap's file, and answers the probes; ports, mounts and claims are those that the file names."""
    documents = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "engram.yaml").read_text()))
    kinds = {d["kind"]: d for d in documents}
    assert len(kinds) == len(documents) == 4
    pod = kinds["Deployment"]["spec"]["template"]
    [container] = pod["spec"]["containers"]
    [(file, text)] = kinds["ConfigMap"]["data"].items()
    config = yaml.safe_load(text)
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    assert container["args"] == ["--config", f"{mounts['config']}/{file}"] and mounts["data"] == config["data_dir"] and set(mounts) == set(volumes)
    assert volumes["config"]["configMap"]["name"] == kinds["ConfigMap"]["metadata"]["name"]
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == kinds["PersistentVolumeClaim"]["metadata"]["name"]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert [f"0.0.0.0:{ports[name]}" for name in ("grpc", "admin")] == [config["grpc_address"], config["admin_address"]]
    assert {p["targetPort"] for p in kinds["Service"]["spec"]["ports"]} == set(ports)
    assert kinds["Service"]["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["admin"])
    here = {**config, "grpc_address": "0.0.0.0:0", "admin_address": "0.0.0.0:0"}
    del here["data_dir"]
    server = new_server(here)
    paths = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    for path in paths | {pod["metadata"]["annotations"]["prometheus.io/path"]}:
        assert get(server, path)[0] == 200
    assert server.stop() == 0
    # The pod is given longer to stop than the server takes at most.
    drain = int(re.search(r"int64_t drain_seconds = (\d+);", (ROOT / "server" / "config.h").read_text())[1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain
