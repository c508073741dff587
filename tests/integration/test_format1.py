"""A version that was written in format 1 (tests/data/format1, made by the program of that time) serves, and a task is learned on top of it."""
import json
import shutil

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

from conftest import DATA, messages

VERSION = DATA / "format1" / "version"
# What the program of that time answered, and the same from the files through transformers: both are held against today's answers.
EXPECTED = json.loads((DATA / "format1" / "expected.json").read_text())


def place(new_server, tmp_path):
    """A server whose model `zoo` has the old version's files as its version 1."""
    s = new_server({"inference_precision": "fp32"})
    plain = tmp_path / "plain"
    shutil.copytree(VERSION, plain, ignore=shutil.ignore_patterns("engram.json", "heads.safetensors", "continual.safetensors"))
    s.engram("models", "import", "zoo", plain, "--task", "things")
    s.stop()
    directory = s.folder / "data" / "models" / "zoo" / "versions" / "1"
    shutil.rmtree(directory)
    shutil.copytree(VERSION, directory)
    return s.start()


def reference_logits() -> list[list[float]]:
    config = transformers.BertConfig.from_pretrained(VERSION, id2label=dict(enumerate(["bird", "cat", "dog"])))
    model = transformers.BertForSequenceClassification(config)
    encoder = {key: value for key, value in load_file(VERSION / "model.safetensors").items() if key.startswith("bert.")}
    heads = {key.removeprefix("heads.animals."): value for key, value in load_file(VERSION / "heads.safetensors").items()}
    missing, unexpected = model.load_state_dict({**encoder, **heads}, strict=False)
    assert not missing and not unexpected
    made = transformers.AutoTokenizer.from_pretrained(VERSION)
    model = model.double().eval()
    with torch.no_grad():
        return [model(torch.tensor([made(text)["input_ids"]])).logits[0].tolist() for text in EXPECTED["texts"]]


def test_it_answers_as_it_did(new_server, tmp_path):
    s, m = place(new_server, tmp_path), messages()
    labels = json.loads((VERSION / "engram.json").read_text())["tasks"][0]["labels"]
    answer = s.stub("InferenceService").Classify(m.ClassifyRequest(model="zoo", version="1", texts=EXPECTED["texts"], task="animals"))
    got = [{score.label: score.logit for score in result.tasks[0].scores} for result in answer.results]
    for ours, then, theirs in zip(got, EXPECTED["animals"], reference_logits()):
        np.testing.assert_allclose([ours[label] for label in labels], [then[label] for label in labels], atol=2e-5)
        np.testing.assert_allclose([ours[label] for label in labels], theirs, atol=2e-5)
    answer = s.stub("InferenceService").TagEntities(m.TagEntitiesRequest(model="zoo", version="1", texts=EXPECTED["texts"], task="things"))
    assert [[(e.type, e.text) for e in result.entities] for result in answer.results] == \
           [[(e["type"], e["text"]) for e in result.get("entities", [])] for result in EXPECTED["things"]]


def test_a_task_is_learned_on_top_of_it_and_written_in_format_2(new_server, tmp_path):
    s = place(new_server, tmp_path)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"the {word} dog", "label": word}) + "\n" for word in ("red", "blue") * 8))
    s.engram("datasets", "upload", "colours", rows)
    job = s.json("start-task", "zoo@1", "colours", "--dataset", "colours", "--strategy", "online_ewc", "--lambda", "3", "--epochs", "1",
                 "--set", "gamma=0.5", "--wait")
    made = json.loads((s.folder / "data" / job["result"]["version"] / "engram.json").read_text())
    assert made["format"] == 2 and made["parent"] == 1 and [t["name"] for t in made["tasks"]] == ["animals", "things", "colours"]
    assert made["strategy"] == {"name": "online_ewc", "options": {"gamma": "0.5", "lambda": "3", "penalty_mode": "auto"}}
    assert made["training"]["options"]["epochs"] == "1" and "lambda" not in made["training"]["options"]
    assert made["consolidations"] == [{"task": "animals", "fisher": "exact", "samples": 20, "training_examples": 48, "file": "continual.safetensors"}]
    assert made["memory"] == [] and made["software"]["engram"] and made["software"]["libtorch"].startswith("2.")

    naive = s.json("start-task", "zoo@1", "plain", "--dataset", "colours", "--strategy", "naive", "--epochs", "1", "--wait")
    made = json.loads((s.folder / "data" / naive["result"]["version"] / "engram.json").read_text())
    assert made["strategy"] == {"name": "naive", "options": {}}
