"""Tasks with parts of their own in a frozen encoder: trained, stored, served, and untouched by what is learned after them."""
import gzip
import json

import pytest

from conftest import BASE_MODEL, DATA, messages

STRATEGIES = {
    "adapted": ("adapter", "places=sublayers"),
    "column": ("pnn", "width=16"),
    "reader": ("pnn", "width=16"),  # reads the column
    "low-rank": ("lora", "merged=false"),
}


@pytest.fixture(scope="module")
def server(module_server, tmp_path_factory):
    """The base model with one task for each strategy, learned one after the other; each task tells two intents apart."""
    folder = tmp_path_factory.mktemp("blocks")
    rows = [json.loads(line) for line in gzip.open(DATA / "banking77.train.jsonl.gz", "rt", encoding="utf-8")]
    labels = sorted({r["label"] for r in rows})
    module_server.engram("models", "import", "base", BASE_MODEL)
    module_server.texts, module_server.truth, module_server.after = {}, {}, {}
    base = "1"
    for i, (task, (strategy, option)) in enumerate(STRATEGIES.items()):
        own = [r for r in rows if r["label"] in labels[2 * i : 2 * i + 2]]
        path = folder / f"{task}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in own), encoding="utf-8")
        module_server.engram("datasets", "upload", task, path)
        module_server.engram("start-task", "base", task, "--dataset", task, "--from", base, "--label", task, "--strategy", strategy, "--set", option,
                             "--set", "lr=0.003", "--epochs", "5", "--wait")
        module_server.texts[task] = [r["text"] for r in own][::4]
        module_server.truth[task] = [r["label"] for r in own][::4]
        module_server.after[task] = scores(module_server, task, task)
        base = task
    return module_server


def scores(server, task, label):
    m = messages()
    request = m.ClassifyRequest(model="base", version=label, task=task, texts=server.texts[task], top_k=2)
    return [{s.label: s.probability for s in r.tasks[0].scores} for r in server.stub("InferenceService").Classify(request).results]


def test_each_task_is_learned(server):
    for task in STRATEGIES:
        right = [max(s, key=s.get) == truth for s, truth in zip(server.after[task], server.truth[task], strict=True)]
        assert sum(right) >= 0.9 * len(right), task


def test_no_task_forgets_and_a_server_that_starts_again_answers_the_same(server):
    for task in STRATEGIES:
        for now, then in zip(scores(server, task, "low-rank"), server.after[task], strict=True):
            assert now == pytest.approx(then, abs=1e-4)
    server.kill()
    server.start()
    for task in STRATEGIES:
        for now, then in zip(scores(server, task, "low-rank"), server.after[task], strict=True):
            assert now == pytest.approx(then, abs=1e-4)


def test_the_version_says_what_it_applies(server):
    versions = sorted((server.folder / "data" / "models" / "base" / "versions").iterdir(), key=lambda path: int(path.name))
    tasks = {task["name"]: task.get("blocks", {}) for task in json.loads((versions[-1] / "engram.json").read_text())["tasks"]}
    assert [tasks[task]["kind"] for task in STRATEGIES] == ["adapter", "progressive", "progressive", "low_rank"]
    assert tasks["reader"]["earlier"] == ["column"] and tasks["column"]["earlier"] == []


def test_a_column_that_others_read_learns_no_further(server):
    refused = server.engram("start-task", "base", "column", "--dataset", "column", "--from", "low-rank", "--strategy", "pnn", "--set", "width=16", "--wait", check=False)
    assert refused.returncode != 0 and "reads that of column" in refused.stdout + refused.stderr
