"""Accepted work survives the disk: whatever fails for a while, no job fails with it, and the weights are those of an undisturbed run, bit for bit."""
import errno
import json
import os
import pathlib
import shutil
import subprocess
import time
import urllib.request

import pytest

from conftest import BASE_MODEL, BUILD, Server, few_classes
from test_resilience import ENDED, metrics, poll, prepare, workers_of


def readyz(server) -> str:
    with urllib.request.urlopen(f"http://{server.admin}/readyz", timeout=10) as answer:  # 200: it serves on
        return answer.read().decode()


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The library that makes a disk fail."""
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, pathlib.Path(__file__).with_name("faults.c"), "-ldl"], check=True)
    return library


@pytest.fixture
def faulty_server(new_server, shim, monkeypatch):
    """A server, and a function that makes its disk fail with an errno, or work again (None)."""
    server = new_server(start=False)
    server.folder.mkdir(parents=True, exist_ok=True)
    control = server.folder / "fault"
    monkeypatch.setenv("FAULT_ROOT", server.config["data_dir"])
    monkeypatch.setenv("FAULT_CONTROL", str(control))
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    server.start()
    monkeypatch.delenv("LD_PRELOAD")

    def fail(number: int | None) -> None:
        if number is None:
            control.unlink()
        else:
            control.with_suffix(".new").write_text(str(number))
            control.with_suffix(".new").rename(control)

    return server, fail


def digests(server, version: str) -> dict:
    return json.loads((server.folder / "data" / version / "engram.json").read_text())["files"]


def test_no_job_fails_with_the_disk(faulty_server, tmp_path):
    server, fail = faulty_server
    prepare(server, tmp_path)
    submit = lambda task: server.json("start-task", "base@1", task, "--dataset", "banking77", "--epochs", "8",
                                      "--set", "checkpoint_every_steps=2")["name"]
    jobs = [submit(f"task{n}") for n in range(6)]
    for number in (errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENOSPC):
        fail(number)
        poll(lambda: "jobs postponed" in readyz(server), 60)
        answer = readyz(server)
        assert answer.startswith("ready\n") and "next try in" in answer
        assert "engram_jobs_postponed 0" not in metrics(server)
        postponed = [job for job in (server.json("jobs", "show", name) for name in jobs) if "postponed" in job]
        assert postponed and all(job["state"] in ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING") for job in postponed)
        assert server.engram("tokenize", "base", "still here").returncode == 0
        fail(None)
        # Whoever does not want to wait for the next try.
        for job in postponed:
            if job["state"] == "JOB_STATE_QUEUED":
                server.engram("jobs", "pause", job["name"], check=False)
                server.engram("jobs", "resume", job["name"], check=False)
    ended = [server.json("jobs", "watch", name) for name in jobs]
    assert [job["state"] for job in ended] == ["JOB_STATE_SUCCEEDED"] * 6, [job.get("error") for job in ended]
    undisturbed = server.json("start-task", "base@1", "task0", "--dataset", "banking77", "--epochs", "8", "--wait")
    theirs, ours = digests(server, undisturbed["result"]["version"]), digests(server, ended[0]["result"]["version"])
    assert all(ours[file] == theirs[file] for file in ("model.safetensors", "heads.safetensors"))
    assert readyz(server) == "ready\n"


def test_a_lost_or_older_database_costs_nothing(new_server, tmp_path):
    server = new_server()
    data = server.folder / "data"
    prepare(server, tmp_path)
    server.stop()
    older = tmp_path / "older.db"
    shutil.copy(data / "engram.db", older)
    server.start()
    server.engram("datasets", "upload", "later", few_classes("banking77.train.jsonl.gz", 2, 4, tmp_path / "later.jsonl"))
    server.engram("models", "import", "base", BASE_MODEL)
    server.stop()

    listing = lambda: sorted(str(path.relative_to(data)) for folder in ("models", "datasets") for path in (data / folder).rglob("*"))
    before = listing()
    newest = tmp_path / "newest.db"
    shutil.move(data / "engram.db", newest)
    for content in (None, b""):
        if content is not None:
            (data / "engram.db").write_bytes(content)
        refused = subprocess.run([BUILD / "bin" / "engramd", "--config", server.folder / "engramd.yaml"], capture_output=True, text=True, timeout=60)
        assert refused.returncode == 1 and "back from a backup" in refused.stderr and str(data) not in refused.stderr
        assert listing() == before

    shutil.copy(older, data / "engram.db")
    server.start()
    assert "an older copy" in readyz(server)
    assert listing() == before
    # Its next version does not collide with the one that it knows nothing of.
    train = server.json("start-task", "base@1", "intents", "--dataset", "banking77", "--epochs", "1", "--wait")
    assert train["result"]["version"] == "models/base/versions/3"
    # Nor does a data set of the same name: what lay there is kept.
    server.engram("datasets", "upload", "later", few_classes("dbpedia14.train.jsonl.gz", 2, 4, tmp_path / "other.jsonl"))
    assert (data / "lost+found" / "dataset-later-1" / "train.jsonl").is_file()
    server.stop()
    server.start()
    assert (data / "models/base/versions/2/engram.json").is_file()

    other = Server(tmp_path / "other").start()
    other.stop()
    shutil.copy(tmp_path / "other/data/engram.db", data / "engram.db")
    server.stop()
    shutil.copy(tmp_path / "other/data/engram.db", data / "engram.db")
    refused = subprocess.run([BUILD / "bin" / "engramd", "--config", server.folder / "engramd.yaml"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "not the database" in refused.stderr


def test_a_run_whose_last_process_hangs_waits_for_it(new_server, tmp_path):
    """Somebody holds the lock of a run directory: no crash is counted, the job goes on when the lock is free."""
    import fcntl
    server = new_server()
    prepare(server, tmp_path)
    server.engram("jobs", "pause", server.json("start-task", "base@1", "first", "--dataset", "banking77", "--epochs", "200")["name"])
    job = server.json("start-task", "base@1", "second", "--dataset", "banking77", "--epochs", "1", "--priority", "5")["name"]
    folder = server.folder / "data" / "runs" / job.split("/")[-1]
    poll(lambda: server.json("jobs", "show", job)["state"] in ("JOB_STATE_RUNNING", *ENDED))
    server.engram("jobs", "pause", job)
    poll(lambda: server.json("jobs", "show", job)["state"] in ("JOB_STATE_PAUSED", *ENDED))
    assert server.json("jobs", "show", job)["state"] == "JOB_STATE_PAUSED"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server.engram("jobs", "resume", job)
        poll(lambda: server.json("jobs", "show", job).get("postponed", {}).get("reason", {}).get("reason") == "RUN_BUSY", 60)
    assert server.json("jobs", "watch", job)["state"] == "JOB_STATE_SUCCEEDED"
    assert "engram_worker_crashes_total 0" in metrics(server)


def test_a_failed_job_is_resumed(new_server, tmp_path):
    """Three crashes fail a job; its checkpoint is kept, and resumed it ends as if nothing had been."""
    worker = tmp_path / "worker"
    worker.write_text(f"#!/bin/sh\n[ -e {tmp_path}/healthy ] && exec {BUILD}/bin/engram-worker \"$@\"\nexit 1\n")
    worker.chmod(0o755)
    server = new_server({"worker_program": str(worker)})
    prepare(server, tmp_path)
    job = server.json("start-task", "base@1", "intents", "--dataset", "banking77", "--epochs", "1")["name"]
    poll(lambda: server.json("jobs", "show", job)["state"] == "JOB_STATE_FAILED")
    shown = server.engram("jobs", "show", job).stdout
    assert "WORKER_CRASHED" in shown and "jobs resume" in shown
    (tmp_path / "healthy").touch()
    server.engram("jobs", "resume", job)
    ended = server.json("jobs", "watch", job)
    assert ended["state"] == "JOB_STATE_SUCCEEDED" and "error" not in ended and "resumableUntil" not in ended
    again = server.engram("jobs", "resume", job, check=False)
    assert again.returncode == 1 and "JOB_ENDED" in again.stderr
    assert not list((server.folder / "data" / "runs").iterdir())


def test_a_run_that_cannot_be_started_is_no_attempt(new_server, tmp_path):
    """The program is away, as during an upgrade."""
    worker = tmp_path / "worker"
    shutil.copy(BUILD / "bin" / "engram-worker", worker)
    server = new_server({"worker_program": str(worker)})
    prepare(server, tmp_path)
    worker.rename(tmp_path / "away")
    job = server.json("start-task", "base@1", "intents", "--dataset", "banking77", "--epochs", "1")["name"]
    poll(lambda: server.json("jobs", "show", job).get("postponed", {}).get("tries", 0) >= 2)
    (tmp_path / "away").rename(worker)
    ended = server.json("jobs", "watch", job)
    assert ended["state"] == "JOB_STATE_SUCCEEDED" and ended["attempts"] == 1
