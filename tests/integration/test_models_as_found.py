"""Models as people have them: heads of every scheme, odd configurations, pairs, damaged weights, and Engram's own exports."""
import json
import pathlib
import re

import grpc
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOBES, auto_detect

from conftest import ROOT, Server, error_info, messages
from small_models import make, tokenizer

FIELD = ROOT.parent / "shared" / "field" / "models"
WORDS = "the bank lost my new card in berlin on monday and anna wrote a letter to them . it rains here today , says john".split(" ")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("found"), {"inference_precision": "fp32"}).start()
    yield made
    made.stop()


def imported(server, name, directory, *more) -> dict:
    return server.json("models", "import", name, directory, *more)


def entities(server, model, text):
    m = messages()
    answer = server.stub("InferenceService").TagEntities(m.TagEntitiesRequest(model=model, texts=[text]))
    assert not answer.results[0].HasField("error"), answer.results[0].error
    return [(e.type, e.start, e.end) for e in answer.results[0].entities], [e.score for e in answer.results[0].entities]


def places(words):
    """Where each word lies in the words joined by single spaces."""
    starts = np.cumsum([0] + [len(w) + 1 for w in words])
    return [(int(s), int(s) + len(w)) for s, w in zip(starts, words)]


def texts(count=25):
    generator = np.random.default_rng(5)
    return [list(generator.choice(WORDS, size=generator.integers(1, 18))) for _ in range(count)]


@pytest.mark.parametrize("scheme, labels", [("io", ["O", "I-PER", "I-LOC"]), ("bare", ["PER", "O", "LOC"]), ("iob1", ["B-LOC", "I-LOC", "I-PER", "O"])])
def test_taggers_of_io_and_iob1_answer_as_the_pipeline(server, scheme, labels, tmp_path):
    directory = make("bert", "ForTokenClassification", tmp_path / "model", labels)
    answer = imported(server, f"tagger-{scheme}", directory)
    assert answer["tasks"][0]["labels"] == labels and not answer.get("warnings")
    model = transformers.AutoModelForTokenClassification.from_pretrained(directory).eval()
    pipeline = transformers.pipeline("token-classification", model=model, tokenizer=transformers.AutoTokenizer.from_pretrained(directory),
                                     aggregation_strategy="first")
    found = 0
    for words in texts():
        text = " ".join(words)
        expected = [(e["entity_group"], e["start"], e["end"]) for e in pipeline(text)]
        got, scores = entities(server, f"tagger-{scheme}", text)
        assert got == expected, text
        assert all(0 <= s <= 1 for s in scores)
        found += len(got)
    assert found > 40


def best_legal(scores, labels):
    """The best sequence of BIOES tags that seqeval's IOBES calls legal, by trying all transitions."""
    def may(a, b):
        (pa, _, ta), (pb, _, tb) = (a or "O").partition("-"), (b or "O").partition("-")
        return tb == ta if pa in "BI" and pb in "IE" else pa not in "BI" and pb not in "IE"
    best = [(scores[0][k] if may(None, t) else -np.inf, [k]) for k, t in enumerate(labels)]
    for row in scores[1:]:
        best = [max(((s + row[k], path + [k]) for s, path in best if may(labels[path[-1]], t)), key=lambda x: x[0], default=(-np.inf, [0] * len(best[0][1]) + [k]))
                for k, t in enumerate(labels)]
    return max(((s, p) for s, p in best if may(labels[p[-1]], None)), key=lambda x: x[0])[1]


@pytest.mark.parametrize("letters", ["BIES", "BILU"])
def test_a_bioes_tagger_answers_with_legal_entities(server, letters, tmp_path):
    labels = ["O"] + [f"{p}-{t}" for t in ("PER", "LOC") for p in letters]
    directory = make("bert", "ForTokenClassification", tmp_path / "model", labels)
    imported(server, f"tagger-{letters.lower()}", directory)
    model, made = transformers.AutoModelForTokenClassification.from_pretrained(directory).eval(), tokenizer(directory)
    plain = [re.sub("^L-", "E-", re.sub("^U-", "S-", label)) for label in labels]
    found = 0
    for words in texts():
        logits = logits_of_words(model, made, words)
        tags = [plain[k] for k in best_legal(torch.log_softmax(torch.tensor(logits), -1).numpy(), plain)]
        expected = [(t, places(words)[a][0], places(words)[b][1]) for t, a, b in get_entities(tags)]
        if any(tag != "O" for tag in tags):
            assert auto_detect([tags + ["B-x", "E-x", "S-x"]]) is IOBES
        assert entities(server, f"tagger-{letters.lower()}", " ".join(words))[0] == expected
        found += len(expected)
    assert found > 20


def logits_of_words(model, made, words):
    """Of each word's first token."""
    encoded = made(words, is_split_into_words=True, return_tensors="pt")
    ids = encoded.word_ids()
    with torch.no_grad():
        rows = model(**encoded).logits[0].numpy()
    return np.stack([rows[ids.index(i)] for i in range(len(words))])


def test_parts_of_speech_are_one_tag_per_word(server, tmp_path):
    labels = ["ADJ", "NOUN", "VERB", "PUNCT"]
    directory = make("bert", "ForTokenClassification", tmp_path / "model", labels)
    imported(server, "pos", directory)
    model, made = transformers.AutoModelForTokenClassification.from_pretrained(directory).eval(), tokenizer(directory)
    for words in texts(10):
        best = logits_of_words(model, made, words).argmax(-1)
        assert entities(server, "pos", " ".join(words))[0] == [(labels[k], *place) for k, place in zip(best, places(words))]
    got, _ = entities(server, "pos", "a \u200b b")  # a word that the tokenizer drops has no tag
    assert len(got) == 2


def change_config(directory: pathlib.Path, **changes) -> pathlib.Path:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config.update(changes)
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return directory


def test_what_is_passed_over_stands_in_the_answer(server, tmp_path):
    directory = change_config(make("bert", "ForSequenceClassification", tmp_path / "model", ["neg", "pos"]), _num_labels=5,
                              label2id={"neg": 1, "pos": 0}, uniem_embedding_strategy="last_mean")
    answer = imported(server, "odd", directory)
    assert answer["tasks"][0]["labels"] == ["neg", "pos"]
    for word in ("_num_labels", "label2id", "uniem_embedding_strategy"):
        assert sum(word in w for w in answer["warnings"]) == 1, answer["warnings"]
    again = server.json("models", "show", "odd")
    assert "uniem_embedding_strategy" in json.dumps(again)
    (directory / "README.md").write_text("about")
    printed = server.engram("models", "import", "odd", directory).stdout
    assert "not sent: README.md" in printed and "warning: config.json: _num_labels is 5" in printed and "not needed" not in printed
    change_config(directory, rope_theta=10000)
    refused = server.engram("models", "import", "odd", directory, check=False)
    assert refused.returncode != 0 and "rope_theta" in refused.stderr


def test_a_head_that_cannot_be_read_leaves_the_encoder(server, tmp_path):
    directory = change_config(make("bert", "ForSequenceClassification", tmp_path / "multi", ["a", "b", "c"]), problem_type="multi_label_classification")
    answer = imported(server, "multi", directory)
    assert not answer.get("tasks") and any("problem_type" in w for w in answer["warnings"])
    assert {w.split()[2] for w in answer["warnings"] if w.startswith("the tensor")} == {"classifier.weight", "classifier.bias"}
    directory = change_config(make("bert", "ForSequenceClassification", tmp_path / "shape", ["a", "b", "c"]), id2label={"0": "a", "1": "b"}, label2id=None)
    answer = imported(server, "shape", directory)
    assert not answer.get("tasks") and any("classifier.weight [3, 32] instead of [2, 32]" in w for w in answer["warnings"])
    directory = make("bert", "ForQuestionAnswering", tmp_path / "qa")
    answer = imported(server, "qa", directory)
    assert any("BertForQuestionAnswering" in w for w in answer["warnings"]) and any("qa_outputs.weight" in w for w in answer["warnings"])


def test_a_pre_training_head_becomes_a_masked_lm(server, tmp_path):
    """The next-sentence head is named as left out; the masked LM answers as before, and a new masked LM begins with it."""
    directory = make("bert", "ForPreTraining", tmp_path / "model")
    answer = imported(server, "pretrained", directory, "--task", "general")
    assert [t["kind"] for t in answer["tasks"]] == ["TASK_KIND_MASKED_LANGUAGE_MODEL"]
    left = {w.split()[2] for w in answer["warnings"] if w.startswith("the tensor")}
    assert left == {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}
    server.engram("models", "export", "pretrained@1", tmp_path / "out")
    before, after = load_file(directory / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    for name in ("cls.predictions.transform.dense.weight", "cls.predictions.transform.LayerNorm.weight", "cls.predictions.bias"):
        assert torch.equal(before[name], after[name]), name
    (tmp_path / "texts.txt").write_text("\n".join(" ".join(w) for w in texts(8)))
    server.engram("datasets", "upload", "plain", tmp_path / "texts.txt")
    server.engram("start-task", "pretrained@1", "bank", "--dataset", "plain", "--kind", "mlm", "--strategy", "naive", "--epochs", "1",
                  "--set", "lr=1e-7", "--wait")
    server.engram("models", "export", "pretrained", tmp_path / "trained")
    trained = load_file(tmp_path / "trained" / "model.safetensors")
    name = "cls.predictions.transform.dense.weight"
    assert (trained[name] - before[name]).abs().max() < 1e-4 < before[name].std()  # a new one would be drawn anew


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(server, value, tmp_path):
    directory = make("bert", "ForSequenceClassification", tmp_path / "model", ["neg", "pos"])
    weights = load_file(directory / "model.safetensors")
    weights["bert.encoder.layer.1.output.dense.weight"][3, 2] = value
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    refused = server.engram("models", "import", "damaged", directory, check=False)
    assert refused.returncode != 0 and "encoder.layer.1.output.dense.weight holds NaN or infinity" in refused.stderr


def test_no_answer_holds_a_nan(server, tmp_path):
    """Weights that are finite and overflow: every call says so instead."""
    m = messages()
    for kind, labels in (("ForSequenceClassification", ["neg", "pos"]), ("ForTokenClassification", ["O", "B-a", "I-a"])):
        directory = make("bert", kind, tmp_path / kind, labels)
        weights = load_file(directory / "model.safetensors")
        weights["classifier.weight"] = torch.full_like(weights["classifier.weight"], 3e38)
        save_file(weights, directory / "model.safetensors", {"format": "pt"})
        name = f"overflow-{kind[3:6].lower()}"
        imported(server, name, directory)
        stub = server.stub("InferenceService")
        call = (lambda: stub.Classify(m.ClassifyRequest(model=name, texts=["a bank"]))) if "Sequence" in kind else (
            lambda: stub.TagEntities(m.TagEntitiesRequest(model=name, texts=["a bank"])))
        with pytest.raises(grpc.RpcError) as error:
            call()
        assert error.value.code() == grpc.StatusCode.DATA_LOSS and error_info(error.value)[0].reason == "NOT_FINITE"
    directory = make("bert", "Model", tmp_path / "vector")
    weights = load_file(directory / "model.safetensors")
    weights["encoder.layer.1.output.LayerNorm.weight"] = torch.full_like(weights["encoder.layer.1.output.LayerNorm.weight"], 3e38)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    imported(server, "overflow-vector", directory)
    with pytest.raises(grpc.RpcError) as error:
        server.stub("InferenceService").LongContextEncode(m.LongContextEncodeRequest(model="overflow-vector", text="a bank " * 3))
    assert error.value.code() == grpc.StatusCode.DATA_LOSS


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_pairs_are_classified_as_transformers_does(server, family, tmp_path):
    directory = make(family, "ForSequenceClassification", tmp_path / "model", ["no", "yes", "maybe"])
    imported(server, f"pair-{family}", directory)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
    made = tokenizer(directory)
    pairs = [(" ".join(a), " ".join(b)) for a, b in zip(texts(12), texts(24)[12:])] + [("bank " * 50, "card " * 20), ("bank " * 20, "card " * 50)]
    m = messages()
    answer = server.stub("InferenceService").Classify(m.ClassifyRequest(
        model=f"pair-{family}", texts=[a for a, _ in pairs], text_pairs=[b for _, b in pairs], truncate=True))
    for (first, second), result in zip(pairs, answer.results, strict=True):
        encoded = made(first, second, truncation="longest_first", max_length=64, return_tensors="pt")
        inputs = {k: v for k, v in encoded.items() if k != "token_type_ids" or family == "bert"}
        with torch.no_grad():
            expected = model(**inputs).logits[0].numpy()
        got = {s.label: s.logit for s in result.tasks[0].scores}
        assert np.allclose([got[x] for x in ("no", "yes", "maybe")], expected, atol=2e-4), (first, second)
    with pytest.raises(grpc.RpcError) as error:
        server.stub("InferenceService").Classify(m.ClassifyRequest(model=f"pair-{family}", texts=["a", "b"], text_pairs=["c"]))
    assert error_info(error.value)[1] == ["text_pairs"]
    assert server.engram("classify", f"pair-{family}", "the bank", "--pair", "my card").stdout


def test_special_tokens_in_a_text(server, tmp_path):
    """Tokens as the tokenizer's own files say, and the switch."""
    directory = make("bert", "Model", tmp_path / "model")
    imported(server, "special", directory)
    made, m = tokenizer(directory), messages()

    def ids(name, **request):
        answer = server.stub("InferenceService").Tokenize(m.TokenizeRequest(model=name, texts=["a [SEP] b"], **request))
        return [t.id for t in answer.results[0].tokens], [t.type_id for t in answer.results[0].tokens]

    assert ids("special")[0] == made("a [SEP] b")["input_ids"]
    split = made("a [SEP] b", split_special_tokens=True)["input_ids"]
    assert len(split) > 5 and ids("special", split_special_tokens=True)[0] == split
    pair = made("a [SEP] b", "c d")
    assert ids("special", text_pairs=["c d"]) == (pair["input_ids"], pair["token_type_ids"])
    config = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**config, "split_special_tokens": True}))
    imported(server, "splitting", directory)
    assert ids("splitting")[0] == split
    assert ids("splitting", split_special_tokens=False)[0] == made("a [SEP] b")["input_ids"]


def upload(server, name, folder, labels, rows=24):
    path = folder / f"{name}.jsonl"
    every = [" ".join(w) for w in texts(rows)]
    path.write_text("".join(json.dumps({"text": t, "label": labels[i % len(labels)]}) + "\n" for i, t in enumerate(every)))
    server.engram("datasets", "upload", name, path, "--test", path)


def test_an_imported_classifier_is_consolidated_on_data_of_the_caller(server, tmp_path):
    imported(server, "guarded", make("bert", "ForSequenceClassification", tmp_path / "model", ["neg", "pos"]), "--task", "mood")
    upload(server, "moods", tmp_path, ["neg", "pos"])
    upload(server, "colours", tmp_path, ["red", "pos"])
    refused = server.engram("consolidate-task", "guarded", "mood", "--wait", check=False)
    assert refused.returncode != 0 and "--dataset" in refused.stderr
    refused = server.engram("consolidate-task", "guarded", "mood", "--dataset", "colours", "--wait", check=False)
    assert refused.returncode != 0 and '"red"' in refused.stderr and "neg, pos" in refused.stderr
    server.engram("consolidate-task", "guarded", "mood", "--dataset", "moods", "--wait")
    server.engram("models", "export", "guarded@2", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "engram.json").read_text())
    assert [(c["task"], c["training_examples"]) for c in manifest["consolidations"]] == [("mood", 24)]
    assert any(t.abs().max() > 0 for n, t in load_file(tmp_path / "out" / "continual.safetensors").items() if "fisher" in n)


def test_export_and_import_are_a_circle(server, tmp_path):
    imported(server, "line", make("bert", "Model", tmp_path / "model"))
    upload(server, "first", tmp_path, ["a", "b"])
    upload(server, "second", tmp_path, ["c", "d", "e"])
    server.engram("start-task", "line", "first", "--dataset", "first", "--strategy", "er", "--epochs", "1", "--wait")
    server.engram("consolidate-task", "line@2", "first", "--wait")
    server.engram("start-task", "line@3", "second", "--dataset", "second", "--strategy", "ewc", "--lambda", "10", "--epochs", "1", "--wait")
    server.engram("models", "export", "line@4", tmp_path / "out")
    answer = imported(server, "circle", tmp_path / "out")
    server.engram("models", "export", "circle@1", tmp_path / "again")
    ours, theirs = (json.loads((tmp_path / d / "engram.json").read_text()) for d in ("out", "again"))
    for key in ("model", "version", "parent", "created"):
        ours.pop(key, None), theirs.pop(key, None)
    assert ours == theirs  # tasks, consolidations, memory, metrics, options, seeds, and the digest of every file
    assert set(ours["files"]) >= {"heads.safetensors", "continual.safetensors", "memory/er.safetensors"}
    assert [t["name"].split("/")[-1] for t in answer["tasks"]] == ["first", "second"] and answer["stream_metrics"]
    assert {re.search(r'data set "(\w+)"', w).group(1) for w in answer["warnings"]} == {"first", "second"}
    m, stub = messages(), server.stub("InferenceService")
    before, after = (stub.Classify(m.ClassifyRequest(model=name, version=v, texts=[" ".join(WORDS)])) for name, v in (("line", "4"), ("circle", "1")))
    scores = lambda r: [(s.label, s.logit) for t in r.results[0].tasks for s in t.scores]
    assert scores(before) == scores(after) and len(scores(after)) == 5
    upload(server, "third", tmp_path, ["f", "g"])
    server.engram("start-task", "circle@1", "third", "--dataset", "third", "--strategy", "ewc", "--epochs", "1", "--wait")
    # A file that the version does not list is named; one that has changed is refused with a way on.
    (tmp_path / "out" / "vocab.txt").touch()
    (tmp_path / "out" / "memory" / "other.safetensors").write_bytes(b"x")
    assert any("memory/other.safetensors" in w for w in imported(server, "circle", tmp_path / "out")["warnings"])
    weights = load_file(tmp_path / "out" / "heads.safetensors")
    save_file({n: t + 1 for n, t in weights.items()}, tmp_path / "out" / "heads.safetensors")
    refused = server.engram("models", "import", "circle", tmp_path / "out", check=False)
    assert refused.returncode != 0 and "heads.safetensors" in refused.stderr and "without it the directory" in refused.stderr


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field's files are not at hand")
@pytest.mark.parametrize("name, said", [("added_special_marker", None), ("mlm_head", None), ("ner_iob1_labels", None), ("pos_labels", None),
                                        ("stale_num_labels", "_num_labels"), ("tokenizer_without_model_type", None),
                                        ("unknown_key_uniem", "uniem_embedding_strategy"), ("nan_weight", "!NaN"), ("lfs_pointer", "!LFS")])
def test_the_fields_models(server, name, said, tmp_path):
    if said and said.startswith("!"):
        refused = server.engram("models", "import", "field", FIELD / name, check=False)
        assert refused.returncode != 0 and said[1:] in refused.stderr
        return
    answer = imported(server, name.replace("_", "-"), FIELD / name)
    if said:
        assert any(said in w for w in answer["warnings"])
    else:
        assert not answer.get("warnings")
