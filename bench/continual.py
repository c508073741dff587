"""Every strategy on streams of tasks, several seeds, through a real server: one file per run in bench/results/continual/, docs/results.md out of them.

    bench/continual.py run [--streams five,banking_task,...] [--only REGEX] [--seeds 0,1,2,3,4] [--hours 8] [--home DIR]
    bench/continual.py report

A run is one stream learned by one variant (a strategy with its options) with one seed. Runs that have a file are not made again, so the work can be
stopped at any time and taken up later; seeds go round in the outer loop, so that the table is whole as early as possible. What a run measured
is what StartTask's own results say: after each task the accuracy on the test part of every task so far.

How the whole is to fit into eight hours of two cores: the variants of CORE are run with all seeds of their stream (Stream.seeds), the others with the
first; a step has at most a few hundred texts (Stream.train). Processor seconds, of which two quiet cores give about 6,400 an hour: `five` 95 runs of 290
(4.3 hours), `banking_task` 50 of 200 (1.6), `banking_class` 28 of 250 (1.1), `intents` 24 of 200 (0.8), `domains` 8 of 300 (0.4); those of `five` are
measured, the others estimates. All rows of Banking77 are read by `fel` alone, which makes one pass (bench/fel_banking.py). --hours bounds it in any case.

cpu_seconds is the time that server and workers spent on processors, which other work on the machine hardly changes; seconds is by the clock.
"""
import argparse
import dataclasses
import gzip
import importlib.metadata
import json
import math
import os
import pathlib
import random
import re
import shutil
import statistics
import sys
import tempfile
import time

import peers
from engram_server import Refused, Server
from run import machine, revision

RESULTS = peers.REPOSITORY / "bench" / "results" / "continual"
PAGE = peers.REPOSITORY / "docs" / "results.md"
DATA = peers.REPOSITORY.parent / "shared" / "data" / "classification"


# --- What is run ---------------------------------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Step:
    """One training of a stream: `task` learns from rows of the source, those with one of `labels` (None: all)."""
    task: str
    source: str
    labels: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Stream:
    title: str
    train: int | None  # texts per step at most
    test: int | None
    options: dict      # of every training
    class_incremental: bool = False
    seeds: int = 3     # of the variants of CORE
    only: str = ""     # a regular expression that a variant's whole name matches; empty: all
    masked: bool = False  # raw texts, read as masked language models: perplexity, and what a head on the frozen encoder reaches on their labels


STREAMS = {
    "five": Stream("AG News, Emotion, TREC, DBpedia, Banking77, task named", 500, 500, {"epochs": 3}, seeds=5),
    "intents": Stream("Banking77 in four sets of nineteen intents, set named", 400, 400, {"epochs": 3},
                      only="naive|ewc|ewc_auto|online_ewc|online_ewc_auto|l2sp|er|joint"),
    "banking_task": Stream("Banking77 in seven steps of eleven intents, step named", 330, 330, {"epochs": 3}, seeds=2),
    "banking_class": Stream("Banking77 in seven steps of eleven intents, one head", 330, 330, {"epochs": 3}, class_incremental=True, seeds=2),
    "domains": Stream("Raw texts of AG News, then of Emotion", 2000, 500, {"epochs": 2}, seeds=1, only="naive|ewc|online_ewc|l2sp|permuted_ewc|si|mas|lora", masked=True),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    strategy: str
    options: dict = dataclasses.field(default_factory=dict)
    consolidate: bool = False  # after each task, as the strategies over consolidations need it
    alone: bool = False        # every task from the base model: no stream, what a model of its own reaches


VARIANTS = {
    "alone": Variant("naive", alone=True),
    "naive": Variant("naive"),
    "joint": Variant("joint"),
    "ewc": Variant("ewc", consolidate=True),
    "ewc_latest": Variant("ewc", {"centre": "latest"}, consolidate=True),
    "ewc_auto": Variant("ewc", {"lambda": "auto"}, consolidate=True),
    "online_ewc_auto": Variant("online_ewc", {"lambda": "auto"}, consolidate=True),
    "l2sp_latest": Variant("l2sp", {"centre": "latest"}, consolidate=True),
    "permuted_ewc_latest": Variant("permuted_ewc", {"centre": "latest"}, consolidate=True),
    "online_ewc": Variant("online_ewc", consolidate=True),
    "l2sp": Variant("l2sp", consolidate=True),
    "permuted_ewc": Variant("permuted_ewc", consolidate=True),
    "er": Variant("er"),
    "derpp": Variant("derpp"),
    "agem": Variant("agem"),
    "lwf": Variant("lwf"),
    "frozen": Variant("frozen"),
    "fel": Variant("fel"),
    "fel_ridge": Variant("fel", {"head": "ridge"}),
    "si": Variant("si"),
    "mas": Variant("mas"),
    "kfac_ewc": Variant("kfac_ewc"),
    "lora": Variant("lora", {"lr": 1e-3}),
    "lora_per_task": Variant("lora", {"lr": 1e-3, "merged": "false"}),
    "olora": Variant("olora", {"lr": 1e-3}),
    "ewc_lora": Variant("ewc_lora", {"lr": 1e-3}),
    "adapter": Variant("adapter", {"lr": 1e-3}),
    "pnn": Variant("pnn", {"lr": 1e-3}),
    "reptile": Variant("reptile"),
    "fomaml": Variant("fomaml"),
    "maml": Variant("maml"),
    "transfer": Variant("transfer"),
    "merge_average": Variant("merge", {"method": "average"}),
    "merge_fisher": Variant("merge", {"method": "fisher"}),
    "merge_arithmetic": Variant("merge", {"method": "arithmetic"}),
    "merge_ties": Variant("merge", {"method": "ties"}),
    "merge_regmean": Variant("merge", {"method": "regmean"}),
}
# Those that are run with all seeds.
CORE = re.compile("alone|naive|joint|ewc|online_ewc|l2sp|permuted_ewc|l2sp_latest|permuted_ewc_latest|er|derpp|lwf|frozen|fel|lora|ewc_auto|online_ewc_auto")
# Strategies that let a head grow; the others refuse new labels for a task that exists.
GROWING = re.compile("naive|joint|ewc|online_ewc|l2sp|permuted_ewc|er|derpp|agem|lwf|fel|fel_ridge|si|mas|kfac_ewc|reptile|fomaml|maml")
# What is made of the scores of a search is measured on `intents`, where the default strength is too much.
SEARCHED = re.compile(".*_auto")


def read(source: str, part: str) -> list[dict]:
    with gzip.open(DATA / source / f"{part}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [{"text": row["text"], "label": row["label"]} for row in map(json.loads, lines)]


def steps_of(name: str, seed: int) -> list[Step]:
    if name == "five":
        return [Step("news", "ag_news"), Step("emotion", "emotion"), Step("trec", "trec"), Step("dbpedia", "dbpedia14"), Step("banking", "banking77")]
    if name == "domains":
        return [Step("news-text", "ag_news"), Step("emotion-text", "emotion")]
    labels = sorted({row["label"] for row in read("banking77", "train")})
    random.Random(seed).shuffle(labels)
    if name == "intents":
        return [Step(f"set-{i + 1}", "banking77", tuple(labels[i * 19:i * 19 + 19])) for i in range(4)]
    return [Step("intents" if STREAMS[name].class_incremental else f"intents-{i + 1}", "banking77", tuple(labels[i * 11:i * 11 + 11])) for i in range(7)]


def rows_of(step: Step, part: str, count: int | None, seed: int) -> list[dict]:
    rows = [row for row in read(step.source, part) if step.labels is None or row["label"] in step.labels]
    random.Random(f"{seed} {step.source} {part}").shuffle(rows)
    return rows[:count]


# --- How it is run -------------------------------------------------------------------------------------------------------------------

class StudyServer(Server):
    """Of one run; begins without data."""

    def __init__(self, home: pathlib.Path):
        shutil.rmtree(home / "data", ignore_errors=True)
        super().__init__(home)

    def cpu_seconds(self) -> float:
        """Of the server and of the workers that have ended (Linux: /proc/PID/stat)."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def upload(self, name: str, train: list[dict], test: list[dict]) -> None:
        paths = []
        for part, rows in (("train", train), ("test", test)):
            paths.append(self.home / f"{part}.jsonl")
            paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.engram("datasets", "upload", name, paths[0], "--test", paths[1])

    def bytes_of(self, version: str) -> int:
        """Of the files of a version, "models/m/versions/3"."""
        folder = next((self.home / "data").rglob(version), None) or (self.home / "data" / version)
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def accuracy_of(job: dict, task: str, metric: str = "accuracy") -> float:
    return next(m["value"] for m in job["result"]["metrics"] if m["metric"] == metric and m["task"].endswith("/" + task))


def learn(server: StudyServer, stream: Stream, steps: list[Step], variant: Variant, seed: int) -> dict:
    """The accuracies, a row after each step with those of the steps so far, and what the run took."""
    server.engram("models", "import", "m", peers.BASE_MODEL, "--label", "now")
    started, cpu = time.monotonic(), server.cpu_seconds()
    matrix, warnings, version, downstream, strengths = [], [], "", [], []
    metric = "perplexity" if stream.masked else "accuracy"
    for i, step in enumerate(steps):
        label = f"alone-{i}" if variant.alone else "now"
        source = "m@1" if variant.alone else "m@now"
        # Nothing is consolidated before the first task.
        strategy, own = ("naive", {}) if variant.consolidate and i == 0 else (variant.strategy, variant.options)
        kind = ("--kind", "mlm") if stream.masked else ()
        options = [word for key, value in {**stream.options, **own, "seed": seed}.items() for word in ("--set", f"{key}={value}")]
        job = server.engram("start-task", source, step.task, "--dataset", f"step-{i}", "--strategy", strategy, *kind, *options, "--label", label, "--wait")
        # Under class-incremental learning the steps' test parts are measured one by one here.
        if stream.class_incremental:
            row = [accuracy_of(server.engram("evaluate", f"m@{label}", "--dataset", f"step-{j}", "--wait"), step.task) for j in range(i + 1)]
        elif variant.alone:
            row = [None] * i + [accuracy_of(job, step.task)]
        else:
            row = [accuracy_of(job, earlier.task, metric) for earlier in steps[:i + 1]]
        matrix.append(row)
        if sweep := job["result"].get("strength_sweep"):
            strengths.append(sweep)
        if stream.masked:  # what the encoder is worth by now: heads in closed form on its frozen features, beside the line
            downstream.append([accuracy_of(server.engram("start-task", "m@now", f"labels-{j}", "--dataset", f"labels-{j}", "--strategy", "fel",
                                                         "--label", "aside", "--wait"), f"labels-{j}") for j in range(len(steps))])
        warnings += job["result"].get("warnings", [])
        version = job["result"]["version"]
        if variant.consolidate and i + 1 < len(steps):
            server.engram("consolidate-task", "m@now", step.task, "--samples", 1000, "--seed", seed, "--label", "now", "--wait")
    more = {name: value for name, value in (("downstream", downstream), ("strengths", strengths)) if value}
    return {"matrix": matrix, **more, "seconds": round(time.monotonic() - started, 1), "cpu_seconds": round(server.cpu_seconds() - cpu, 1),
            "version_bytes": server.bytes_of(version), "warnings": sorted(set(warnings))}


def prepare(server: StudyServer, name: str, seed: int) -> list[Step]:
    stream, steps = STREAMS[name], steps_of(name, seed)
    for i, step in enumerate(steps):
        parts = [rows_of(step, part, count, seed) for part, count in (("train", stream.train), ("test", stream.test))]
        if stream.masked:
            server.upload(f"labels-{i}", *parts)
            parts = [[{"text": row["text"]} for row in rows] for rows in parts]
        server.upload(f"step-{i}", *parts)
    return steps


def is_run(name: str, variant: str, seed: int) -> bool:
    """Whether the table has this run."""
    stream = STREAMS[name]
    if stream.only and not re.fullmatch(stream.only, variant) or not stream.only and SEARCHED.fullmatch(variant):
        return False
    return seed < (stream.seeds if CORE.fullmatch(variant) else 1) and (not stream.class_incremental or GROWING.fullmatch(variant) is not None)


def path_of(stream: str, variant: str, seed: int) -> pathlib.Path:
    return RESULTS / stream / f"{variant}-{seed}.json"


def run(arguments: argparse.Namespace) -> None:
    if not DATA.exists():
        raise SystemExit("the streams need the shared data sets beside the checkout")
    end = time.monotonic() + 3600 * arguments.hours
    wanted = [(s, v, seed) for seed in arguments.seeds for s in arguments.streams for v in VARIANTS
              if re.search(arguments.only, v) and not path_of(s, v, seed).exists() and is_run(s, v, seed)]
    print(f"{len(wanted)} runs to make", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for stream, variant, seed in wanted:
            if time.monotonic() > end:
                print("the time is over; run again to go on")
                return
            server = StudyServer(arguments.home or pathlib.Path(temporary))
            try:
                found = learn(server, STREAMS[stream], prepare(server, stream, seed), VARIANTS[variant], seed)
            except Refused as why:
                print(f"{stream} {variant} {seed}: {why}", flush=True)
                continue
            finally:
                server.stop()
            about = {"stream": stream, "variant": variant, "seed": seed, "strategy": VARIANTS[variant].strategy,
                     "options": {**STREAMS[stream].options, **VARIANTS[variant].options}, "train": STREAMS[stream].train, "test": STREAMS[stream].test,
                     "machine": machine(), "torch": importlib.metadata.version("torch"), "revision": arguments.revision or revision()}
            path = path_of(stream, variant, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**about, **found}) + "\n")
            print(f"{stream} {variant} {seed}: {average(found['matrix']):.1f}, {found['seconds']:.0f} s", flush=True)


# --- What is said of it --------------------------------------------------------------------------------------------------------------

# Two-sided 95 % quantiles of Student's t for 1 to 9 degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def last_row(matrix: list[list]) -> list[float]:
    """What each task's answer is worth at the end; of models that were trained alone, their own."""
    return [100 * (matrix[-1][i] if matrix[-1][i] is not None else matrix[i][i]) for i in range(len(matrix))]


def average(matrix: list[list]) -> float:
    return statistics.fmean(last_row(matrix))


def forgetting(matrix: list[list]) -> float | None:
    """Mean over all tasks but the last: the best that the task ever was, before the end, minus what it is at the end (Chaudhry et al., ECCV 2018)."""
    if matrix[-1][0] is None:
        return None
    losses = [100 * (max(row[i] for row in matrix[i:-1]) - matrix[-1][i]) for i in range(len(matrix) - 1)]
    return statistics.fmean(losses)


def newest(matrix: list[list]) -> float:
    """Mean over all tasks: what the task reached when it was learned."""
    return statistics.fmean(100 * matrix[i][i] for i in range(len(matrix)))


def interval(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}"
    half = STUDENT[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.1f} ± {half:.1f}"


def plot(rows: list[tuple[str, list[float]]], path: pathlib.Path, title: str) -> None:
    """Bars with every seed as a dot, as SVG."""
    height, left, width = 22, 170, 620
    body = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{height * len(rows) + 50}" font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="white"/>', f'<text x="10" y="20" font-weight="bold">{title}: accuracy after the last task, per cent</text>']
    for i, (name, values) in enumerate(rows):
        y, mean = 34 + i * height, statistics.fmean(values)
        body.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{name}</text>'
                    f'<rect x="{left}" y="{y + 3}" width="{mean / 100 * width:.1f}" height="{height - 6}" fill="#9db8d9"/>'
                    f'<text x="{left + width + 8}" y="{y + 14}">{mean:.1f}</text>')
        body += [f'<circle cx="{left + value / 100 * width:.1f}" cy="{y + height / 2}" r="3" fill="#1d3a5f"/>' for value in values]
    path.write_text("\n".join([*body, "</svg>"]) + "\n")


# What is expected of the first against the second: accuracy at the end, on the same seeds.
EXPECTED = (("joint", "er"), ("er", "naive"), ("ewc", "naive"), ("ewc", "l2sp"), ("ewc", "permuted_ewc"), ("online_ewc", "ewc"), ("online_ewc", "naive"),
            ("online_ewc", "l2sp_latest"), ("online_ewc", "permuted_ewc_latest"), ("ewc_auto", "ewc"), ("online_ewc_auto", "online_ewc"),
            ("merge_regmean", "merge_ties"), ("merge_ties", "merge_average"), ("fel", "joint"))


def comparisons(runs: dict[str, list[dict]]) -> list[str]:
    lines = []
    for above, below in EXPECTED:
        both = {r["seed"]: average(r["matrix"]) for r in runs.get(above, [])}
        differences = [both[r["seed"]] - average(r["matrix"]) for r in runs.get(below, []) if r["seed"] in both]
        if not differences:
            continue
        mean = statistics.fmean(differences)
        half = STUDENT[len(differences) - 2] * statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.inf
        verdict = "one seed: not shown" if len(differences) == 1 else "holds" if mean - half > 0 else "does not hold" if mean + half < 0 else "within noise"
        lines.append(f"| `{above}` over `{below}` | {len(differences)} | {interval(differences)} | {verdict} |")
    return ["| expected | seeds | difference | |", "| --- | --- | --- | --- |", *lines, ""] if lines else []


def runs_of(name: str) -> dict[str, list[dict]]:
    runs: dict[str, list[dict]] = {}
    for path in sorted((RESULTS / name).glob("*.json")):
        found = json.loads(path.read_text())
        if "variant" in found:
            runs.setdefault(found["variant"], []).append(found)
    return runs


def of_peers(name: str, runs: dict[str, list[dict]]) -> list[str]:
    """Avalanche's strategies beside ours, on the same seeds (bench/continual_peers.py)."""
    lines = []
    for path in sorted((RESULTS / name).glob("peers-*.json")):
        found = json.loads(path.read_text())
        for peer in found["runs"]:
            ours = next((r for r in runs.get(peer["name"].split()[0], []) if r["seed"] == found["seed"]), None)
            lines.append(f"| {found['seed']} | {peer['name']} | {100 * peer['end']:.1f} | {peer['seconds']:.0f} "
                         + (f"| {average(ours['matrix']):.1f} | {ours['seconds']:.0f} |" if ours else "| - | - |"))
    return ["| seed | strategy | Avalanche, at the end | seconds of training | Engram, at the end | seconds, measuring and publishing included |",
            "| --- | --- | --- | --- | --- | --- |", *lines, ""] if lines else []


def table(name: str) -> list[str]:
    runs = runs_of(name)
    if not runs:
        return []
    if STREAMS[name].masked:
        return table_of_domains(name, runs)
    rows = sorted(((v, [average(r["matrix"]) for r in found], found) for v, found in runs.items()), key=lambda row: -statistics.fmean(row[1]))
    picture = PAGE.parent / "results" / f"{name}.svg"
    picture.parent.mkdir(exist_ok=True)
    plot([(v, values) for v, values, _ in rows], picture, STREAMS[name].title)
    one = rows[0][2][0]
    lines = [f"## {STREAMS[name].title}", "", f"At most {one['train'] or 'all'} texts to train and {one['test'] or 'all'} to test for each task, {one['options']['epochs']} epochs. "
             "Accuracies in per cent, mean over tasks; mean and 95 % interval over seeds.", "", f"![accuracies](results/{name}.svg)", "",
             "| variant | seeds | at the end | when learned | forgotten | processor seconds | version, MB |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for variant, values, found in rows:
        lost = [forgetting(r["matrix"]) for r in found]
        lines.append(f"| `{variant}` | {len(values)} | {interval(values)} | {interval([newest(r['matrix']) for r in found])} "
                     f"| {interval(lost) if lost[0] is not None else '-'} | {statistics.fmean(r['cpu_seconds'] for r in found):.0f} "
                     f"| {statistics.fmean(r['version_bytes'] for r in found) / 1e6:.0f} |")
    return [*lines, "", *strengths(runs), *comparisons(runs), *of_peers(name, runs)]


def strengths(runs: dict[str, list[dict]]) -> list[str]:
    """What the searches chose, step by step."""
    lines = [f"`{variant}`, seed {r['seed']}: lambda " + ", ".join(f"{sweep.get('chosen', 0):g}" for sweep in r["strengths"]) + " from the second task on."
             for variant, found in runs.items() for r in found if "strengths" in r]
    return [*lines, ""] if lines else []


def table_of_domains(name: str, runs: dict[str, list[dict]]) -> list[str]:
    """Perplexities: lower is better. Rows of the matrix are after the first and after the second domain."""
    lines = [f"## {STREAMS[name].title}", "", "Continued pre-training as masked language models, with perplexity on held-out texts of each domain, and what `fel` (a head in closed form on the "
             "frozen encoder) then reaches on the domains' labels, per cent.", "",
             "| variant | seeds | first domain when read | first domain at the end | second domain | labels of the first | labels of the second |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for variant, found in sorted(runs.items(), key=lambda item: statistics.fmean(r["matrix"][-1][0] for r in item[1])):
        columns = [[r["matrix"][0][0] for r in found], [r["matrix"][1][0] for r in found], [r["matrix"][1][1] for r in found],
                   [100 * r["downstream"][-1][0] for r in found], [100 * r["downstream"][-1][1] for r in found]]
        lines.append(f"| `{variant}` | {len(found)} | " + " | ".join(interval(values) for values in columns) + " |")
    return [*lines, ""]


def mean_of(runs: list[dict], row: int, task: int) -> float:
    return statistics.fmean(100 * r["matrix"][row][task] for r in runs)


def on_anchors() -> list[str]:
    """Why several anchors are worse than one, from the runs of `five` and from bench/continual_anchors.py."""
    runs = runs_of("five")
    if not {"ewc", "online_ewc", "naive"} <= set(runs):
        return []
    ewc, online, naive = runs["ewc"], runs["online_ewc"], runs["naive"]
    said = ["**Several anchors.** With a quadratic for each task around its own anchor, as EWC was published, the pulls of several tasks add up to one around a point that "
            "none of them ended with. "
            f"On the stream of five tasks, {len(ewc)} seed{'s' if len(ewc) > 1 else ''}, `ewc` ends at {statistics.fmean(average(r['matrix']) for r in ewc):.1f}, `online_ewc`, the same importance around the latest anchor, at "
            f"{statistics.fmean(average(r['matrix']) for r in online):.1f}, `naive` at {statistics.fmean(average(r['matrix']) for r in naive):.1f}: AG News, the first task, has "
            f"{mean_of(ewc, -1, 0):.1f} at the end of `ewc` and {mean_of(ewc, -2, 0):.1f} before the last task, TREC, the third, {mean_of(ewc, -1, 2):.1f} and {mean_of(ewc, -2, 2):.1f} "
            f"(`naive`: {mean_of(naive, -1, 2):.1f} and {mean_of(naive, -2, 2):.1f})."]
    path = RESULTS / "anchors.json"
    if path.exists():
        found = json.loads(path.read_text())
        said.append(f"The pull alone shows it: at the minimum of the penalties after three tasks, with no fourth task at all ({found['texts']} test texts each), "
                    + "; ".join(f"`{name}` has " + ", ".join(f"{task} {100 * value:.1f}" for task, value in scores.items()) for name, scores in found["minimum"].items())
                    + "; at the latest anchor, where `online_ewc` and `centre=latest` have theirs, they are "
                    + ", ".join(f"{task} {100 * value:.1f}" for task, value in found["latest"].items()) + ".")
    said.append("It is the method, no fault of the sum (held to its closed form in `tests/unit/continual/linear_gaussian_test.cc`): take `online_ewc`, or `ewc` with `centre=latest`, "
                "from the third task on. The controls are compared likewise: `l2sp` and `permuted_ewc` with `ewc`, their `_latest` forms with `online_ewc`.")
    return [" ".join(said), ""]


def on_expansion() -> list[str]:
    path = RESULTS / "fel_banking.json"
    if not path.exists():
        return []
    lines = ["## All of Banking77 by a fixed expansion", "", "Seven steps of eleven intents in one head, all 10,003 texts, one pass (`bench/fel_banking.py`); the probe is a linear "
             "one on the same frozen features, trained on all labels at once.", "",
             "| head | accuracy | linear probe | seconds of all steps | processor seconds | cores |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [f"| {r['expansion']}, {r['head']} | {100 * r['accuracy']:.2f} | {100 * r['joint_probe']:.2f} | {r['seconds']:.1f} | {r['cpu_seconds']:.1f} | {r['cores']} |"
              for r in json.loads(path.read_text())]
    return [*lines, ""]


def on_speed() -> list[str]:
    path = RESULTS / "speed.json"
    if not path.exists():
        return []
    lines = ["## What a step costs", "", "Steps of the trainer with a strategy over naive ones in the same process, in turn, batches of 32 of AG News, fp32; one earlier task where the name says "
             "no number (`bench/continual_speed.py`).", "", "| | seconds | against | seconds | ratio | bar | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    lines += [f"| `{r['name']}` | {r['value']:.3f} | {r['peer']} | {r['peer_value']:.3f} | {r['ratio']:.2f} "
              + (f"| {r['bar']:.2f} | {'met' if r['met'] else 'not met'} |" if r["bar"] else "| | |") for r in json.loads(path.read_text())]
    return [*lines, ""]


def report(_: argparse.Namespace) -> None:
    lines = ["# What the strategies reach", "", *on_anchors(),
             "Made by `bench/continual.py report` from the runs in `bench/results/continual/`, a file each; more runs are made by `make bench-continual`. "
             "Encoder: MiniLM, 23 million parameters, mean-pooled; defaults of every strategy but for the learning rate of those that train few parameters (1e-3).",
             "`alone` is a model of its own for each task, `joint` one that keeps all texts, `_auto` a strategy with `lambda=auto`, `_latest` one with `centre=latest`. "
             "Processor seconds are those of server and workers for the whole run, measuring included. "
             "Rows with one seed say little: differences of a few points are noise.", ""]
    for name in STREAMS:
        lines += table(name)
    lines += on_expansion() + on_speed()
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    runner = verbs.add_parser("run")
    runner.add_argument("--streams", type=lambda text: text.split(","), default=list(STREAMS))
    runner.add_argument("--only", default="", help="a regular expression that the variant's name matches")
    runner.add_argument("--seeds", type=lambda text: [int(x) for x in text.split(",")], default=[0, 1, 2, 3, 4])
    runner.add_argument("--hours", type=float, default=8, help="no run is begun after that")
    runner.add_argument("--home", type=pathlib.Path, help="folder of the server's data, emptied for each run; default: a temporary one")
    runner.add_argument("--revision", help="of the programs that are run, where they are not this checkout's")
    runner.set_defaults(call=run)
    verbs.add_parser("report").set_defaults(call=report)
    arguments = parser.parse_args()
    for name in getattr(arguments, "streams", []):
        if name not in STREAMS:
            parser.error(f"no stream {name}; there are {', '.join(STREAMS)}")
    arguments.call(arguments)


if __name__ == "__main__":
    sys.exit(main())
