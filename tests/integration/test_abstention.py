"""Texts that no label fits: the threshold that a training chooses on its validation texts, and the answers by it, held to the logits of the answers."""
import csv
import json

import grpc
import numpy as np
import pytest

from conftest import BASE_MODEL, error_info, few_classes, messages

OUT_OF_SCOPE = ["the mitochondrion is the powerhouse of the cell", "he scored twice in the second half", "boil the pasta for nine minutes", "a sonnet has fourteen lines"]


@pytest.fixture(scope="module")
def server(module_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("abstention")
    module_server.engram("models", "import", "base", BASE_MODEL)
    rows = few_classes("banking77.train.jsonl.gz", 4, 40, folder / "all.jsonl").read_text().splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join(row for i, row in enumerate(rows) if i % 4))
    (folder / "validation.jsonl").write_text("".join(rows[::4]))
    module_server.engram("datasets", "upload", "intents", folder / "train.jsonl", "--validation", folder / "validation.jsonl")
    module_server.engram("datasets", "upload", "plain", folder / "train.jsonl")
    module_server.validation = [json.loads(row) for row in rows[::4]]
    learn = lambda task, data, *options: module_server.engram("start-task", "base", task, "--dataset", data, "--from", "1", "--label", task, "--epochs", "6", "--strategy", "naive", *options, "--wait")
    learn("intents", "intents")
    learn("held", "plain", "--set", "validation_fraction=0.25")
    learn("none", "plain")
    return module_server


def task_of(server, label):
    version = next(v for v in server.json("models", "show", "base")["versions"] if label in v.get("labels", []))
    return version["tasks"][0]


def ask(server, label, texts, **options):
    answer = server.stub("InferenceService").Classify(messages().ClassifyRequest(model="base", version=label, texts=texts, **options))
    return [result.tasks[0] for result in answer.results]


def confidence(task, temperature):
    logits = np.array([score.logit for score in task.scores], np.float64) / temperature
    return float(np.exp(logits - logits.max()).max() / np.exp(logits - logits.max()).sum())


def test_the_threshold_is_that_of_the_validation_texts(server):
    chosen = task_of(server, "intents")["abstention"]
    answers = ask(server, "intents", [row["text"] for row in server.validation], abstain=True)
    labels = [row["label"] for row in server.validation]
    logits = np.array([[next(s.logit for s in a.scores if s.label == name) for name in sorted(set(labels))] for a in answers], np.float64)
    own = np.array([sorted(set(labels)).index(name) for name in labels])
    grid = np.exp(np.linspace(np.log(0.5), np.log(20), 20001))
    loss = [float(np.mean(np.log(np.exp(logits / t - (logits / t).max(1, keepdims=True)).sum(1)) + (logits / t).max(1) - (logits / t)[np.arange(len(own)), own])) for t in grid]
    assert chosen["temperature"] == pytest.approx(grid[int(np.argmin(loss))], rel=2e-3)
    sure = sorted((confidence(a, chosen["temperature"]) for a in answers), reverse=True)
    assert chosen["threshold"] == pytest.approx(sure[int(np.ceil(0.95 * len(sure))) - 1], abs=1e-4)
    assert chosen["texts"] == len(labels) and chosen["answered"] == pytest.approx(0.95, abs=1 / len(labels))
    for answer in answers:
        assert answer.confidence == pytest.approx(confidence(answer, chosen["temperature"]), abs=1e-6) and answer.threshold == chosen["threshold"]
        assert answer.abstained == (answer.confidence < answer.threshold)


def test_texts_from_elsewhere_are_abstained_from(server):
    refused = ask(server, "intents", OUT_OF_SCOPE, abstain=True)
    assert sum(a.abstained for a in refused) == len(OUT_OF_SCOPE)
    assert not any(a.HasField("confidence") or a.abstained for a in ask(server, "intents", OUT_OF_SCOPE))
    assert "no label fits" in server.engram("classify", "base@intents", OUT_OF_SCOPE[0], "--abstain").stdout
    assert "(fits: confidence" in server.engram("classify", "base@intents", OUT_OF_SCOPE[0], "--abstain-below", "0").stdout


def test_a_threshold_of_the_callers_own(server):
    for label in ("intents", "none"):
        for text, below in ((OUT_OF_SCOPE[0], 0.0), (server.validation[0]["text"], 1.0)):
            [answer] = ask(server, label, [text], abstain=True, abstain_below=below)
            assert answer.threshold == below and answer.abstained == (below == 1.0)


def test_held_out_texts_choose_it_too_and_without_any_there_is_none(server):
    assert task_of(server, "held")["abstention"]["texts"] == 30
    assert "abstention" not in task_of(server, "none")
    refused = server.engram("classify", "base@none", "where is my card", "--abstain", check=False)
    assert refused.returncode != 0 and "validation_fraction" in refused.stderr


@pytest.mark.parametrize("options", [{"abstain_below": 0.5}, {"abstain": True, "abstain_below": 1.5}, {"abstain": True, "abstain_below": float("nan")}])
def test_bad_requests(server, options):
    with pytest.raises(grpc.RpcError) as raised:
        ask(server, "intents", ["a"], **options)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT and error_info(raised.value)[1] == ["abstain_below"]


def test_files_get_a_column(server, tmp_path):
    (tmp_path / "in.csv").write_text("text\n" + "\n".join([OUT_OF_SCOPE[0], server.validation[1]["text"].replace(",", " ")]) + "\n")
    server.engram("classify", "base@intents", "--file", tmp_path / "in.csv", "--out", tmp_path / "out.csv", "--abstain")
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["intents_fits"] for row in rows][0] == "no" and set(row["intents_fits"] for row in rows) <= {"yes", "no"}


def test_it_survives_export_and_import(server, tmp_path):
    server.engram("models", "export", "base@intents", tmp_path / "export")
    server.engram("models", "import", "again", tmp_path / "export")
    [version] = server.json("models", "show", "again")["versions"]
    assert version["tasks"][0]["abstention"] == task_of(server, "intents")["abstention"]
    # What its training measured came along, too.
    assert {m["metric"] for m in version["metrics"]} >= {"accuracy", "macro_f1"} and {m["part"] for m in version["metrics"]} == {"MEASURED_PART_VALIDATION"}
