#!/usr/bin/env python3
"""Named entities: F1 and speed of a training against transformers' token-classification recipe, TagEntities against transformers' pipeline, and a tagger that gets one type after the other. Writes rows to bench/results/ner.json.

The recipe is that of transformers' run_ner.py (label on the first token, the others ignored; AdamW, linear schedule, clipping, batches grouped by
length), with the same model, epochs, learning rate, warm-up, batch size and seeds on both sides, one after the other in one run. F1 is seqeval's.

It has five parts, each of less than ten minutes on 2 cores with nothing beside it (WNUT17, one seed): f1, speed (of the same training), pipeline (words a
second of TagEntities against transformers' pipeline), continual (one type a step, on CoNLL-2003) and partial (CoNLL-2003 annotated by a list with half of its
names, whose other words are unknown, or outside). --only names some of them; without it f1, speed and pipeline are run. Rows that a run does not measure stay in the file. The whole comparison: --only f1 --seeds 3 --data wnut17,btc,crossner_conll2003.

example: ENGRAM_BUILD=build .deps/oracle/bin/python bench/ner.py --only f1
"""
import argparse
import gzip
import json
import pathlib
import random
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "integration"), str(ROOT / "bench")]

import torch
import transformers
from seqeval.metrics import f1_score

import peers
from conftest import BASE_MODEL, Server

DATA = ROOT.parent / "shared" / "data" / "ner"
LR, BATCH, WARMUP, MAX_LENGTH = 2e-4, 32, 0.06, 128
FLOORS = {"wnut17": 15.7, "btc": 59.6}  # F1 of an averaged perceptron without pre-training, per cent
BARS = {"f1": 1.0, "floor": 1.0, "train_speed": 1.5, "tag_speed": 2.0, "extend_ner_over_naive": 15.0}


def read(name: str, part: str) -> list[tuple[list[str], list[str]]]:
    """(words, tags) of each sentence."""
    sentences, words, tags = [], [], []
    with gzip.open(DATA / name / f"{part}.conll.gz", "rt", encoding="utf-8") as lines:
        for line in [*lines, "\n"]:
            columns = line.split()
            if columns and not line.startswith("-DOCSTART-"):
                words.append(columns[0]), tags.append(columns[-1])
            elif words:
                sentences.append((words, tags))
                words, tags = [], []
    return sentences


def write(sentences, path: pathlib.Path) -> pathlib.Path:
    path.write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in zip(words, tags)) for words, tags in sentences), encoding="utf-8")
    return path


class Recipe:
    """transformers' recipe: a training, and the F1 of its model."""

    def __init__(self, train, tags: list[str], epochs: int, seed: int):
        torch.manual_seed(seed)
        self.tags, self.tokenizer = tags, transformers.AutoTokenizer.from_pretrained(BASE_MODEL)
        self.model = transformers.AutoModelForTokenClassification.from_pretrained(BASE_MODEL, num_labels=len(tags), id2label=dict(enumerate(tags)))
        rows = [self.encode(words, gold) for words, gold in train]
        rng, batches = random.Random(seed), []
        for _ in range(epochs):
            order = rng.sample(range(len(rows)), len(rows))
            pools = [sorted(order[i:i + 50 * BATCH], key=lambda n: -len(rows[n][0])) for i in range(0, len(order), 50 * BATCH)]  # as LengthGroupedSampler
            order = [n for pool in pools for n in pool]
            groups = [order[i:i + BATCH] for i in range(0, len(order), BATCH)]
            rng.shuffle(groups)
            batches += groups
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=LR, weight_decay=0.01, fused=True)
        schedule = transformers.get_linear_schedule_with_warmup(optimizer, round(WARMUP * len(batches)), len(batches))
        self.model.train()
        start, self.tokens = time.perf_counter(), 0
        for group in batches:
            width = max(len(rows[n][0]) for n in group)
            ids, mask, labels = (torch.full((len(group), width), fill) for fill in (0, 0, -100))
            for r, n in enumerate(group):
                size = len(rows[n][0])
                ids[r, :size], mask[r, :size], labels[r, :size] = torch.tensor(rows[n][0]), 1, torch.tensor(rows[n][1])
            self.model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step(), schedule.step(), optimizer.zero_grad()
            self.tokens += int(mask.sum())
        self.seconds = time.perf_counter() - start
        self.model.eval()

    def encode(self, words, gold):
        made = self.tokenizer(words, is_split_into_words=True, truncation=True, max_length=MAX_LENGTH)
        owners = made.word_ids()
        first = [w is not None and (i == 0 or owners[i - 1] != w) for i, w in enumerate(owners)]
        return made["input_ids"], [self.tags.index(gold[w]) if f else -100 for w, f in zip(owners, first)]

    def f1(self, test) -> float:
        golds, guesses = [], []
        with torch.inference_mode():
            for words, gold in test:
                ids, labels = self.encode(words, gold)
                best = self.model(input_ids=torch.tensor([ids])).logits[0].argmax(1).tolist()
                guess = [self.tags[b] for b, label in zip(best, labels) if label != -100]
                golds.append(gold), guesses.append(guess + ["O"] * (len(gold) - len(guess)))
        return 100 * f1_score(golds, guesses)


def row(name, value, unit, peer, peer_value, ratio, bar, **extra) -> dict:
    return {"name": name, "value": round(value, 3), "unit": unit, "peer": peer, "peer_value": round(peer_value, 3), "ratio": round(ratio, 3), "bar": bar,
            "met": bool(ratio >= bar), **extra}


PARTS = ("f1", "speed", "pipeline", "continual", "partial")


def finished(server, *words) -> dict:
    """The result of a job, however long it takes."""
    name = server.json(*words)["name"]
    while (job := server.json("jobs", "show", name))["state"] in ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING"):
        time.sleep(1)
    if job["state"] != "JOB_STATE_SUCCEEDED":
        raise SystemExit(f"{' '.join(map(str, words[:3]))}: {job}")
    return job["result"]


def training(server, folder, name: str, epochs: int, seeds: list[int], only: set[str]) -> list[dict]:
    train, test = read(name, "train"), read(name, "test")
    types = sorted({t[2:] for _, tags in train for t in tags if t != "O"})
    tags = ["O", *(f"{p}-{t}" for t in types for p in "BI")]
    test = [(words, [t if t in tags else "O" for t in gold]) for words, gold in test]
    data, held = write(train, folder / f"{name}.conll"), write(test, folder / f"{name}-test.conll")
    server.engram("datasets", "upload", name.replace("_", "-"), data, "--test", held)
    ours, theirs, our_speed, their_speed, version = [], [], [], [], ""
    for seed in seeds:
        result = finished(server, "start-task", "minilm@1", name.replace("_", "-"), "--dataset", name.replace("_", "-"), "--epochs", str(epochs), "--set", f"lr={LR}",
                         "--set", f"batch_size={BATCH}", "--set", f"seed={seed}", "--set", f"warmup_ratio={WARMUP}", "--set", "precision=fp32", "--set", f"max_length={MAX_LENGTH}")
        version = result["version"].split("/")[-1]
        ours.append(100 * next(m["value"] for m in result["metrics"] if m["metric"] == "entity_f1"))
        our_speed.append(result["tokens"] / result["work_seconds"])
        if only & {"f1", "speed"}:
            recipe = Recipe(train, tags, epochs, seed)
            theirs.append(recipe.f1(test) if "f1" in only else 0.0)
            their_speed.append(recipe.tokens / recipe.seconds)
            print(f"{name} seed {seed}: {ours[-1]:.2f} against {theirs[-1]:.2f} % F1, {our_speed[-1]:.0f} against {their_speed[-1]:.0f} tokens/s", file=sys.stderr)
    peer, extra = f"transformers {transformers.__version__}", {"epochs": epochs, "seeds": seeds, "lr": LR, "batch": BATCH}
    mean, rows = statistics.mean, []
    if "f1" in only:
        rows.append(row(f"ner.{name}.f1", mean(ours), "entity F1, %", peer, mean(theirs), mean(ours) / max(mean(theirs), 1e-9), BARS["f1"], raw={"ours": ours, "peer": theirs}, **extra))
        if name in FLOORS:
            rows.append(row(f"ner.{name}.f1_over_floor", mean(ours), "entity F1, %", "averaged perceptron", FLOORS[name], mean(ours) / FLOORS[name], BARS["floor"], **extra))
    if "speed" in only:
        rows.append(row(f"ner.{name}.train_speed", mean(our_speed), "real tokens/s", peer, mean(their_speed), mean(our_speed) / mean(their_speed), BARS["train_speed"],
                        raw={"ours": our_speed, "peer": their_speed}, **extra))
    if "pipeline" in only:
        rows += tagging(server, folder, name, version, [" ".join(words) for words, _ in test])
    return rows


def tagging(server, folder, name: str, version: str, texts: list[str], repeats: int = 3) -> list[dict]:
    """Words a second of the trained tagger: calls of 256 texts against the pipeline in batches of 32, on the same texts."""
    from conftest import messages
    server.engram("models", "export", f"minilm@{version}", folder / f"{name}-export")
    directory = folder / f"{name}-export"
    pipeline = transformers.pipeline("token-classification", model=transformers.AutoModelForTokenClassification.from_pretrained(directory).eval(),
                                     tokenizer=transformers.AutoTokenizer.from_pretrained(directory), aggregation_strategy="first", batch_size=32)
    m, call = messages(), server.stub("InferenceService").TagEntities
    words = sum(len(text.split()) for text in texts)
    requests = [m.TagEntitiesRequest(model="minilm", version=version, texts=texts[i:i + 256]) for i in range(0, len(texts), 256)]
    mine, theirs = [], []
    call(requests[0]), pipeline(texts[:64])
    for _ in range(repeats):
        mine.append(words / peers.timed(lambda: [f.result() for f in [call.future(r) for r in requests]]))
        theirs.append(words / peers.timed(lambda: pipeline(texts)))
    ratio = statistics.median(a / b for a, b in zip(mine, theirs))
    return [row(f"ner.{name}.tag_speed", statistics.median(mine), "words/s", f"transformers {transformers.__version__} pipeline", statistics.median(theirs), ratio, BARS["tag_speed"],
                raw={"ours": mine, "peer": theirs}, threads=peers.THREADS)]


def continual(server, folder, epochs: int, count: int = 2000) -> list[dict]:
    """CoNLL-2003, one type a step, each on sentences of its own in which the other types are O. Macro F1 over all types on the whole test part after the last step."""
    train, test = read("crossner_conll2003", "train"), read("crossner_conll2003", "test")
    random.Random(0).shuffle(train)
    types = sorted({t[2:] for _, tags in train for t in tags if t != "O"})
    write(test, folder / "steps-test.conll"), write(train[:count], folder / "steps-all.conll")
    server.engram("datasets", "upload", "all-types", folder / "steps-all.conll", "--test", folder / "steps-test.conll")
    for i, kind in enumerate(types):
        own = [(w, [t if t[2:] == kind else "O" for t in tags]) for w, tags in train[i * count:(i + 1) * count]]
        server.engram("datasets", "upload", f"step-{i}", write(own, folder / f"step-{i}.conll"))
    macro, peer = {}, "naive"
    for strategy, options in {"naive": [], "extend_ner": [], "self_training": ["--set", "targets=hard"], "er": []}.items():
        base, task = "1", f"steps-{strategy.replace('_', '-')}"
        for i, kind in enumerate(types):
            name = "extend_ner" if strategy == "self_training" else strategy
            result = finished(server, "start-task", f"minilm@{base}", task, "--dataset", f"step-{i}", "--strategy", name, "--epochs", str(epochs), "--set", f"lr={LR}",
                              "--set", "measure_earlier=false", *options)
            base = result["version"].split("/")[-1]
        measured = finished(server, "evaluate", f"minilm@{base}", "--task", task, "--dataset", "all-types")
        f1 = {la["label"]: 100 * la["f1"] for la in measured["label_metrics"]}
        macro[strategy] = statistics.mean(f1.get(kind, 0) for kind in types)
        print(f"{strategy}: {f1}", file=sys.stderr)
    gain = macro["extend_ner"] - macro["naive"]
    rows = [row(f"ner.steps.{s}", value, "macro F1, %", peer, macro["naive"], value / max(macro["naive"], 1e-9), 0, steps=types, sentences=count, epochs=epochs) for s, value in macro.items()]
    return [*rows, row("ner.steps.extend_ner_minus_naive", gain, "points of macro F1", peer, 0, gain, BARS["extend_ner_over_naive"])]


def by_list(words, tags, known: set[str]) -> list[str]:
    """The tags that a list of names gives: of the entities those that it has; of all other words nothing is known."""
    out, at = ["-"] * len(tags), 0
    while at < len(tags):
        end = at + 1
        while tags[at] != "O" and end < len(tags) and tags[end].startswith("I-"):
            end += 1
        if tags[at] != "O" and " ".join(words[at:end]).lower() in known:
            out[at:end] = tags[at:end]
        at = end
    return out


def partial(server, folder, epochs: int, count: int = 2000) -> list[dict]:
    """Trainings on sentences that a list with half of the names has annotated, by the share of unknown words that is learned as outside: 1 is as if the list were
    complete. F1 on the whole test part, annotated in full."""
    train, test = read("crossner_conll2003", "train"), read("crossner_conll2003", "test")
    rng = random.Random(0)
    train = rng.sample(train, count)
    names = sorted({" ".join(words[i:j]).lower() for words, tags in train for i in range(len(tags)) if tags[i].startswith("B-")
                    for j in [next((k for k in range(i + 1, len(tags)) if not tags[k].startswith("I-")), len(tags))]})
    known = set(rng.sample(names, len(names) // 2))
    held = write(test, folder / "partial-test.conll")
    server.engram("datasets", "upload", "listed", write([(w, by_list(w, t, known)) for w, t in train], folder / "listed.conll"), "--test", held)
    server.engram("datasets", "upload", "in-full", write(train, folder / "in-full.conll"), "--test", held)
    figures = {}
    for name, dataset, share in (("1", "listed", 1), ("0.35", "listed", 0.35), ("0.1", "listed", 0.1), ("in_full", "in-full", 1)):
        result = finished(server, "start-task", "minilm@1", f"partial-{name.replace('.', '-').replace('_', '-')}", "--dataset", dataset, "--epochs", str(epochs), "--set", f"lr={LR}",
                          "--set", f"unknown_as_outside={share}", "--set", "precision=fp32", "--set", f"max_length={MAX_LENGTH}")
        figures[name] = 100 * next(m["value"] for m in result["metrics"] if m["metric"] == "entity_f1")
        print(f"partial {name}: {figures[name]:.2f} % F1; recall by label {[(la['label'], round(la['recall'], 3), round(la['precision'], 3)) for la in result['label_metrics']]}", file=sys.stderr)
    return [row(f"ner.partial.{name}", value, "entity F1, %", "every unknown word outside", figures["1"], value / max(figures["1"], 1e-9), 0, sentences=count, names=len(known), epochs=epochs)
            for name, value in figures.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="f1,speed,pipeline", help="comma-separated parts: " + ", ".join(PARTS))
    parser.add_argument("--data", default="wnut17", help="comma-separated folders of the shared named-entity data")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench" / "results" / "ner.json")
    options = parser.parse_args()
    only = set(options.only.split(","))
    if unknown := only - set(PARTS):
        parser.error(f"--only has no part {', '.join(sorted(unknown))}")
    torch.set_num_threads(peers.THREADS)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        server = Server(folder / "server", {"inference_precision": "fp32"}).start()
        try:
            server.engram("models", "import", "minilm", BASE_MODEL)
            seeds = list(range(options.seeds))
            rows = [r for data in options.data.split(",") for r in training(server, folder, data, options.epochs, seeds, only)] if only & {"f1", "speed", "pipeline"} else []
            rows += continual(server, folder, options.epochs) if "continual" in only else []
            rows += partial(server, folder, options.epochs) if "partial" in only else []
        finally:
            server.stop()
    peers.emit(rows)
    kept = json.loads(options.out.read_text()) if options.out.exists() else []
    fresh = {r["name"] for r in rows}
    options.out.write_text(json.dumps([r for r in kept if r["name"] not in fresh] + rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
