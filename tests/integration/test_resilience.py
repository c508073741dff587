"""What must survive: kills at random moments, two servers on one directory, a full disk, clients that leave."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

import grpc
import pytest

from conftest import BASE_MODEL, BUILD, Server, few_classes, messages

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
    assert ended["state"] == "JOB_STATE_SUCCEEDED" and ended["attempts"] == 2 and ended["result"]["steps"] == "80"
    # The same job, never stopped, makes the same weights to the bit.
    again = server.json("start-task", "base@1", "intents", "--dataset", "banking77", "--epochs", "40", "--wait")
    digests = []
    for version in (ended["result"]["version"], again["result"]["version"]):
        manifest = json.loads((server.folder / "data" / version / "engram.json").read_text())
        digests.append([manifest["files"]["model.safetensors"], manifest["files"]["heads.safetensors"]])
    assert digests[0] == digests[1]


def test_kill_loop(new_server, tmp_path):
    """20 kills of server or worker at random moments; afterwards every accepted job ends, and every version and label is whole."""
    rng = random.Random(20261124)
    server = new_server()
    prepare(server, tmp_path)
    accepted, labels = [], {}
    worker_kills = 0  # in a row: the third crash without a checkpoint between them fails a job, by design
    for round_number in range(20):
        for words in (["start-task", "base@1", f"task{round_number}", "--dataset", rng.choice(["banking77", "dbpedia14"]), "--epochs", "3",
                       "--set", "checkpoint_every_steps=2", "--label", f"made{round_number}"],):
            answer = server.engram("--json", *words, check=False)
            if answer.returncode == 0:
                accepted.append(json.loads(answer.stdout)["name"])
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
    assert len(accepted) == 20
    for name in accepted:
        job = server.json("jobs", "watch", name) if server.json("jobs", "show", name)["state"] not in ENDED else server.json("jobs", "show", name)
        assert job["state"] == "JOB_STATE_SUCCEEDED", job.get("error")
        labels[job["label"]] = job["result"]["version"].split("/")[-1]
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
    released = __import__("threading").Event()

    def half_upload():
        yield m.UploadDatasetRequest(header=m.UploadHeader(dataset="half", training_file="a.jsonl"))
        yield m.UploadDatasetRequest(training=b'{"text": "a", "label": "x"}\n')
        released.wait(30)

    def half_import():
        yield m.ImportModelRequest(header=m.ImportHeader(model="half"))
        yield m.ImportModelRequest(chunk=m.FileChunk(path="config.json", data=b"{"))
        released.wait(30)

    for call in (server.stub("DatasetService").UploadDataset.future(half_upload()), server.stub("ModelService").ImportModel.future(half_import())):
        call.cancel()
    released.set()
    prepare(server, tmp_path)
    job = server.json("start-task", "base", "intents", "--dataset", "banking77", "--epochs", "2")["name"]
    watch = server.stub("JobService").WatchJob(m.WatchJobRequest(name=job))
    next(watch)
    watch.cancel()
    assert server.json("jobs", "watch", job)["state"] == "JOB_STATE_SUCCEEDED"
    assert [d["name"] for d in server.json("datasets", "list")["datasets"]] == ["datasets/banking77", "datasets/dbpedia14"]
    assert [x["name"] for x in server.json("models", "list")["models"]] == ["models/base"]


def test_a_full_disk(tmp_path):
    """The state lies on a file system too small for a second version: the import fails with the cause, the first version serves on."""
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
    finally:
        process.terminate()
        process.wait(timeout=60)
