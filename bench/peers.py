"""What the benchmarks share: texts, the peers (transformers, OpenVINO, ONNX Runtime), interleaved timing and the row format.

A row is {"name", "value", "unit", "peer", "peer_value", "ratio"} plus "raw" (every repeat) and whatever explains it. value and
peer_value are medians over the repeats; ratio is the median of the pairwise ratios of repeats taken side by side, so that it holds
when the machine's speed drifts.
"""
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("ENGRAM_BUILD", REPOSITORY / "build"))
BASE_MODEL = REPOSITORY / ".deps" / "base-model"
THREADS = int(os.environ.get("ENGRAM_BENCH_THREADS", os.cpu_count() or 1))


def precisions() -> list[str]:
    """What a comparison is taken in: bf16 only where the processor multiplies it itself (elsewhere both sides emulate it, which nobody runs), or
    what ENGRAM_BENCH_PRECISIONS names, separated by commas."""
    named = os.environ.get("ENGRAM_BENCH_PRECISIONS", "")
    if named:
        return named.split(",")
    return ["fp32", "bf16"] if any(unit in pathlib.Path("/proc/cpuinfo").read_text() for unit in ("avx512_bf16", "amx_bf16")) else ["fp32"]


def texts(data: pathlib.Path, count: int) -> list[str]:
    """The first `count` texts of a JSON Lines file, in the file's own order ("arrival order")."""
    rows = []
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        for line in lines:
            rows.append(json.loads(line)["text"])
            if len(rows) == count:
                break
    return rows


def default_data() -> pathlib.Path:
    """AG News where the shared data sets are mounted beside the checkout, else the DBpedia sample of the repository (the row says which)."""
    shared = REPOSITORY.parent / "shared" / "data" / "classification" / "ag_news" / "train.jsonl.gz"
    return shared if shared.exists() else REPOSITORY / "tests" / "data" / "dbpedia14.train.jsonl.gz"


def data_name(data: pathlib.Path) -> str:
    return data.parent.name if data.name.startswith("train") else data.name.split(".")[0]


class Program:
    """A benchmark program of ours that stays up: each command is one line on its stdin, each answer one JSON object on its stdout."""

    def __init__(self, name: str, *arguments: str):
        self.process = subprocess.Popen([str(BUILD / "bin" / name), *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, command: str) -> dict:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the benchmark program ended (exit {self.process.wait()}) at: {command}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def timed(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def row(name: str, ours: list[float], peer: str, theirs: list[float], unit: str, lower_is_better: bool = False, **extra) -> dict:
    """One result out of repeats taken side by side. ratio > 1 means Engram is ahead, also where lower is better."""
    ratios = [(t / o if lower_is_better else o / t) for o, t in zip(ours, theirs)]
    return {"name": name, "value": round(statistics.median(ours), 4), "unit": unit, "peer": peer,
            "peer_value": round(statistics.median(theirs), 4), "ratio": round(statistics.median(ratios), 3),
            "raw": {"ours": [round(v, 4) for v in ours], "peer": [round(v, 4) for v in theirs]}, **extra}


def emit(rows: list[dict]) -> None:
    for r in rows:
        print(json.dumps(r), flush=True)
