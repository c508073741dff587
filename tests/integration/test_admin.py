"""Health, reflection, metrics and the scrape configuration that the repository ships."""
import json
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from conftest import BASE_MODEL, ROOT, messages

PROMETHEUS = ROOT / ".deps" / "prometheus"

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


def exchange(server, request):
    """What the admin port answers to these bytes, up to the end of the connection."""
    host, port = server.admin.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    return answer


def test_the_admin_port_reads_no_body(shared_server):
    post = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n"
    assert exchange(shared_server, post).startswith(b"HTTP/1.1 405 ")  # at once: not one byte of the body was sent
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert exchange(shared_server, chunked).startswith(b"HTTP/1.1 405 ")
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 36\r\n\r\nGET /metrics HTTP/1.1\r\nHost: y\r\n\r\n\r\n"
    answer = exchange(shared_server, smuggled)
    assert answer.startswith(b"HTTP/1.1 413 ") and answer.count(b"HTTP/1.1 ") == 1


def test_slow_connections_do_not_keep_health_from_answering(shared_server):
    host, port = shared_server.admin.rsplit(":", 1)
    slow = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
    try:
        for connection in slow:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")  # and no more
        assert get(shared_server, "/healthz") == (200, "ok\n")
    finally:
        for connection in slow:
            connection.close()


def test_a_compressed_message_is_refused_before_it_is_inflated(shared_server):
    tokenize = shared_server.channel.unary_unary("/engram.v1.InferenceService/Tokenize")
    with pytest.raises(grpc.RpcError) as refused:
        tokenize(b"\0" * (8 << 20), compression=grpc.Compression.Gzip, timeout=20)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert refused.value.details() == "Compression algorithm 'gzip' is disabled."


def test_health_is_told_for_each_service_and_turns_before_the_server_stops(new_server):
    server = new_server()
    names = ["", *(f"engram.v1.{name}Service" for name in ("Task", "Job", "Model", "Dataset", "Inference"))]
    health = health_pb2_grpc.HealthStub(server.channel)
    watches = {name: health.Watch(health_pb2.HealthCheckRequest(service=name)) for name in names}
    assert all(next(watch).status == health_pb2.HealthCheckResponse.SERVING for watch in watches.values())
    server.signal(signal.SIGTERM)
    assert all(next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING for watch in watches.values())
    assert server.wait() == 0


def test_the_log_is_one_json_object_a_line_and_holds_no_texts(new_server, tmp_path):
    server = new_server()
    server.engram("models", "import", "base", BASE_MODEL)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "confidential", "label": "x"}\n{"text": "secret", "label": "y"}\n')
    server.engram("datasets", "upload", "rows", rows)
    job = server.json("start-task", "base", "t", "--dataset", "rows", "--epochs", "1", "--wait")
    server.engram("classify", "base", "confidential")
    # No UTF-8, so protobuf refuses it before Engram sees it, and says so: in the form of the log.
    raw = server.channel.unary_unary("/engram.v1.InferenceService/Tokenize")
    with pytest.raises(grpc.RpcError):
        raw(b"\x0a\x04base\x1a\x02\xff\xfe")
    server.engram("tokenize", "base", "and the next one is answered")
    assert server.stop() == 0
    text = (server.folder / "engramd.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) and line["level"] and line["message"] for line in lines)
    said = [line["message"] for line in lines if line.get("job") == job["name"].split("/")[-1]]
    assert said == ["job accepted", "run started", "files are shared with the version before", "job ended"]
    assert "confidential" not in text and "secret" not in text


def series(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_metrics_are_in_the_text_format(shared_server):
    status, text = get(shared_server, "/metrics")
    assert status == 200 and series(text) and not [line for line in series(text) if not SERIES.match(line)]
    checked = subprocess.run([PROMETHEUS / "promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr


def test_versions_beyond_max_loaded_versions_make_room_for_each_other(new_server):
    server = new_server({"max_loaded_versions": 2})
    for name in ("a", "b", "c"):
        server.engram("models", "import", name, BASE_MODEL)

    def loaded() -> float:
        [line] = [line for line in series(get(server, "/metrics")[1]) if line.startswith('engram_inference{value="loaded_versions"}')]
        return float(line.split()[1])

    answers, seen = {}, []
    for name in ("a", "b", "c", "a", "c", "b"):
        request = messages().LongContextEncodeRequest(model=name, text="Where is my card?")
        vector = server.stub("InferenceService").LongContextEncode(request).vector.data
        assert vector and answers.setdefault(name, vector) == vector
        seen.append(loaded())
    assert seen == [1, 2, 2, 2, 2, 2]


class Prometheus:
    """A real Prometheus on a free port, with the configuration that the repository ships, pointed at one server."""

    def __init__(self, server, folder):
        shipped = ROOT / "deploy" / "prometheus" / "prometheus.yaml"
        checked = subprocess.run([PROMETHEUS / "promtool", "check", "config", shipped], capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        config = yaml.safe_load(shipped.read_text())
        [job] = config["scrape_configs"]
        assert job["static_configs"] == [{"targets": ["127.0.0.1:7861"]}]  # where a server is that was not told otherwise
        job["static_configs"] = [{"targets": [server.admin]}]
        config["global"]["scrape_interval"] = "1s"
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.process = subprocess.Popen([PROMETHEUS / "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb",
                                         "--web.listen-address=127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if 'msg="Listening on"' in line:
                self.address = re.search(r"address=(\S+)", line)[1]
                break
        self.reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.reader.start()

    def query(self, expression: str) -> list:
        url = f"http://{self.address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.reader.join()


def test_every_panel_of_the_dashboard_shows_the_real_server(shared_server, tmp_path):
    """The shipped scrape configuration and the shipped dashboard, run by Prometheus itself while the server works."""
    s = shared_server
    s.engram("start-task", "base@1", "dashboard", "--dataset", "banking77", "--epochs", "1", "--label", "dashboard", "--wait")
    running = s.json("start-task", "base@1", "dashboard", "--dataset", "banking77", "--epochs", "500")["name"]
    panels = json.loads((ROOT / "deploy" / "grafana" / "engram.json").read_text())["panels"]
    queries = {target["expr"]: target["legendFormat"] for panel in panels for target in panel.get("targets", [])}
    assert len(queries) >= 10
    prometheus = Prometheus(s, tmp_path)
    try:
        waiting, deadline = dict(queries), time.monotonic() + 60
        while waiting:
            assert time.monotonic() < deadline, f"these show nothing: {list(waiting)}"
            s.engram("classify", "base@dashboard", "Where is my card?")
            for expression, legend in list(waiting.items()):
                result = prometheus.query(expression)
                if result:
                    # Every label that the legend names is there.
                    assert all(label in one["metric"] for one in result for label in re.findall(r"\{\{(\w+)\}\}", legend)), (expression, result)
                    del waiting[expression]
        assert [one["value"][1] for one in prometheus.query("up")] == ["1"]
    finally:
        prometheus.stop()
        s.engram("jobs", "cancel", running)


def test_the_shipped_manifest_fits_the_real_server(new_server):
    """The server starts from the ConfigMap's file, and answers the probes; ports, mounts and claims are those that the file names."""
    documents = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "engram.yaml").read_text()))
    kinds = {d["kind"]: d for d in documents}
    assert len(kinds) == len(documents) == 6
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
    # Clients of the Service reach the API alone; who may reach which port is the policy's to say, and it speaks of every port.
    assert {p["targetPort"] for p in kinds["Service"]["spec"]["ports"]} == {"grpc"}
    policy = kinds["NetworkPolicy"]["spec"]
    assert {p["port"] for rule in policy["ingress"] for p in rule["ports"]} == set(ports.values()) and all(rule["from"] for rule in policy["ingress"])
    for selector in (kinds["Service"]["spec"]["selector"], policy["podSelector"]["matchLabels"], kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["admin"])
    here = {**config, "grpc_address": "0.0.0.0:0", "admin_address": "0.0.0.0:0"}
    del here["data_dir"]
    server = new_server(here)
    probes = [container[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    health = health_pb2_grpc.HealthStub(server.channel)
    for probe in (probe["grpc"] for probe in probes if "grpc" in probe):
        assert probe["port"] == ports["grpc"]
        answer = health.Check(health_pb2.HealthCheckRequest(service=probe.get("service", "")))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    paths = {probe["httpGet"]["path"] for probe in probes if "httpGet" in probe}
    for path in paths | {pod["metadata"]["annotations"]["prometheus.io/path"]}:
        assert get(server, path)[0] == 200
    assert server.stop() == 0
    # The pod is given longer to stop than the server takes at most.
    drain = int(re.search(r"int64_t drain_seconds = (\d+);", (ROOT / "server" / "config.h").read_text())[1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain
