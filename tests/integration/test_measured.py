"""What a figure stands on: test part, validation texts or training rows, said in every output; and each label's scores against scikit-learn."""
import json

import pytest
from sklearn.metrics import precision_recall_fscore_support

from small_models import make


@pytest.fixture(scope="module")
def server(module_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    tiny = make("bert", "Model", folder / "tiny", num_hidden_layers=1, hidden_size=16, intermediate_size=16, num_attention_heads=2)
    module_server.engram("models", "import", "m", tiny)
    return module_server


def rows(path, count, shift=0):
    # The label follows from the first word, but for every fifth row: no model gets all of them.
    lines = [{"text": f"{'abc'[i % 3]} {'defgh'[(i + shift) % 5]} {'ijkl'[(i // 3) % 4]} {i + shift}", "label": "xyz"[(i + (i % 5 == 0)) % 3]} for i in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path, lines


def parts(job):
    return {metric["part"] for metric in job["result"]["metrics"]} | {label["part"] for label in job["result"]["label_metrics"]}


def test_each_label_has_the_scores_of_scikit_learn(server, tmp_path):
    train, _ = rows(tmp_path / "train.jsonl", 60)
    test, lines = rows(tmp_path / "test.jsonl", 30, shift=2)
    server.engram("datasets", "upload", "tested", train, "--test", test)
    made = server.json("start-task", "m@1", "t", "--dataset", "tested", "--epochs", "3", "--label", "tested", "--wait")
    assert parts(made) == {"MEASURED_PART_TEST"}
    job = server.json("evaluate", "m@tested", "--wait")
    assert parts(job) == {"MEASURED_PART_TEST"}
    (tmp_path / "texts.txt").write_text("".join(line["text"] + "\n" for line in lines))
    answers = server.json("classify", "m@tested", "--file", tmp_path / "texts.txt", "--top-k", "1")
    predicted = [answer["tasks"][0]["scores"][0]["label"] for answer in answers["results"]]
    wanted = precision_recall_fscore_support([line["label"] for line in lines], predicted, labels=list("xyz"), zero_division=0)
    got = job["result"]["label_metrics"]
    assert [label["label"] for label in got] == list("xyz")
    for i, label in enumerate(got):
        assert (label["precision"], label["recall"], label["f1"], label["support"]) == pytest.approx(tuple(column[i] for column in wanted))
    shown = server.engram("evaluate", "m@tested", "--wait").stdout
    assert "test part" in shown and "precision" in shown and "support" in shown
    assert "test part" in server.engram("models", "show", "m").stdout
    export = tmp_path / "export"
    server.engram("models", "export", "m@tested", export)
    [measured] = json.loads((export / "engram.json").read_text())["measured"]
    assert measured["task"] == "t" and measured["part"] == "test" and measured["texts"] == 30
    assert [label["label"] for label in measured["labels"]] == list("xyz") and sum(label["support"] for label in measured["labels"]) == 30


def test_without_a_test_part_every_output_says_what_the_figures_are_of(server, tmp_path):
    train, _ = rows(tmp_path / "train.jsonl", 40)
    server.engram("datasets", "upload", "bare", train)
    none = server.engram("start-task", "m@1", "bare", "--dataset", "bare", "--epochs", "1", "--label", "bare", "--wait")
    assert "NOT_MEASURED" in none.stderr and "accuracy" not in none.stdout
    job = server.json("evaluate", "m@bare", "--wait")
    assert parts(job) == {"MEASURED_PART_TRAINING"} and any(w.startswith("TRAINING_ROWS") for w in job["result"]["warnings"])
    assert "training rows" in job["options"]["dataset of bare"]
    assert not any(metric["own_test_part"] for metric in job["result"]["metrics"])
    for words in ("evaluate", "m@bare", "--wait"), ("jobs", "show", job["name"]):
        lines = [line for line in server.engram(*words).stdout.splitlines() if line.startswith("bare ")]
        assert lines and all(line.endswith("training rows") for line in lines), words

    held_out = server.engram("start-task", "m@1", "held", "--dataset", "bare", "--epochs", "1", "--set", "validation_fraction=0.25", "--label", "held", "--wait")
    lines = [line for line in held_out.stdout.splitlines() if line.startswith("held ")]
    assert lines and all(line.endswith("validation texts") for line in lines) and "VALIDATION_FIGURES" in held_out.stderr
    assert "validation texts" in server.engram("models", "show", "m").stdout


def test_a_validation_part_of_its_own(server, tmp_path):
    train, _ = rows(tmp_path / "train.jsonl", 40)
    validation, lines = rows(tmp_path / "validation.jsonl", 12, shift=1)
    said = server.engram("datasets", "upload", "validated", train, "--validation", validation).stdout
    assert "validation part, read as jsonl" in said
    assert server.json("datasets", "show", "validated")["validation_rows"] == 12
    job = server.json("start-task", "m@1", "val", "--dataset", "validated", "--epochs", "1", "--set", "early_stopping_patience=1", "--wait")
    assert parts(job) == {"MEASURED_PART_VALIDATION"} and {metric["count"] for metric in job["result"]["metrics"]} == {12}
    assert sum(label["support"] for label in job["result"]["label_metrics"]) == 12
    refused = server.engram("start-task", "m@1", "val", "--dataset", "validated", "--set", "validation_fraction=0.1", check=False)
    assert refused.returncode == 1 and "validation part of 12 rows" in refused.stderr
    other = server.engram("datasets", "upload", "validated", train, check=False)  # the same rows without the part are another data set
    assert "DATASET_EXISTS" in other.stderr
    (tmp_path / "strange.jsonl").write_text('{"text": "a", "label": "unheard"}\n')
    strange = server.engram("datasets", "upload", "strange", train, "--validation", tmp_path / "strange.jsonl", check=False)
    assert strange.returncode == 1 and "unheard" in strange.stderr
