"""Banking77 in seven steps of eleven intents, Avalanche's strategies beside ours: accuracy and seconds, same model, texts, epochs, batches, learning rate.

    ENGRAM_PEERS=FOLDER bench/continual_peers.py prepare    # a virtual environment of its own with avalanche-lib, over the oracle's torch
    ENGRAM_PEERS=FOLDER bench/continual_peers.py run [--streams banking_task,banking_class] [--seeds 0]

Avalanche (PyPI avalanche-lib 0.6.0): Naive, EWC (mode separate), Replay and LwF over transformers' MiniLM with the mean over tokens and a linear head: one per
step where the step is named, one that grows where it is not. AdamW with our defaults (linear schedule without warm-up, decay 0.01, clipping at 1), texts
padded to the longest of their batch. Its EWC squares gradients of batches, so that our strength means nothing there: three strengths are run, and the best by
its own test accuracy is taken, in its favour. Our runs of the same streams are made by bench/continual.py. Writes
bench/results/continual/<stream>/peers-<seed>.json, which bench/continual.py leaves out of its table.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

FOLDER = pathlib.Path(os.environ.get("ENGRAM_PEERS", "/tmp/engram-peers"))
HERE = pathlib.Path(__file__).resolve()
REPOSITORY = HERE.parent.parent
ORACLE = REPOSITORY / ".deps" / "oracle"
# What avalanche imports when it is imported, without what the oracle has. torchvision is the one that is built for the oracle's torch.
PACKAGES = ("avalanche-lib==0.6.0", "torchvision==0.26.0", "torchmetrics", "lightning-utilities", "psutil", "gputil", "matplotlib", "contourpy", "cycler", "fonttools",
            "kiwisolver", "pyparsing", "python-dateutil", "six", "pillow", "pytorchcv", "gdown", "beautifulsoup4", "soupsieve", "qpsolvers", "dill", "requests",
            "urllib3", "charset-normalizer", "idna", "certifi", "tensorboard", "absl-py", "markdown", "werkzeug", "tensorboard-data-server", "setuptools")
EPOCHS, BATCH, LR, MEMORY = 3, 32, 2e-4, 200
EWC_STRENGTHS = (1.0, 100.0, 10_000.0)


def prepare() -> None:
    """`--no-deps` throughout: nothing replaces the oracle's torch, which is seen through a .pth file."""
    subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
    [site] = FOLDER.glob("lib/python3*/site-packages")
    [oracle] = ORACLE.glob("lib/python3*/site-packages")
    (site / "oracle.pth").write_text(f"{oracle}\n")
    (site / "wandb.py").write_text('"""Stands for the package, which avalanche imports and which is used by a logger alone that is not used here."""\n')
    subprocess.run([FOLDER / "bin" / "pip", "install", "--no-deps", "--quiet", *PACKAGES], check=True)
    subprocess.run([FOLDER / "bin" / "python", "-c", "import avalanche.training, torch; print('avalanche over torch', torch.__version__)"], check=True)


# --- In that environment -------------------------------------------------------------------------------------------------------------

def learn(stream: str, seed: int) -> list[dict]:
    import statistics

    import avalanche.training as strategies
    import torch
    import transformers
    from avalanche.benchmarks.utils import DataAttribute
    from avalanche.benchmarks.utils.classification_dataset import TaskAwareClassificationDataset
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
    from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule
    from avalanche.training.plugins import SupervisedPlugin

    import continual
    import peers

    torch.set_num_threads(peers.THREADS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(peers.BASE_MODEL)
    steps, by_task = continual.steps_of(stream, seed), stream == "banking_task"
    spec = continual.STREAMS[stream]
    numbers = {label: i for i, label in enumerate(label for step in steps for label in step.labels)}

    class Texts(torch.utils.data.Dataset):
        def __init__(self, rows: list[dict], step: int):
            self.ids = tokenizer([row["text"] for row in rows], truncation=True, max_length=128)["input_ids"]
            first = numbers[steps[step].labels[0]] if by_task else 0
            self.targets = [numbers[row["label"]] - first for row in rows]

        def __len__(self):
            return len(self.ids)

        def __getitem__(self, i: int):
            return torch.tensor(self.ids[i]), self.targets[i]

    def pad(rows):
        """Of (ids, label, step): ids padded with 0, which no text has."""
        columns = list(zip(*rows, strict=True))
        return [torch.nn.utils.rnn.pad_sequence(columns[0], batch_first=True), *(torch.tensor(column) for column in columns[1:])]

    class Features(torch.nn.Module):
        """The mean over tokens."""

        def __init__(self):
            super().__init__()
            self.encoder = transformers.AutoModel.from_pretrained(peers.BASE_MODEL, add_pooling_layer=False)

        def forward(self, x):
            mask = (x != 0).long()
            hidden = self.encoder(input_ids=x, attention_mask=mask).last_hidden_state
            return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    class HeadPerStep(MultiTaskModule):
        def __init__(self):
            super().__init__()
            self.features = Features()
            self.classifier = MultiHeadClassifier(self.features.encoder.config.hidden_size, 11, masking=False)

        def forward_single_task(self, x, task_label):
            return self.classifier.forward_single_task(self.features(x), task_label)

    class GrowingHead(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = Features()
            self.classifier = IncrementalClassifier(self.features.encoder.config.hidden_size, 11, masking=False)

        def forward(self, x):
            return self.classifier(self.features(x))

    class OurTraining(SupervisedPlugin):
        """Clipping, and the learning rate that falls linearly over a step."""

        def before_training_exp(self, strategy, **_):
            steps_in_all = strategy.train_epochs * -(-len(strategy.adapted_dataset) // BATCH)
            self.schedule = torch.optim.lr_scheduler.LambdaLR(strategy.optimizer, lambda t: max(0.0, 1 - t / steps_in_all))

        def before_update(self, strategy, **_):
            torch.nn.utils.clip_grad_norm_(strategy.model.parameters(), 1.0)

        def after_update(self, strategy, **_):
            self.schedule.step()

    def dataset(part: str, count: int | None, step: int):
        texts = Texts(continual.rows_of(steps[step], part, count, seed), step)
        groups = [DataAttribute(texts.targets, "targets"), DataAttribute([step if by_task else 0] * len(texts), "targets_task_labels", use_in_getitem=True)]
        return TaskAwareClassificationDataset([texts], data_attributes=groups, collate_fn=pad)

    parts = {part: [dataset(part, count, i) for i in range(len(steps))] for part, count in (("train", spec.train), ("test", spec.test))}

    def run(name: str, make) -> dict:
        torch.manual_seed(seed)
        model = HeadPerStep() if by_task else GrowingHead()
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
        common = {"model": model, "optimizer": optimizer, "criterion": torch.nn.CrossEntropyLoss(), "train_mb_size": BATCH, "train_epochs": EPOCHS,
                  "eval_mb_size": 64, "plugins": [OurTraining()], "evaluator": None}
        strategy = make(common)
        benchmark = with_task_labels(with_classes_timeline(benchmark_from_datasets(train=parts["train"], test=parts["test"])))
        matrix, seconds = [], 0.0
        for i, experience in enumerate(benchmark.train_stream):
            start = time.perf_counter()
            strategy.train(experience)
            seconds += time.perf_counter() - start
            model.eval()
            row = []
            with torch.no_grad():
                for j in range(i + 1):
                    loader = torch.utils.data.DataLoader(parts["test"][j], batch_size=64, collate_fn=pad)
                    hits = [((model(x, t) if by_task else model(x)).argmax(1) == y) for x, y, t in loader]
                    row.append(torch.cat(hits).double().mean().item())
            matrix.append(row)
        found = {"name": name, "matrix": matrix, "end": statistics.fmean(matrix[-1]), "seconds": round(seconds, 1)}
        print(json.dumps({key: value for key, value in found.items() if key != "matrix"}), flush=True)
        return found

    made = [run("naive", lambda c: strategies.Naive(**c)),
            run("er", lambda c: strategies.Replay(mem_size=MEMORY, **c)),
            run("lwf", lambda c: strategies.LwF(alpha=1.0, temperature=2.0, **c))]
    ewc = [run(f"ewc {strength:g}", lambda c, s=strength: strategies.EWC(ewc_lambda=s, mode="separate", **c)) for strength in EWC_STRENGTHS]
    return [*made, {**max(ewc, key=lambda r: r["end"]), "tried": {r["name"]: r["end"] for r in ewc}}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("prepare", "run"))
    parser.add_argument("--streams", type=lambda text: text.split(","), default=["banking_task", "banking_class"])
    parser.add_argument("--seeds", type=lambda text: [int(x) for x in text.split(",")], default=[0])
    options = parser.parse_args()
    if options.verb == "prepare":
        return prepare()
    if pathlib.Path(sys.prefix).resolve() != FOLDER.resolve():
        if not (FOLDER / "bin" / "python").exists():
            raise SystemExit(f"{FOLDER} holds no environment: run `bench/continual_peers.py prepare` first")
        os.execv(FOLDER / "bin" / "python", [str(FOLDER / "bin" / "python"), str(HERE), *sys.argv[1:]])
    import continual
    from run import machine, revision
    for seed in options.seeds:
        for stream in options.streams:
            path = continual.RESULTS / stream / f"peers-{seed}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"stream": stream, "seed": seed, "machine": machine(), "revision": revision(), "runs": learn(stream, seed)}) + "\n")
    return None


if __name__ == "__main__":
    sys.exit(main())
