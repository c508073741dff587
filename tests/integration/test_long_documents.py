"""A classifier learns whole documents in windows, is measured on them, and reads them so when it is asked: against transformers over the windows."""
import csv
import json

import grpc
import numpy as np
import pytest
import torch
import transformers

from conftest import error_info, messages
from small_models import make, tokenizer

WINDOW = 16
FILLER = "the a one some this that each every any more".split(" ")
TOPICS = {"nature": "river mountain forest lake cloud".split(" "), "town": "street market bridge tower station".split(" ")}


def documents(count: int, seed: int) -> list[tuple[str, str]]:
    """What tells the classes apart begins behind the model's window of 64 tokens."""
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        label = list(TOPICS)[i % 2]
        rows.append((" ".join([*generator.choice(FILLER, 70), *generator.choice(TOPICS[label], generator.integers(20, 50))]), label))
    return rows


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def windows(ids: list[int], size: int) -> list[tuple[list[int], int]]:
    """(tokens of a window, how many of them count). Every word of these texts is one token; what the last window shares with the one before is
    halved."""
    if len(ids) <= size:
        return [(ids, len(ids))]
    end = len(ids) // size * size
    begins, rest = list(range(0, end, size)), len(ids) - end
    if not rest:
        return [(ids[at:at + size], size) for at in begins]
    middle = (end + len(ids) - size + 1) // 2
    counts = [size] * (len(begins) - 1) + [middle - begins[-1], len(ids) - middle]
    return [(ids[at:at + size], count) for at, count in zip([*begins, len(ids) - size], counts)]


@pytest.fixture(scope="module")
def learned(module_server, tmp_path_factory):
    server, folder = module_server, tmp_path_factory.mktemp("documents")
    server.engram("models", "import", "documents", make("bert", "Model", folder / "model"))
    server.test = documents(20, 2)
    server.engram("datasets", "upload", "documents", write(folder / "train.csv", documents(40, 1)), "--test", write(folder / "test.csv", server.test))
    common = ("start-task", "documents@1", "topic", "--dataset", "documents", "--epochs", "3", "--set", "lr=3e-3", "--set", f"max_length={WINDOW}",
              "--set", "batch_size=8", "--set", "precision=fp32")
    server.cut = server.json(*common, "--label", "cut", "--wait")
    server.whole = server.json(*common, "--label", "whole", "--set", "long_texts=chunk", "--wait")
    server.engram("models", "export", "documents@whole", folder / "exported")
    server.model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "exported", dtype=torch.float64).eval()
    server.tokens = tokenizer(folder / "exported")
    server.manifest = json.loads((folder / "exported" / "engram.json").read_text())
    return server


def logits(server, text: str) -> np.ndarray:
    ids = server.tokens(text, add_special_tokens=False)["input_ids"]
    parts = windows(ids, WINDOW - 2)
    with torch.no_grad():
        return sum(c / len(ids) * server.model(torch.tensor([[101, *part, 102]])).logits[0].numpy() for part, c in parts)


def metric(job, name):
    return next(m["value"] for m in job["result"]["metrics"] if m["task"].endswith("/topic") and m["metric"] == name)


def test_what_stands_behind_the_window_is_learned_and_measured(learned):
    server = learned
    assert metric(server.whole, "accuracy") >= 0.9 and metric(server.cut, "accuracy") <= 0.75
    assert server.manifest["tasks"][-1]["chunk_tokens"] == WINDOW and server.manifest["training"]["options"]["long_texts"] == "chunk"
    names = [server.model.config.id2label[i] for i in range(2)]
    expected = [torch.nn.functional.cross_entropy(torch.tensor(logits(server, text))[None], torch.tensor([names.index(label)])).item()
                for text, label in server.test]
    assert metric(server.whole, "loss") == pytest.approx(np.mean(expected), abs=1e-4)
    measured = server.json("evaluate", "documents@whole", "--task", "topic", "--wait")
    assert metric(measured, "loss") == pytest.approx(np.mean(expected), abs=1e-4)
    cut = server.json("evaluate", "documents@cut", "--task", "topic", "--wait")
    warned = lambda job: [w for w in job["result"].get("warnings", []) if w.startswith("TEXTS_CUT")]
    assert warned(server.cut) and warned(cut) and not warned(server.whole) and not warned(measured)
    consolidated = server.json("consolidate-task", "documents@whole", "topic", "--samples", "4", "--wait")
    assert int(consolidated["result"]["fisher_samples"]) == 4 and not warned(consolidated)


def test_texts_are_read_as_they_were_learned(learned):
    server, m = learned, messages()
    task = next(v for v in server.json("models", "show", "documents")["versions"] if "whole" in json.dumps(v.get("labels", [])))["tasks"][0]
    assert int(task["chunk_tokens"]) == WINDOW
    classify = lambda label="whole", **more: server.stub("InferenceService").Classify(m.ClassifyRequest(model="documents", version=label, **more))
    text = server.test[0][0]
    answer = classify(texts=[text, "the river"])
    scores = lambda result: np.array([s.logit for s in sorted(result.tasks[0].scores, key=lambda s: server.model.config.label2id[s.label])])
    ids = server.tokens(text, add_special_tokens=False)["input_ids"]
    np.testing.assert_allclose(scores(answer.results[0]), logits(server, text), atol=1e-4)
    np.testing.assert_allclose(scores(answer.results[1]), logits(server, "the river"), atol=1e-4)
    assert answer.results[0].chunks == len(windows(ids, WINDOW - 2)) and not answer.results[0].truncated and answer.results[1].chunks == 1
    assert answer.results[0].full_tokens == len(ids) + 2
    # Saying so changes nothing; cutting is for all tasks; a task that learned beginnings refuses what it would have to cut.
    assert classify(texts=[text], long_texts=m.LONG_TEXTS_CHUNK).results[0] == answer.results[0]
    cut = classify(texts=[text], truncate=True).results[0]
    assert cut.truncated and cut.chunks == 1 and cut.tokens == 64
    refused, short = classify("cut", texts=[text, "the river"]).results
    assert "long_texts" in refused.error.message and not refused.tasks and short.tasks


def test_the_estimate_counts_whole_texts(learned):
    server, m = learned, messages()
    estimate = lambda **options: server.stub("TaskService").StartTask(m.StartTaskRequest(
        model="documents", base="1", task="topic", dataset="documents", validate_only=True, options={"max_length": str(WINDOW), **options})).estimate
    counts = [len(server.tokens(text, add_special_tokens=False)["input_ids"]) for text, _ in documents(40, 1)]
    whole, cut = estimate(long_texts="chunk"), estimate()
    assert whole.tokens == sum(sum(len(part) + 2 for part, _ in windows([0] * count, WINDOW - 2)) for count in counts)
    assert cut.tokens == 40 * WINDOW and any(w.startswith("TEXTS_CUT") for w in cut.warnings) and not any(w.startswith("TEXTS_CUT") for w in whole.warnings)


def test_only_single_texts_that_are_classified_are_read_in_windows(learned, tmp_path):
    m, start = messages(), learned.stub("TaskService").StartTask
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("text,text_pair,label\na b,c d,x\ne f,g h,y\n")
    learned.engram("datasets", "upload", "document-pairs", pairs)
    for request in (dict(dataset="document-pairs"), dict(dataset="documents", kind=m.TASK_KIND_MASKED_LANGUAGE_MODEL)):
        with pytest.raises(grpc.RpcError) as refused:
            start(m.StartTaskRequest(model="documents", base="1", task="other", options={"long_texts": "chunk"}, validate_only=True, **request))
        assert error_info(refused.value)[1] == ["long_texts"], refused.value.details()
