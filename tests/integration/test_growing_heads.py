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


def test_a_head_does_not_grow_unless_the_strategy_says_so(server):
    learn(server, "one", "1", "fixed")
    for named in (["--strategy", "lora"], []):  # without a word the labels might be a slip of the data
        refused = server.engram("start-task", "base", "intents", "--dataset", "two", "--from", "fixed", *named, "--wait", check=False)
        assert refused.returncode != 0 and "does not have" in refused.stderr and "er, " in refused.stderr, refused.stderr


def test_replay_keeps_the_labels_that_naive_training_loses(server):
    """Two labels, then two others in the same head: what of the first two is left on their own texts, and what the job says of it."""
    def train(dataset, base, label, strategy):
        return server.json("start-task", "base", "grows", "--dataset", dataset, "--from", base, "--label", label, "--strategy", strategy,
                           "--set", "lr=1e-3", "--set", "epochs=4", "--wait")["result"]["metrics"]
    left = {}
    for strategy in ("naive", "er"):
        train("one", "1", f"{strategy}-one", strategy)
        metrics = train("two", f"{strategy}-one", f"{strategy}-two", strategy)
        [first] = [m for m in metrics if m["metric"] == "accuracy" and "before" in m]
        left[strategy] = first["value"]
        assert first["before"] > 0.9
    assert left["naive"] < 0.5 < 0.9 < left["er"]
