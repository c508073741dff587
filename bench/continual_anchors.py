"""What the sum of EWC's penalties wants: accuracies at its minimum, where no new task pulls, against those at the latest anchor.

    bench/continual_anchors.py [--version DIR] [--texts 500]

The first three tasks of the stream `five` are learned and consolidated with ewc, seed 0 (DIR: such a version, where there is one). The minimum of the
three quadratics is known in closed form, sum_k N_k F_k theta_k / sum_k N_k F_k for each weight (where all F are 0 nothing pulls: the latest weights stay).
The encoder is set to it, and each task's own head is measured on its test texts, in transformers. The same for l2sp, whose F_k are their means.
Writes bench/results/continual/anchors.json.
"""
import argparse
import json
import math
import pathlib
import sys
import tempfile

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

import continual
from run import machine, revision

TASKS = 3


def learned(home: pathlib.Path) -> pathlib.Path:
    """The version, made through the server."""
    server = continual.StudyServer(home)
    try:
        steps = continual.prepare(server, "five", seed=0)[:TASKS]
        continual.learn(server, continual.STREAMS["five"], steps, continual.VARIANTS["ewc"], seed=0)
        server.engram("consolidate-task", "m@now", steps[-1].task, "--samples", 1000, "--seed", 0, "--label", "now", "--wait")
        server.engram("models", "export", "m@now", home / "exported")
    finally:
        server.stop()
    return home / "exported"


def minimum(folder: pathlib.Path, tasks: list[str], uniform: bool) -> tuple[dict, dict[str, float]]:
    """The encoder's tensors at the minimum, and the trace of each task's F."""
    with safe_open(folder / "continual.safetensors", "pt") as file:
        names = [name.removeprefix(f"fisher.{tasks[0]}.") for name in file.keys() if name.startswith(f"fisher.{tasks[0]}.")]
        counts = {task: json.loads(file.metadata()[f"consolidation.{task}"])["training_count"] for task in tasks}
        elements = sum(math.prod(file.get_slice(f"fisher.{tasks[0]}.{name}").get_shape()) for name in names)
        traces = {task: sum(file.get_tensor(f"fisher.{task}.{name}").sum(dtype=torch.float64).item() for name in names) for task in tasks}
        pulled = {}
        for name in names:
            weighted, weight = 0, 0
            for task in tasks:
                fisher = file.get_tensor(f"fisher.{task}.{name}")
                if uniform:
                    fisher = torch.full_like(fisher, traces[task] / elements)
                weighted, weight = weighted + counts[task] * fisher * file.get_tensor(f"anchor.{task}.{name}"), weight + counts[task] * fisher
            latest = file.get_tensor(f"anchor.{tasks[-1]}.{name}")
            pulled[name] = torch.where(weight > 0, weighted / weight.clamp_min(torch.finfo(torch.float32).tiny), latest)
    return pulled, traces


class Version:
    """The encoder in transformers, with the tasks' mean-pooled heads as docs/files.md says them."""

    def __init__(self, folder: pathlib.Path):
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.encoder = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
        self.heads = load_file(folder / "heads.safetensors")
        self.labels = {task["name"]: task["labels"] for task in json.loads((folder / "engram.json").read_text())["tasks"]}

    @torch.no_grad()
    def accuracy(self, task: str, rows: list[dict]) -> float:
        rows, right = sorted(rows, key=lambda row: len(row["text"])), 0
        for i in range(0, len(rows), 32):
            part = rows[i:i + 32]
            batch = self.tokenizer([row["text"] for row in part], truncation=True, max_length=512, padding=True, return_tensors="pt")
            mask = batch["attention_mask"][..., None]
            mean = (self.encoder(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
            logits = mean @ self.heads[f"heads.{task}.classifier.weight"].T + self.heads[f"heads.{task}.classifier.bias"]
            right += sum(self.labels[task][answer] == row["label"] for answer, row in zip(logits.argmax(1).tolist(), part, strict=True))
        return right / len(rows)

    def accuracies(self, tests: dict[str, list[dict]]) -> dict[str, float]:
        return {task: round(self.accuracy(task, rows), 4) for task, rows in tests.items()}


def measure(folder: pathlib.Path, texts: int) -> dict:
    steps = continual.steps_of("five", 0)[:TASKS]
    tests = {step.task: continual.rows_of(step, "test", texts, 0) for step in steps}
    version = Version(folder)
    found = {"latest": version.accuracies(tests), "minimum": {}, "texts": texts}
    for name in ("ewc", "l2sp"):
        pulled, traces = minimum(folder, list(tests), uniform=name == "l2sp")
        state = version.encoder.state_dict()
        unknown = set(pulled) - set(state)
        if any(not key.startswith("pooler.") for key in unknown):
            raise SystemExit(f"the version has no {sorted(unknown)[0]}")
        version.encoder.load_state_dict({**state, **{key: value for key, value in pulled.items() if key in state}})
        found["minimum"][name] = version.accuracies(tests)
        found["traces"] = {task: round(trace, 3) for task, trace in traces.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", type=pathlib.Path)
    parser.add_argument("--texts", type=int, default=500, help="of each task's test part")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(options.version or learned(pathlib.Path(temporary)), options.texts)
    path = continual.RESULTS / "anchors.json"
    path.write_text(json.dumps({**found, "seed": 0, "machine": machine(), "revision": revision()}, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    sys.exit(main())
