"""Rows of bench/hardening.py about work that was accepted: kills, a busy neighbour, serving beside training, hours of mixed load."""
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

import grpc

from conftest import BASE_MODEL, few_classes, messages, stubs

ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
HOG = "import os, sys\nos.nice(int(sys.argv[1]))\nwhile True:\n    pass\n"


def ended(server, job: str) -> dict:
    """The job once it has ended."""
    shown = server.json("jobs", "show", job)
    return shown if shown["state"] in ENDED else server.json("jobs", "watch", job)


def digests(server, version: str) -> tuple:
    files = json.loads((server.folder / "data" / version / "engram.json").read_text())["files"]
    return files["model.safetensors"], files["heads.safetensors"]


def workers_of(server) -> list[int]:
    children = pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return [int(pid) for path in children for pid in path.read_text().split()]


def kills(new_server, row, rounds: int) -> list[dict]:
    """SIGKILL of server or worker at random moments under a mixed load; afterwards everything that was acknowledged is there."""
    rng, server = random.Random(20261127), new_server("kills")
    server.engram("models", "import", "base", BASE_MODEL, "--label", "stable")
    files = {}
    for name in ("banking77", "dbpedia14"):
        files[name] = few_classes(f"{name}.train.jsonl.gz", 4, 12, server.folder / f"{name}.jsonl")
        server.engram("datasets", "upload", name, files[name], "--test", files[name])
    server.engram("start-task", "base@1", "first", "--dataset", "banking77", "--epochs", "1", "--label", "first", "--wait")
    jobs, uploads, labels, worker_kills = [], [], {}, 0
    for number in range(rounds):
        group = rng.choice(["banking77", "dbpedia14", "evaluation"])
        if group == "evaluation":
            made = server.json("evaluate", "base@first")
        else:
            made = server.json("start-task", "base@1", f"learn-{group}", "--dataset", group, "--epochs", "3", "--set", "checkpoint_every_steps=2")
        jobs.append((made["name"], group))
        if rng.random() < 0.3:
            server.engram("datasets", "upload", f"rows{number}", files["banking77"])
            uploads.append(f"datasets/rows{number}")
        label = f"moved{rng.randrange(4)}"
        labels[label] = rng.choice([1, 2])
        server.engram("models", "promote", "base", labels[label], "--label", label)
        time.sleep(rng.uniform(0, 1.2))  # the moment of the kill is random by intention
        victims = workers_of(server)
        # The third crash in a row without a checkpoint between them fails a job, by design.
        if victims and worker_kills < 2 and rng.random() < 0.5:
            os.kill(rng.choice(victims), signal.SIGKILL)
            worker_kills += 1
        else:
            worker_kills = 0
            server.kill()
            server.start()
    groups, well = {}, 0
    for name, group in jobs:
        job = ended(server, name)
        if job["state"] != "JOB_STATE_SUCCEEDED":
            print(f"  {name}: {job['state']} {job.get('error')}", flush=True)
            continue
        well += 1
        if group != "evaluation":
            groups.setdefault(group, set()).add(digests(server, job["result"]["version"]))
    there = {d["name"] for d in server.json("datasets", "list")["datasets"]}
    model = next(m for m in server.json("models", "list")["models"] if m["name"] == "models/base")
    lost = sum(u not in there for u in uploads) + sum(int(model["labels"].get(k, 0)) != v for k, v in labels.items())
    left = len(list((server.folder / "data" / "runs").iterdir()))
    server.stop()
    return [row(f"{rounds} kills: jobs that ended well, of {len(jobs)} accepted", well, "jobs", f"= {len(jobs)}", well == len(jobs)),
            row("uploads and labels that were acknowledged and are lost", lost, "", "= 0", lost == 0),
            row("weights of equal jobs that differ", sum(len(g) - 1 for g in groups.values()), "", "= 0", all(len(g) == 1 for g in groups.values())),
            row("run directories left behind", left, "", "= 0", left == 0)]


class Training:
    """One server with the base model and a data set that takes some tens of seconds to learn."""

    def __init__(self, new_server, name: str, epochs: int):
        self.server, self.epochs, self.count = new_server(name), epochs, 0
        self.server.engram("models", "import", "base", BASE_MODEL)
        rows = few_classes("banking77.train.jsonl.gz", 8, 40, self.server.folder / "rows.jsonl")
        self.server.engram("datasets", "upload", "rows", rows)
        self.server.engram("start-task", "base@1", "topics", "--dataset", "rows", "--epochs", "1", "--label", "stable", "--wait")
        self.train()  # once, so that what is measured finds files and libraries in memory

    def begin(self) -> str:
        self.count += 1
        return self.server.json("start-task", "base@1", f"learn{self.count}", "--dataset", "rows", "--epochs", self.epochs)["name"]

    def speed(self, job: str) -> float:
        """Tokens a second, once it has ended."""
        result = ended(self.server, job)["result"]
        return int(result["tokens"]) / result["work_seconds"]

    def train(self) -> float:
        return self.speed(self.begin())


def neighbour(new_server, row, epochs: int) -> list[dict]:
    """Training beside a process that computes all the time."""
    training = Training(new_server, "neighbour", epochs)
    alone = statistics.median(training.train() for _ in range(3))
    rows = [row("training alone", alone, "tok/s", "", True)]
    for nice in (0, 19):
        with subprocess.Popen([sys.executable, "-c", HOG, str(nice)]) as hog:
            try:
                beside = statistics.median(training.train() for _ in range(2))
            finally:
                hog.kill()
        rows.append(row(f"beside one busy process of niceness {nice}, of alone", beside / alone, "", ">= 0.5", beside >= 0.5 * alone))
    training.server.stop()
    return rows


def serving(new_server, row, epochs: int, seconds: float, percentile) -> list[dict]:
    """Training and two closed clients of one short text, each alone and both at once."""
    training = Training(new_server, "serving", epochs)
    server, request = training.server, messages().ClassifyRequest(model="base", texts=["where is my card"])

    def ask(until) -> list[float]:
        took = []

        def client():
            with grpc.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                classify = stubs()["InferenceService"](channel).Classify
                while not until():
                    began = time.monotonic()
                    classify(request, timeout=60)
                    took.append(1000 * (time.monotonic() - began))
        threads = [threading.Thread(target=client) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return took

    def for_seconds(time_left: float):
        end = time.monotonic() + time_left
        return lambda: time.monotonic() > end

    alone = statistics.median(training.train() for _ in range(2))
    ask(for_seconds(2))
    p99_alone = percentile(ask(for_seconds(seconds)), 0.99)
    job, over = training.begin(), threading.Event()
    speeds = []
    waiting = threading.Thread(target=lambda: (speeds.append(training.speed(job)), over.set()))
    waiting.start()
    beside = ask(over.is_set)
    waiting.join()
    p99 = percentile(beside, 0.99)
    server.stop()
    return [row("training alone", alone, "tok/s", "", True), row("short Classify alone, p99", p99_alone, "ms", "", True),
            row("short Classify beside training, p99, of alone", p99 / p99_alone, "", "<= 3", p99 <= 3 * p99_alone),
            row("training beside two clients, of alone", speeds[0] / alone, "", ">= 0.45", speeds[0] >= 0.45 * alone)]


class Process:
    """What a process holds."""

    def __init__(self, pid: int):
        self.folder = pathlib.Path(f"/proc/{pid}")

    def field(self, name: str) -> int:
        return next(int(line.split()[1]) for line in (self.folder / "status").read_text().splitlines() if line.startswith(name + ":"))

    def sample(self) -> tuple[float, int, int]:
        """MiB resident, descriptors, threads."""
        return self.field("VmRSS") / 1024, len(list((self.folder / "fd").iterdir())), self.field("Threads")


def soak(new_server, row, minutes: float) -> list[dict]:
    """Hot swaps, cancelled calls, deadlines, broken clients and uploads, while two clients ask; whether anything grows."""
    m, server = messages(), new_server("soak")
    server.engram("models", "import", "base", BASE_MODEL)
    rows = few_classes("banking77.train.jsonl.gz", 4, 16, server.folder / "rows.jsonl")
    server.engram("datasets", "upload", "rows", rows)
    for _ in range(2):
        server.engram("start-task", "base@1", "topics", "--dataset", "rows", "--epochs", "1", "--label", "stable", "--wait")
    stop, failures = threading.Event(), []
    short = m.ClassifyRequest(model="base", texts=["where is my card"])
    long = m.ClassifyRequest(model="base", texts=["The committee met on a rainy morning. " * 60] * 64, truncate=True)

    def loop(work, pause: float):
        with grpc.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            ask = {name: stub(channel) for name, stub in stubs().items()}
            number = 0
            while not stop.wait(pause):
                number += 1
                try:
                    work(ask, number)
                except grpc.RpcError as error:
                    if error.code() not in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED):
                        failures.append(f"{work.__name__}: {error.code().name} {error.details()}")
                except grpc.FutureCancelledError:
                    pass

    def asks(ask, _):
        ask["InferenceService"].Classify(short, timeout=60)

    def swaps(ask, number):
        ask["ModelService"].SetLabel(m.SetLabelRequest(model="base", label="stable", version=str(2 + number % 2)))

    def cancels(ask, _):
        call = ask["InferenceService"].Classify.future(long)
        time.sleep(0.05)
        call.cancel()

    def hurries(ask, _):
        ask["InferenceService"].Classify(long, timeout=0.03)

    def uploads(ask, number):
        packed = rows.read_bytes()
        ask["DatasetService"].UploadDataset(iter([
            m.UploadDatasetRequest(header=m.UploadHeader(dataset=f"s{number}", training_file="a.jsonl")),
            m.UploadDatasetRequest(training=packed), m.UploadDatasetRequest(end=True)]))
        ask["DatasetService"].DeleteDataset(m.DeleteDatasetRequest(name=f"s{number}"))

    def breaks(_, number):
        for address in (server.grpc, server.admin):
            host, port = address.rsplit(":", 1)
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(os.urandom(64) if number % 2 else b"GET / HT")

    kinds = [(asks, 0.002), (asks, 0.002), (swaps, 1), (cancels, 0.5), (hurries, 0.5), (uploads, 1), (breaks, 0.3)]
    threads = [threading.Thread(target=loop, args=kind) for kind in kinds]
    for thread in threads:
        thread.start()
    process, samples, end = Process(server.process.pid), [], time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        time.sleep(0.5)
        samples.append(process.sample())
    stop.set()
    for thread in threads:
        thread.join()
    server.stop()
    for failure in failures[:5]:
        print("  " + failure, flush=True)
    # The first half warms up. Of the second, its last third against its first.
    half = samples[len(samples) // 2:]
    third = max(1, len(half) // 3)
    first, last = half[:third], half[-third:]
    middle = [statistics.median(s[i] for s in last) - statistics.median(s[i] for s in first) for i in range(3)]
    noise = 4 + 2 * statistics.median(abs(s[0] - statistics.median(t[0] for t in half)) for s in half)
    return [row(f"{minutes:g} minutes: memory's growth over the second half", middle[0], "MiB", f"<= {noise:.1f}", middle[0] <= noise),
            row("growth of descriptors", middle[1], "", "<= 2", middle[1] <= 2), row("growth of threads", middle[2], "", "<= 2", middle[2] <= 2),
            row("calls that failed unasked", len(failures), "", "= 0", not failures)]
