#!/usr/bin/env python3
"""What one client costs the others, what a server does that is asked for more than it can, and what becomes of accepted work: the promises
of docs/limits.md and docs/faults.md as rows.

Servers with the base model and small tasks, on this machine, with their clients beside them on the same cores. Run it where nothing else runs.
Each of these takes 1 to 3 minutes, and some can be made longer:

  beside     p99 of a Classify of one short text, alone and beside clients of long calls, which are a process of their own (niceness 10)
  overload   open loop, texts of some 60 tokens, deadlines of 2 s and of 200 ms, at 1.2, 2 and 3 times what the server answers in a closed loop
  memory     peak RSS over that before the request, while another client is answered
  kills      SIGKILL of server or worker at random moments under a mixed load: --rounds 20, of a nightly run 200
  neighbour  training beside a process that computes all the time
  serving    training and two clients of short texts, alone and both at once
  soak       RSS, descriptors and threads under a mixed load with broken clients: --minutes 2, of a nightly run 60

  bench/hardening.py                              all of them: about 20 minutes
  bench/hardening.py --only beside --seconds 10
  bench/hardening.py --only kills --rounds 200
  bench/hardening.py --only soak --minutes 60

Rows go into bench/results/hardening.json, those of one name at a time: what was not run keeps its rows and the machine that they are of.
"""
import argparse
import gzip
import io
import json
import os
import pathlib
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
sys.path.insert(0, str(ROOT / "bench"))
import hardening_jobs  # noqa: E402
from conftest import BASE_MODEL, Server, few_classes, messages, stubs  # noqa: E402

SHORT = "where is my card"
SENTENCE = "The committee met on a rainy morning and could not agree on what the new bridge across the river should cost. "
LARGE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def percentile(values, share: float) -> float:
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def row(name, value, unit, bar, met) -> dict:
    print(f"  {name:<58} {value:>10.4g} {unit:<8} bar {bar:<8} {'met' if met else 'NOT MET'}", flush=True)
    return {"name": name, "value": value, "unit": unit, "peer": None, "peer_value": None, "ratio": None, "bar": bar, "met": bool(met)}


# Of each: clients, service, method, and what is asked for.
LONG_CALLS = {
    "1 client of Classify, 256 texts of 512 tokens": (
        1, "InferenceService", "Classify", lambda m: m.ClassifyRequest(model="base", texts=[SENTENCE * 40] * 256, truncate=True)),
    "1 client of Classify, 1024 texts of 16 KiB, cut": (
        1, "InferenceService", "Classify", lambda m: m.ClassifyRequest(model="base", texts=[(SENTENCE * 150)[:16384]] * 1024, truncate=True)),
    "4 clients of StartTask, validate_only, 54 MB": (
        4, "TaskService", "StartTask", lambda m: m.StartTaskRequest(model="base", task="other", dataset="big", validate_only=True)),
    "4 clients of Tokenize, 16 MiB": (
        4, "InferenceService", "Tokenize", lambda m: m.TokenizeRequest(model="base", texts=[SENTENCE * 37_000])),
    "3 clients of LongContextEncode, 4 MiB": (
        3, "InferenceService", "LongContextEncode",
        lambda m: m.LongContextEncodeRequest(model="base", text=SENTENCE * 37_000, mode=m.LONG_CONTEXT_MODE_CHUNK)),
}


def long_calls(name: str, address: str) -> None:
    """Asks until its input ends, then says how the calls ended."""
    os.nice(10)
    clients, service, method, make = LONG_CALLS[name]
    request, stop, calls, outcomes = make(messages()), threading.Event(), [], []

    def keep_asking():
        ask = getattr(stubs()[service](grpc.insecure_channel(address, options=LARGE + [("grpc.use_local_subchannel_pool", 1)])), method)
        while not stop.is_set():
            call = ask.future(request)
            calls.append(call)
            try:
                call.result()
                outcomes.append("OK")
            except grpc.RpcError as error:
                outcomes.append(error.code().name)
            except grpc.FutureCancelledError:
                pass

    threads = [threading.Thread(target=keep_asking) for _ in range(clients)]
    for thread in threads:
        thread.start()
    print("asking", flush=True)
    sys.stdin.read()
    stop.set()
    for call in list(calls):
        call.cancel()
    for thread in threads:
        thread.join()
    print({outcome: outcomes.count(outcome) for outcome in set(outcomes)})


class Bench:
    """One server for the rows about calls."""

    def __init__(self, server: Server, folder: pathlib.Path, seconds: float):
        self.seconds, self.m = seconds, messages()
        self.server, self.folder = server, folder
        self.server.engram("models", "import", "base", BASE_MODEL)
        train = few_classes("banking77.train.jsonl.gz", 4, 16, folder / "train.jsonl")
        self.server.engram("datasets", "upload", "rows", train)
        self.server.engram("start-task", "base", "topics", "--dataset", "rows", "--epochs", "1", "--wait")
        self.classify = self.server.stub("InferenceService").Classify
        self.request = self.m.ClassifyRequest(model="base", texts=[SHORT])
        for _ in range(200):
            self.classify(self.request)

    def channel(self):
        return grpc.insecure_channel(self.server.grpc, options=LARGE + [("grpc.use_local_subchannel_pool", 1)])

    def stub(self, service: str):
        return stubs()[service](self.channel())

    # -- overload
    def open_loop(self, rate: float, seconds: float, timeout: float, text: str):
        """Answers per second, milliseconds of refusals, codes."""
        classify = self.stub("InferenceService").Classify
        request = self.m.ClassifyRequest(model="base", texts=[text])
        lock, ended, refusals, codes = threading.Lock(), [], [], {}

        def done(call, began):
            now = time.monotonic()
            with lock:
                codes[call.code().name] = codes.get(call.code().name, 0) + 1
                if call.code() == grpc.StatusCode.OK:
                    ended.append(now)
                elif call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    refusals.append(1000 * (now - began))

        start = time.monotonic()
        calls = []
        for i in range(int(rate * seconds)):
            wait = start + i / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            began = time.monotonic()
            call = classify.future(request, timeout=timeout)
            call.add_done_callback(lambda call, began=began: done(call, began))
            calls.append(call)
        for call in calls:
            call.exception()
        half = start + seconds / 2  # what is warm
        with lock:
            return sum(half <= t <= start + seconds for t in ended) / (seconds / 2), refusals, codes

    def closed_loop(self, clients: int, seconds: float, text: str) -> float:
        request = self.m.ClassifyRequest(model="base", texts=[text])
        end, counts = time.monotonic() + seconds, [0] * clients

        def run(i):
            classify = self.stub("InferenceService").Classify
            while time.monotonic() < end:
                classify(request)
                counts[i] += 1

        threads = [threading.Thread(target=run, args=(i,)) for i in range(clients)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return sum(counts) / seconds

    def overload(self) -> list[dict]:
        text = SENTENCE * 3
        self.closed_loop(16, 3, text)
        rows = []
        for deadline in (2.0, 0.2):
            capacity = self.closed_loop(16, self.seconds / 2, text)
            rows.append(row("closed loop of 16 clients, one text of 60 tokens", capacity, "calls/s", "", True))
            for load in (1.2, 2.0, 3.0):
                before, what = self.rss(), f"{load} times as many calls, deadlines of {deadline:g} s"
                goodput, refusals, codes = self.open_loop(load * capacity, self.seconds / 2, deadline, text)
                print(f"  {codes}", flush=True)
                rows.append(row(f"answers in time, of the closed loop's, at {what}", goodput / capacity, "", ">= 0.9", goodput >= 0.9 * capacity))
                if refusals:
                    p99 = percentile(refusals, 0.99)
                    rows.append(row(f"refusals, p99 at the client, at {what}", p99, "ms", "< 5", p99 < 5))
                rows.append(row(f"memory beyond before, at {what}", self.rss() - before, "MiB", "<= 64", self.rss() - before <= 64))
        return rows

    # -- beside
    def latencies(self, seconds: float) -> list[float]:
        classify = self.stub("InferenceService").Classify
        end, took = time.monotonic() + seconds, []
        while time.monotonic() < end:
            began = time.monotonic()
            classify(self.request, timeout=60)
            took.append(1000 * (time.monotonic() - began))
        return took

    def beside(self) -> list[dict]:
        alone = percentile(self.latencies(self.seconds / 2), 0.99)
        rows = [row("short Classify alone, p99", alone, "ms", "", True)]
        big = self.folder / "big.jsonl"
        big.write_text("".join(json.dumps({"text": SENTENCE * 8 + str(i), "label": "ab"[i % 2]}) + "\n" for i in range(60_000)))
        self.server.engram("datasets", "upload", "big", big)
        for name in LONG_CALLS:
            # A process of its own: what it takes to make and read long messages in Python is no part of what is measured.
            command = [sys.executable, __file__, "--long-calls", name, "--address", self.server.grpc]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
                clients.stdout.readline()
                self.latencies(2)
                p99 = percentile(self.latencies(self.seconds / 2), 0.99)
                clients.stdin.close()
                print(f"  {clients.stdout.read().strip()}")
            rows.append(row(f"short Classify beside {name}, p99", p99, "ms", "<= 50", p99 <= 50))
            self.latencies(1)
        return rows

    # -- memory
    def rss(self, field: str = "VmRSS") -> float:
        for line in pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        return 0

    def upload(self, name: str, file: str, packed: bytes):
        m, chunk = self.m, 1 << 20

        def parts():
            yield m.UploadDatasetRequest(header=m.UploadHeader(dataset=name, training_file=file))
            for i in range(0, len(packed), chunk):
                yield m.UploadDatasetRequest(training=packed[i:i + chunk])
            yield m.UploadDatasetRequest(end=True)
        self.stub("DatasetService").UploadDataset(parts())

    def post(self):
        host, port = self.server.admin.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n")
            try:
                for _ in range(1024):
                    connection.sendall(b"x" * (1 << 20))
            except OSError:
                pass

    def memory(self) -> list[dict]:
        size = 32 << 20

        def packed(piece: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
            out = io.BytesIO()
            with gzip.GzipFile(fileobj=out, mode="wb") as file:
                file.write(head + piece * (size // len(piece)) + tail)
            return out.getvalue()

        requests = {
            "CSV of 4-byte rows, 32 MiB inflated": lambda: self.upload("csv", "a.csv.gz", packed(b"a,b\n", b"text,label\n")),
            "CoNLL of one-word sentences, 32 MiB": lambda: self.upload("conll", "a.conll.gz", packed(b"a O\n\n", b"a B-x\n\n")),
            "one line of JSON, 32 MiB": lambda: self.upload("json", "a.jsonl.gz", packed(b"0,", b'{"text": "a", "label": "b", "z": [', b"0]}\n")),
            "one Classify of 1,000 texts": lambda: self.classify(self.m.ClassifyRequest(model="base", texts=["hello"] * 1000)),
            "POST of 1 GiB to the admin address": self.post,
        }
        rows = []
        for name, ask in requests.items():
            pathlib.Path(f"/proc/{self.server.process.pid}/clear_refs").write_text("5")
            before = self.rss()
            try:
                ask()
            except grpc.RpcError as error:
                print(f"  {error.code().name}: {error.details()[:120]}")
            peak = self.rss("VmHWM") - before
            rows.append(row(f"{name}: peak beyond before", peak, "MiB", "<= 256", peak <= 256))
            self.classify(self.request, timeout=20)
        return rows


def measure(kind: str, folder: pathlib.Path, options) -> list[dict]:
    servers = []

    def new_server(name: str) -> Server:
        servers.append(Server(folder / name).start())
        return servers[-1]

    try:
        if kind == "kills":
            return hardening_jobs.kills(new_server, row, options.rounds)
        if kind == "neighbour":
            return hardening_jobs.neighbour(new_server, row, options.epochs)
        if kind == "serving":
            return hardening_jobs.serving(new_server, row, options.epochs, options.seconds, percentile)
        if kind == "soak":
            return hardening_jobs.soak(new_server, row, options.minutes)
        return getattr(Bench(new_server("server"), folder, options.seconds), kind)()
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.kill()


def main() -> int:
    kinds = ("beside", "overload", "memory", "kills", "neighbour", "serving", "soak")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=kinds, help="one of them")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=20, help="of kills")
    parser.add_argument("--minutes", type=float, default=2, help="of soak")
    parser.add_argument("--epochs", type=int, default=4, help="of a training that is timed: of some seconds each")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench" / "results" / "hardening.json")
    parser.add_argument("--long-calls", choices=LONG_CALLS, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.long_calls:
        long_calls(options.long_calls, options.address)
        return 0
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "seconds": options.seconds}
    met = True
    for kind in kinds:
        if options.only not in (None, kind):
            continue
        print(kind, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(kind, pathlib.Path(folder), options)
        met = met and all(r["met"] for r in rows)
        results[kind] = {"machine": machine, "rows": rows}
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
