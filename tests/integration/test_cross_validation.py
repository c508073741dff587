"""CrossValidateTask and taggers that get further types, through the server: figures against Python's own means, what is published, what is refused."""
import json
import random
import statistics

import grpc
import pytest

from conftest import Server, error_info, messages
from small_models import make


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds")
    made = Server(folder, {"inference_precision": "fp32"}).start()
    made.engram("models", "import", "small", make("bert", "Model", folder / "small"))
    yield made
    made.stop()


def labelled(path, groups: int, copies: int = 1):
    rows = [json.dumps({"text": f"text number {i} is {'good' if i % 3 else 'bad'}", "label": "good" if i % 3 else "bad"}) for i in range(groups)]
    path.write_text("\n".join(rows * copies) + "\n")
    return path


PEOPLE, PLACES = ["ada", "bob", "cy", "dora"], ["paris", "rome", "oslo", "lima"]


def tagged(path, types, seed: int, count: int = 60):
    """Sentences of people and places, of which only those of `types` are tagged: the others are O."""
    rng, lines = random.Random(seed), []
    for _ in range(count):
        for word, tag in [(rng.choice(PEOPLE), "B-person"), ("went", "O"), ("to", "O"), (rng.choice(PLACES), "B-place"), (str(rng.randrange(1000)), "O")]:
            lines.append(f"{word}\t{tag if tag[2:] in types else 'O'}")
        lines.append("")
    path.write_text("\n".join(lines) + "\n")
    return path


OPTIONS = ["--epochs", "1", "--set", "precision=fp32"]


def check_summary(validation, folds: int):
    """The means and standard deviations are those of the folds."""
    assert [f["fold"] for f in validation["folds"]] == list(range(1, folds + 1))
    for metric in validation["metrics"]:
        values = [m["value"] for f in validation["folds"] for m in f["metrics"] if m["metric"] == metric["metric"]]
        assert len(values) == folds == metric["folds"]
        assert metric["mean"] == pytest.approx(statistics.mean(values)) and metric["standard_deviation"] == pytest.approx(statistics.stdev(values))
        assert (metric["minimum"], metric["maximum"]) == (min(values), max(values))
    for label in validation["labels"]:
        own = [m for f in validation["folds"] for m in f["label_metrics"] if m["label"] == label["label"] and m["support"] > 0]
        assert label["f1"] == pytest.approx(statistics.mean(m["f1"] for m in own)) and label["support"] == sum(m["support"] for m in own)


def test_a_classifier_by_folds(server, tmp_path):
    server.engram("datasets", "upload", "words", labelled(tmp_path / "words.jsonl", 30, copies=2))
    job = server.json("cross-validate", "small", "words", "--dataset", "words", "--folds", "3", *OPTIONS, "--label", "checked", "--wait")
    validation = job["result"]["cross_validation"]
    check_summary(validation, 3)
    assert {m["metric"] for m in validation["metrics"]} >= {"accuracy", "macro_f1", "loss"}
    assert validation["groups"] == 30 and sum(f["test_rows"] for f in validation["folds"]) == 60
    # Both copies of a text are in one fold, and the labels are spread evenly: ten texts of one, twenty of the other.
    for fold in validation["folds"]:
        supports = {m["label"]: m["support"] for m in fold["label_metrics"]}
        assert fold["test_rows"] % 2 == 0 and 6 <= supports["bad"] <= 8 and 12 <= supports["good"] <= 14
    assert not any("NOT_MEASURED" in w for w in job["result"]["warnings"])
    # One version, trained on all rows.
    assert job["result"]["version"].startswith("models/small/versions/") and job["kind"] == "JOB_KIND_CROSS_VALIDATE"
    assert server.json("classify", "small@checked", "text number 1 is good", "--task", "words")["results"][0]["tasks"]
    shown = server.engram("jobs", "show", job["name"].split("/")[-1]).stdout
    assert "over 3 folds (30 groups of rows)" in shown and "accuracy" in shown


def test_a_tagger_by_folds_with_unknown_names(server, tmp_path):
    server.engram("datasets", "upload", "people", tagged(tmp_path / "people.conll", ["person"], 1, 40))
    job = server.json("cross-validate", "small", "people", "--dataset", "people", "--folds", "2", *OPTIONS, "--wait")
    check_summary(job["result"]["cross_validation"], 2)
    assert [la["label"] for la in job["result"]["cross_validation"]["labels"]] == ["person"]
    m = messages()
    with pytest.raises(grpc.RpcError) as error:  # four names, each in both folds: no sentence would be left
        server.stub("TaskService").CrossValidateTask(m.CrossValidateTaskRequest(model="small", task="people", dataset="people", folds=2, term_held_out=True))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(error.value)[1] == ["term_held_out"]


def test_what_cannot_be_parted_is_refused_before_it_is_queued(server, tmp_path):
    server.engram("datasets", "upload", "few", labelled(tmp_path / "few.jsonl", 4, copies=5))
    m, call = messages(), server.stub("TaskService").CrossValidateTask
    ask = dict(model="small", task="few", dataset="few")
    with pytest.raises(grpc.RpcError) as error:
        call(m.CrossValidateTaskRequest(**ask))
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION and error_info(error.value)[0].reason == "TOO_FEW_GROUPS"
    assert "4 groups" in error.value.details() and "5 folds" in error.value.details()
    for options, field in [({"folds": 1}, "folds"), ({"folds": 51}, "folds"), ({"options": {"validation_fraction": "0.7"}, "folds": 2}, "validation_fraction"),
                           ({"options": {"early_stopping_patience": "2"}, "folds": 2}, "validation_fraction"), ({"term_held_out": True, "folds": 2}, "term_held_out")]:
        with pytest.raises(grpc.RpcError) as error:
            call(m.CrossValidateTaskRequest(**ask, **options))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(error.value)[1] == [field], options
    estimate = call(m.CrossValidateTaskRequest(**ask, folds=2, validate_only=True)).estimate
    once = server.stub("TaskService").StartTask(m.StartTaskRequest(**ask, validate_only=True)).estimate
    assert estimate.total_tokens == 2 * once.total_tokens and estimate.steps == 2 * once.steps


@pytest.mark.parametrize("strategy", ["naive", "extend_ner"])
def test_a_tagger_gets_a_further_type(server, tmp_path, strategy):
    """The texts of the new type call the old one O. What became of the old type is said, before and after; ExtendNER keeps what naive loses."""
    train = ["--set", "precision=fp32", "--set", "lr=5e-3", "--epochs", "8", "--set", "batch_size=8"]
    for name, types in (("first", ["person"]), ("second", ["place"])):
        data, test = tagged(tmp_path / f"{name}.conll", types, 3), tagged(tmp_path / f"{name}-test.conll", types, 4)
        server.engram("datasets", "upload", f"{name}-{strategy}", data, "--test", test)
    task = f"names-{strategy.replace('_', '-')}"
    old = server.json("start-task", "small@1", task, "--dataset", f"first-{strategy}", *train, "--wait")
    number = old["result"]["version"].split("/")[-1]
    [person] = [la for la in old["result"]["label_metrics"] if la["label"] == "person"]
    assert person["f1"] > 0.9
    new = server.json("start-task", f"small@{number}", task, "--dataset", f"second-{strategy}", "--strategy", strategy, *train, "--wait")["result"]
    [place] = [la for la in new["label_metrics"] if la["label"] == "place" and "f1_before" not in la]
    [after] = [la for la in new["label_metrics"] if la["label"] == "person" and "f1_before" in la]
    # On the new texts, where people are no error; on the old ones, where they were all that was tagged.
    assert place["f1"] > 0.6 and after["f1_before"] == pytest.approx(person["f1"])
    assert (after["f1"] > 0.8) == (strategy == "extend_ner")
    version = new["version"].split("/")[-1]
    found = {e["type"] for e in server.json("tag-entities", f"small@{version}", "ada went to rome 7", "--task", task)["results"][0]["entities"]}
    assert "place" in found and ("person" in found) == (strategy == "extend_ner")
