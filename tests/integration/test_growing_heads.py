"""Class-incremental learning through the API: labels that come one after the other, in one head that grows."""
import gzip
import json

import pytest

from conftest import BASE_MODEL, DATA, messages

OPTIONS = ("--strategy", "fel", "--set", "width=256", "--set", "shrinkage=0.1")


@pytest.fixture(scope="module")
def server(module_server, tmp_path_factory):
    """The base model, and data sets of two labels each: `one`, `two`, and `all` with the texts of both."""
    folder = tmp_path_factory.mktemp("growing")
    rows = [json.loads(line) for line in gzip.open(DATA / "banking77.train.jsonl.gz", "rt", encoding="utf-8")]
    labels = sorted({r["label"] for r in rows})[:4]
    parts = {"one": labels[:2], "two": labels[2:], "all": labels}
    module_server.engram("models", "import", "base", BASE_MODEL)
    for name, kept in parts.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in rows if r["label"] in kept), encoding="utf-8")
        module_server.engram("datasets", "upload", name, path, "--test", path)
    module_server.texts = [r["text"] for r in rows if r["label"] in labels][::3]
    module_server.labels = labels
    return module_server


def learn(server, dataset, base, label, *options):
    server.engram("start-task", "base", "intents", "--dataset", dataset, "--from", base, "--label", label, *OPTIONS, *options, "--wait")


def scores(server, label):
    m = messages()
    request = m.ClassifyRequest(model="base", version=label, task="intents", texts=server.texts, top_k=10)
    return [{s.label: s.probability for s in r.tasks[0].scores} for r in server.stub("InferenceService").Classify(request).results]


def test_labels_one_after_the_other_are_those_of_all_at_once(server):
    learn(server, "one", "1", "first")
    learn(server, "two", "first", "grown")
    learn(server, "all", "1", "joint")
    assert set(scores(server, "first")[0]) == set(server.labels[:2])
    for grown, joint in zip(scores(server, "grown"), scores(server, "joint"), strict=True):
        assert set(grown) == set(server.labels)
        assert grown == pytest.approx(joint, abs=2e-3)
    learn(server, "two", "grown", "shrunk", "--set", "texts=remove")
    for left, first in zip(scores(server, "shrunk"), scores(server, "first"), strict=True):
        assert left == pytest.approx(first | {label: 0.0 for label in server.labels[2:]}, abs=2e-3)


def test_a_head_does_not_grow_under_a_strategy_that_cannot_take_it(server):
    learn(server, "one", "1", "fixed")
    refused = server.engram("start-task", "base", "intents", "--dataset", "two", "--from", "fixed", "--strategy", "naive", "--wait", check=False)
    assert refused.returncode != 0 and "labels are fixed" in refused.stderr
