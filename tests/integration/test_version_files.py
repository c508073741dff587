"""What the service writes is what others read: versions in transformers with equal logits, heads and importance with the safetensors wheel."""
import hashlib
import json

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open

from conftest import few_classes, head_of, messages
from small_models import CONFIGS, TAGS, make, tokenizer

LABELS = ["left", "right", "up"]
TEXTS = ["I am still waiting on my card?", "The Hudson River flows through \u00c9vreux, \u6771\u4eac and [SEP] eastern New York!", "a"]
HEADS = {"ForSequenceClassification": transformers.AutoModelForSequenceClassification, "ForTokenClassification": transformers.AutoModelForTokenClassification,
         "ForMaskedLM": transformers.AutoModelForMaskedLM, "Model": transformers.AutoModel}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """fp32 throughout, so that logits can be held to the bar of the parity tests."""
    from conftest import Server
    folder = tmp_path_factory.mktemp("files")
    made = Server(folder, {"inference_precision": "fp32"}).start()
    train = few_classes("banking77.train.jsonl.gz", 3, 10, folder / "intents.jsonl")
    made.engram("datasets", "upload", "intents", train)
    tagged = head_of("wnut17.train.conll.gz", 900, folder / "tags.conll")
    tagged.write_text(tagged.read_text().rsplit("\n\n", 1)[0] + "\n")
    made.engram("datasets", "upload", "tags", tagged)
    (folder / "plain.txt").write_text("\n".join(json.loads(line)["text"] for line in train.read_text().splitlines()))
    made.engram("datasets", "upload", "plain", folder / "plain.txt")
    yield made
    made.stop()


def train(server, base, task, dataset, *words) -> dict:
    return server.json("start-task", base, task, "--dataset", dataset, "--epochs", "1", "--set", "lr=1e-3", "--wait", *words)


def export(server, job_or_name, folder):
    name = job_or_name if isinstance(job_or_name, str) else "@".join(job_or_name["result"]["version"].removeprefix("models/").split("/versions/"))
    server.engram("models", "export", name, folder)
    manifest = json.loads((folder / "engram.json").read_text())
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"engram.json"}
    assert present == set(manifest["files"])
    for file, digest in manifest["files"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest, file
    return folder, manifest


def load(architecture, folder):
    model, info = HEADS[architecture].from_pretrained(folder, output_loading_info=True)
    assert not info["mismatched_keys"], info
    # A pooler that no task uses may be missing (transformers' bare classes always have one), and one that another task uses may be beside a head
    # whose class has none.
    assert all("pooler" in key for key in info["unexpected_keys"]), info
    assert all("pooler" in key and architecture == "Model" for key in info["missing_keys"]), info
    return model.eval()


def tensors(path) -> tuple[dict, dict]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def task_logits(server, model, version, task) -> list[dict[str, float]]:
    """Logits of TEXTS, each text's by label."""
    m = messages()
    answer = server.stub("InferenceService").Classify(m.ClassifyRequest(model=model, version=version, texts=TEXTS, task=task))
    return [{score.label: score.logit for score in result.tasks[0].scores} for result in answer.results]


def ids_of(made, text) -> list[int]:
    return made(text)["input_ids"]  # "[SEP]" in a text is the token, as the tokenizer's own files have it


def transformers_logits(model, made) -> list[np.ndarray]:
    with torch.no_grad():
        return [model(torch.tensor([ids_of(made, text)])).logits[0].numpy() for text in TEXTS]


@pytest.mark.parametrize("family", CONFIGS)
def test_an_imported_classifier_answers_as_transformers_does(server, family, tmp_path):
    directory = make(family, "ForSequenceClassification", tmp_path / "model", LABELS)
    server.engram("models", "import", f"cls-{family}", directory, "--task", "direction")
    got = task_logits(server, f"cls-{family}", "1", "direction")
    expected = transformers_logits(HEADS["ForSequenceClassification"].from_pretrained(directory).eval(), tokenizer(directory))
    for ours, theirs in zip(got, expected):
        np.testing.assert_allclose([ours[label] for label in LABELS], theirs, atol=2e-5)


@pytest.mark.parametrize("family", CONFIGS)
def test_trained_versions_load_in_transformers(server, family, tmp_path):
    """One line of versions: a classifier, a tagger after it, a masked LM after both. Each is the default head in its turn, the others stay in
    heads.safetensors."""
    s, name = server, f"line-{family}"
    s.engram("models", "import", name, make(family, "Model", tmp_path / "model"))
    classified = train(s, f"{name}@1", "intents", "intents")
    folder, manifest = export(s, classified, tmp_path / "classified")
    model = load("ForSequenceClassification", folder)
    [task] = manifest["tasks"]
    labels = [model.config.id2label[i] for i in range(3)]
    assert task["labels"] == labels and manifest["default_task"] == "intents" and not (folder / "heads.safetensors").exists()
    version = str(manifest["version"])
    for ours, theirs in zip(task_logits(s, name, version, "intents"), transformers_logits(model, tokenizer(folder))):
        np.testing.assert_allclose([ours[label] for label in labels], theirs, atol=2e-5)

    tagged = train(s, f"{name}@{version}", "names", "tags")
    folder, manifest = export(s, tagged, tmp_path / "tagged")
    tagger = load("ForTokenClassification", folder)
    assert manifest["default_task"] == "names"
    assert [tagger.config.id2label[i] for i in range(tagger.config.num_labels)] == next(t for t in manifest["tasks"] if t["name"] == "names")["labels"]
    heads, _ = tensors(folder / "heads.safetensors")
    standard = {key: value for key, value in HEADS["ForSequenceClassification"].from_config(model.config).state_dict().items()
                if key.startswith(("classifier", "pre_classifier", "score"))}
    assert set(heads) == {f"heads.intents.{key}" for key in standard}
    # The tagger's encoder under the classifier's kept head is the classifier that the service runs.
    encoder = {key: value for key, value in tensors(folder / "model.safetensors")[0].items() if key.startswith(model.base_model_prefix)}
    missing, unexpected = model.load_state_dict({**encoder, **{key.removeprefix("heads.intents."): value for key, value in heads.items()}}, strict=False)
    assert not missing and not unexpected
    for ours, theirs in zip(task_logits(s, name, str(manifest["version"]), "intents"), transformers_logits(model, tokenizer(folder))):
        np.testing.assert_allclose([ours[label] for label in labels], theirs, atol=2e-5)

    if family == "llama":  # its models have no head that predicts masked words
        refused = s.engram("start-task", f"{name}@{manifest['version']}", "language", "--dataset", "plain", "--kind", "mlm", "--wait", check=False)
        assert refused.returncode != 0 and "llama" in refused.stderr, refused.stderr
        return
    masked = train(s, f"{name}@{manifest['version']}", "language", "plain", "--kind", "mlm")
    folder, manifest = export(s, masked, tmp_path / "masked")
    load("ForMaskedLM", folder)
    heads, _ = tensors(folder / "heads.safetensors")
    assert {key.split(".")[1] for key in heads} == {"intents", "names"} and manifest["default_task"] == "language"


def test_a_mean_pooled_version_is_the_bare_encoder(server, tmp_path):
    s = server
    s.engram("models", "import", "pooled", make("bert", "Model", tmp_path / "model", mean_pooled=True))
    folder, manifest = export(s, train(s, "pooled@1", "intents", "intents"), tmp_path / "export")
    assert manifest["tasks"][0]["pooling"] == "mean" and manifest["default_task"] == ""
    encoder, made = load("Model", folder), tokenizer(folder)
    heads, _ = tensors(folder / "heads.safetensors")
    assert set(heads) == {"heads.intents.classifier.weight", "heads.intents.classifier.bias"}
    for text, ours in zip(TEXTS, task_logits(s, "pooled", str(manifest["version"]), "intents")):
        with torch.no_grad():
            pooled = encoder(torch.tensor([ids_of(made, text)])).last_hidden_state.mean(1)[0]
        expected = heads["heads.intents.classifier.weight"] @ pooled + heads["heads.intents.classifier.bias"]
        np.testing.assert_allclose([ours[label] for label in manifest["tasks"][0]["labels"]], expected.numpy(), atol=2e-5)


@pytest.mark.parametrize("family", CONFIGS)
def test_importance_and_anchors_are_named_like_the_parameters(server, family, tmp_path):
    s, name = server, f"kept-{family}"
    s.engram("models", "import", name, make(family, "Model", tmp_path / "model"))
    trained = train(s, f"{name}@1", "intents", "intents", "--label", "trained")
    consolidated = s.json("consolidate-task", f"{name}@trained", "intents", "--samples", "20", "--fisher", "empirical", "--wait")
    folder, manifest = export(s, consolidated, tmp_path / "export")
    kept, metadata = tensors(folder / "continual.safetensors")
    encoder = load("ForSequenceClassification", folder).base_model.state_dict()
    assert set(kept) == {f"{kind}.intents.{key}" for kind in ("fisher", "anchor") for key in encoder}
    for key, weight in encoder.items():
        assert torch.equal(kept[f"anchor.intents.{key}"], weight), key
        fisher = kept[f"fisher.intents.{key}"]
        assert fisher.dtype == torch.float32 and fisher.shape == weight.shape and (fisher >= 0).all() and torch.isfinite(fisher).all(), key
    assert sum(kept[key].double().sum() for key in kept if key.startswith("fisher")) > 0
    described = json.loads(metadata["consolidation.intents"])
    assert described["kind"] == "empirical" and described["samples"] == 20 and described["training_count"] == 30
    assert json.loads(metadata["stream"]) == ["intents"]
    [entry] = manifest["consolidations"]
    assert (entry["task"], entry["fisher"], entry["samples"], entry["training_examples"]) == ("intents", "empirical", 20, 30)
    assert trained["result"]["version"].split("/")[-1] == str(manifest["parent"])
