"""What must survive: kills at random moments, two servers on one directory, a full disk, clients that leave."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import threading
import time
import urllib.request

import grpc
import pytest

from conftest import BASE_MODEL, BUILD, Server, few_classes, messages

def poll(holds, seconds: float = 30) -> None:
    """Waits for another process to get there."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def metrics(server) -> str:
    with urllib.request.urlopen(f"http://{server.admin}/metrics", timeout=10) as answer:
        return answer.read().decode()


ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def workers_of(server) -> list[int]:
    children = pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return [int(pid) for path in children for pid in path.read_text().split()]


def prepare(server, folder):
    server.engram("models", "import", "base", BASE_MODEL, "--label", "stable")
    for name in ("banking77", "dbpedia14"):
        train = few_classes(f"{name}.train.jsonl.gz", 4, 12, folder / f"{name}.jsonl")
        server.engram("datasets", "upload", name, train, "--test", train)


def test_two_servers_on_one_directory(new_server):
    first = new_server()
    second = subprocess.run([BUILD / "bin" / "engramd", "--config", first.folder / "engramd.yaml"], capture_output=True, text=True, timeout=60)
    assert second.returncode == 1 and "another engramd uses this data_dir" in second.stderr
    first.engram("models", "list")  # the first one goes on


@pytest.mark.parametrize("key", ["grpc_address", "admin_address"])
def test_two_servers_on_one_port(new_server, key):
    first = new_server()
    taken = {"grpc_address": first.grpc, "admin_address": first.admin}[key]
    with pytest.raises(AssertionError, match=f"{key} cannot be bound"):
        new_server({key: taken}, folder="second")


def test_a_stopped_server_goes_on_where_it_was(new_server, tmp_path):
    """SIGTERM in the middle of a run: a checkpoint, a clean exit, and after the start the run ends as if nothing had been."""
    m = messages()
    server = new_server()
    prepare(server, tmp_path)
    job = server.json("start-task", "base", "intents", "--dataset", "banking77", "--epochs", "40", "--label", "a")["name"]
    for state in server.stub("JobService").WatchJob(m.WatchJobRequest(name=job)):
        if state.progress.phase == "training" and state.progress.step >= 3:
            break
    assert server.stop() == 0
    server.start()
    ended = server.json("jobs", "watch", job)
    assert ended["state"] == "JOB_STATE_SUCCEEDED" and ended["attempts"] == 2 and ended["result"]["steps"] == 80
    # The same job, never stopped, makes the same weights to the bit.
    again = server.json("start-task", "base@1", "intents", "--dataset", "banking77", "--epochs", "40", "--wait")
    digests = []
    for version in (ended["result"]["version"], again["result"]["version"]):
        manifest = json.loads((server.folder / "data" / version / "engram.json").read_text())
        digests.append([manifest["files"]["model.safetensors"], manifest["files"]["heads.safetensors"]])
    assert digests[0] == digests[1]


def test_a_worker_does_not_run_what_an_earlier_one_has_finished(tmp_path):
    """A server that was killed may miss the result of its worker's last moment, and start the job again."""
    for name, content in (("spec.binpb", b""), ("result.binpb", b"the result"), ("output/model.safetensors", b"the version")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with open(os.devnull, "w") as quiet:
        process = subprocess.Popen([BUILD / "bin" / "engram-worker", "--run-directory", tmp_path], stdin=subprocess.PIPE, stderr=quiet)
        assert process.wait(timeout=60) == 0
    assert (tmp_path / "result.binpb").read_bytes() == b"the result" and (tmp_path / "output/model.safetensors").read_bytes() == b"the version"


def test_a_watcher_survives_a_restart_of_the_server(new_server, tmp_path):
    """A stopping server ends its watchers' streams at once, and the CLI goes on watching when it is back."""
    server = new_server()
    server.config["grpc_address"] = server.grpc  # it comes back under the same address
    prepare(server, tmp_path)
    job = server.json("start-task", "base", "intents", "--dataset", "banking77", "--epochs", "60")["name"]
    command = [BUILD / "bin" / "engram", "--address", server.grpc, "jobs", "watch", job]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert any("training" in line for line in watching.stderr)
        server.engram("jobs", "pause", job)
        poll(lambda: server.json("jobs", "show", job)["state"] == "JOB_STATE_PAUSED")
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 4  # nothing waits for the watcher of a job that does not run
        server.start()
        server.engram("jobs", "resume", job)
        out, rest = watching.communicate(timeout=300)
    assert watching.returncode == 0 and "succeeded" in out
    assert rest.count("trying again") == 1


@pytest.mark.parametrize("verb,state", [("cancel", "JOB_STATE_CANCELLED"), ("pause", "JOB_STATE_PAUSED")])
def test_what_was_asked_of_a_run_outlives_the_server(new_server, tmp_path, verb, state):
    """SIGKILL after the answer to cancel or pause and before the worker has ended: the next server does what was asked."""
    worker = tmp_path / "worker"
    # Its child holds the pipe of the messages, so that the server sees no end of this run.
    worker.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/child.part && mv {tmp_path}/child.part {tmp_path}/child\nwait\n")
    worker.chmod(0o755)
    server = new_server({"worker_program": str(worker)})
    prepare(server, tmp_path)
    job = server.json("start-task", "base", "intents", "--dataset", "banking77", "--epochs", "1")["name"]
    poll((tmp_path / "child").exists)
    try:
        assert server.json("jobs", verb, job)["state"] == "JOB_STATE_RUNNING"
        server.kill()
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    del server.config["worker_program"]
    server.start()
    assert server.json("jobs", "show", job)["state"] == state
    if verb == "pause":
        server.engram("jobs", "resume", job)
        ended = server.json("jobs", "watch", job)
        assert ended["state"] == "JOB_STATE_SUCCEEDED" and ended["attempts"] == 2


def test_kill_loop(new_server, tmp_path):
    """20 kills of server or worker at random moments; afterwards every accepted job ends, and every version and label is whole."""
    rng = random.Random(20261124)
    server = new_server()
    prepare(server, tmp_path)
    accepted, labels = [], {}
    worker_kills = 0  # in a row: the third crash without a checkpoint between them fails a job, by design
    for round_number in range(20):
        accepted.append(server.json("start-task", "base@1", f"task{round_number}", "--dataset", rng.choice(["banking77", "dbpedia14"]),
                                    "--epochs", "3", "--set", "checkpoint_every_steps=2", "--label", f"made{round_number}")["name"])
        # The moment of the kill is random by intention; nothing waits for it to have an effect.
        time.sleep(rng.uniform(0.0, 1.2))
        victims = workers_of(server)
        if victims and worker_kills < 2 and rng.random() < 0.5:
            os.kill(rng.choice(victims), signal.SIGKILL)
            worker_kills += 1
        else:
            worker_kills = 0
            server.kill()
            server.start()
    for name in accepted:
        job = server.json("jobs", "watch", name) if server.json("jobs", "show", name)["state"] not in ENDED else server.json("jobs", "show", name)
        assert job["state"] == "JOB_STATE_SUCCEEDED", job.get("error")
        labels[job["label"]] = int(job["result"]["version"].split("/")[-1])
    model = next(m for m in server.json("models", "list")["models"] if m["name"] == "models/base")
    assert {label: number for label, number in model["labels"].items() if label != "stable"} == labels
    # Loading verifies the digest of every file.
    for label in rng.sample(sorted(labels), 3):
        server.engram("classify", f"base@{label}", "Where is my card?")
    assert not list((server.folder / "data" / "runs").iterdir())


def test_a_client_that_leaves(new_server, tmp_path):
    """Half an upload, half an import, a watcher that goes: nothing stays behind, the server goes on."""
    m = messages()
    server = new_server()
    uploads = (
        ("DatasetService", "UploadDataset", [m.UploadDatasetRequest(header=m.UploadHeader(dataset="half", training_file="a.jsonl")),
                                             m.UploadDatasetRequest(training=b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')]),
        ("ModelService", "ImportModel", [m.ImportModelRequest(header=m.ImportHeader(model="half")),
                                         m.ImportModelRequest(chunk=m.FileChunk(path="config.json", data=b"{"))]))
    for service, method, half in uploads:
        sent, left = threading.Event(), threading.Event()

        def requests():
            yield from half
            sent.set()  # gRPC asks for the next one: those before it are on their way
            left.wait(30)

        call = getattr(server.stub(service), method).future(requests())
        assert sent.wait(30)
        call.cancel()
        left.set()
    poll(lambda: "code=\"CANCELLED\",method=\"ImportModel\"" in metrics(server) or "code=\"INVALID_ARGUMENT\",method=\"ImportModel\"" in metrics(server))
    assert not list((server.folder / "data" / "staging").iterdir())
    prepare(server, tmp_path)
    job = server.json("start-task", "base", "intents", "--dataset", "banking77", "--epochs", "2")["name"]
    watch = server.stub("JobService").WatchJob(m.WatchJobRequest(name=job))
    next(watch)
    watch.cancel()
    assert server.json("jobs", "watch", job)["state"] == "JOB_STATE_SUCCEEDED"
    assert [d["name"] for d in server.json("datasets", "list")["datasets"]] == ["datasets/banking77", "datasets/dbpedia14"]
    assert [x["name"] for x in server.json("models", "list")["models"]] == ["models/base"]


def test_a_full_disk(tmp_path):
    """The state lies on a file system that is too small for three versions: an import fails with the cause, a job waits, nothing half done stays,
    the first version serves on, and with space freed the same job succeeds."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    # A mount namespace of its own where that is allowed to everyone; else root mounts it in the open.
    namespace = subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0
    assert namespace or os.geteuid() == 0, "neither user namespaces nor root: this test cannot make a small file system"
    script = f"mount -t tmpfs -o size=250m tmpfs {mounted} && exec {BUILD}/bin/engramd --config {tmp_path}/engramd.yaml"
    (tmp_path / "engramd.yaml").write_text(f"data_dir: {mounted}/data\ngrpc_address: 127.0.0.1:0\nadmin_address: 127.0.0.1:0\n")
    command = ["unshare", *(["-rm"] if namespace else ["-m"]), "sh", "-c", script]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = process.stdout.readline()
        assert line, (tmp_path / "log").read_text()
        address = json.loads(line)["grpc_address"]
        run = lambda *words: subprocess.run([BUILD / "bin" / "engram", "--address", address, *words], capture_output=True, text=True, timeout=120)
        assert run("models", "import", "one", BASE_MODEL).returncode == 0
        second = run("models", "import", "two", BASE_MODEL)
        assert second.returncode == 1 and "DISK_FULL" in second.stderr, second.stderr
        listed = json.loads(run("--json", "models", "list").stdout)["models"]
        assert [m["name"] for m in listed] == ["models/one"]
        assert run("tokenize", "one", "still here").returncode == 0
        train = few_classes("banking77.train.jsonl.gz", 2, 4, tmp_path / "train.jsonl")
        assert run("datasets", "upload", "rows", train).returncode == 0
        # More than the one step of warm-up, after which a version would be its base and share its files.
        first = run("start-task", "one@1", "first", "--dataset", "rows", "--epochs", "3", "--wait")
        assert first.returncode == 0, first.stderr
        estimate = json.loads(run("--json", "start-task", "one@1", "second", "--dataset", "rows", "--epochs", "3", "--validate-only").stdout)["estimate"]
        assert any("DISK_LOW" in warning for warning in estimate["warnings"])
        show = lambda name: json.loads(run("--json", "jobs", "show", name).stdout)
        second = json.loads(run("--json", "start-task", "one@1", "second", "--dataset", "rows", "--epochs", "3").stdout)["name"]
        # It waits for space, however often it has to be tried.
        poll(lambda: show(second).get("postponed", {}).get("tries", 0) >= 2, 90)
        assert show(second)["postponed"]["reason"]["reason"] == "DISK_FULL"
        versions = json.loads(run("--json", "models", "show", "one").stdout)["versions"]
        assert [v["name"].split("/")[-1] for v in versions] == ["2", "1"]
        assert run("models", "delete", "one@2", "--yes").returncode == 0
        assert run("jobs", "pause", second).returncode == 0 and run("jobs", "resume", second).returncode == 0  # at once
        assert json.loads(run("--json", "jobs", "watch", second).stdout)["state"] == "JOB_STATE_SUCCEEDED"
    finally:
        process.terminate()
        process.wait(timeout=60)
