"""Pairs of texts, and tags of words that make no entities: uploaded, learned, measured and asked as transformers would."""
import csv
import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sklearn.metrics import precision_recall_fscore_support

from small_models import make, tokenizer

WORDS = "the bank lost my new card in berlin on monday and anna wrote a letter to them".split(" ")
LABELS = ["no", "yes"]


def pairs(count: int, seed: int) -> list[tuple[str, str, str]]:
    generator = np.random.default_rng(seed)
    texts = [" ".join(generator.choice(WORDS, size=generator.integers(1, 50))) for _ in range(2 * count)]
    return [(a, b, LABELS[i % 2]) for i, (a, b) in enumerate(zip(texts[:count], texts[count:]))]


def write(path, rows, header):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([header, *rows])
    return path


def losses(directory, rows, family):
    """Cross entropy of each pair, as the tokenizer encodes pairs, and what is predicted."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
    made, found, predicted = tokenizer(directory), [], []
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    for first, second, label in rows:
        inputs = made(first, second, truncation="longest_first", max_length=64, return_tensors="pt")
        inputs = {k: v for k, v in inputs.items() if k != "token_type_ids" or family == "bert"}
        with torch.no_grad():
            logits = model(**inputs).logits[0].double()
        found.append(torch.nn.functional.cross_entropy(logits[None], torch.tensor([names.index(label)])).item())
        predicted.append(names[int(logits.argmax())])
    return found, predicted


def metric(job, task, name):
    return next(m["value"] for m in job["result"]["metrics"] if m["task"].endswith("/" + task) and m["metric"] == name)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_pairs_are_learned_measured_and_classified(module_server, family, tmp_path):
    server, name = module_server, f"pairs-{family}"
    train, test = pairs(24, 1), pairs(12, 2)
    options = ("--text-column", "left", "--pair-column", "right") if family == "roberta" else ()
    header = ("left", "right", "label") if options else ("premise", "hypothesis", "label")
    answer = server.json("datasets", "upload", name, write(tmp_path / "train.csv", train, header),
                         "--test", write(tmp_path / "test.tsv", test, header), *options)
    assert answer["kind"] == "DATASET_KIND_PAIRS" and answer["report"]["training"]["sample"]["text_pair"] == train[0][1]
    assert answer["report"]["training"]["columns"][1] == {"column": header[1], "role": "second text"}
    # The imported head is measured on pairs as transformers measures it.
    directory = make(family, "ForSequenceClassification", tmp_path / "model", LABELS)
    server.engram("models", "import", name, directory, "--task", "found")
    job = server.json("evaluate", f"{name}@1", "--task", "found", "--dataset", name, "--wait")
    assert metric(job, "found", "loss") == pytest.approx(np.mean(losses(directory, test, family)[0]), abs=1e-4)
    # So is what is learned here; a text in the place of a pair, or the reverse, would be another input.
    server.engram("start-task", f"{name}@1", "learned", "--dataset", name, "--epochs", "1", "--set", "lr=1e-3", "--label", "taught", "--wait")
    job = server.json("evaluate", f"{name}@taught", "--task", "learned", "--wait")
    exported = tmp_path / "exported"
    server.engram("models", "export", f"{name}@taught", exported)
    expected, labels = losses(exported, test, family)
    assert metric(job, "learned", "loss") == pytest.approx(np.mean(expected), abs=1e-4)
    swapped = losses(exported, [(b, a, label) for a, b, label in test], family)[0]
    assert abs(np.mean(swapped) - np.mean(expected)) > 1e-3
    # Asked for one by one, and as a file.
    first, second, _ = test[0]
    got = server.json("classify", f"{name}@taught", first, "--pair", second, "--task", "learned", "--truncate")
    assert got["results"][0]["tasks"][0]["scores"][0]["label"] == labels[0]
    out = tmp_path / "out.csv"
    server.engram("classify", f"{name}@taught", "--file", write(tmp_path / "ask.csv", [(i, a, b) for i, (a, b, _) in enumerate(test)], ("id", "a", "b")),
                  "--text-column", "a", "--pair-column", "b", "--task", "learned", "--truncate", "--out", out)
    with open(out, newline="", encoding="utf-8") as file:
        assert [(row["id"], row["learned"]) for row in csv.DictReader(file)] == [(str(i), label) for i, label in enumerate(labels)]


def test_pairs_and_single_texts_are_not_mixed_up(module_server, tmp_path):
    server = module_server
    server.engram("datasets", "upload", "mixed-pairs", write(tmp_path / "pairs.csv", pairs(8, 3), ("sentence1", "sentence2", "label")))
    server.engram("datasets", "upload", "mixed-texts", write(tmp_path / "texts.csv", [(a, c) for a, _, c in pairs(8, 4)], ("text", "label")))
    server.engram("models", "import", "mixed", make("bert", "Model", tmp_path / "model"))
    for number, kind in enumerate(("pairs", "texts"), 1):
        server.engram("start-task", f"mixed@{number}", kind, "--dataset", f"mixed-{kind}", "--epochs", "1", "--wait")
    tasks = server.json("models", "show", "mixed")["versions"][0]["tasks"]
    assert {task["name"].split("/")[-1]: task.get("text_pairs", False) for task in tasks} == {"pairs": True, "texts": False}

    def asked(*words):
        return [task["task"].split("/")[-1] for task in server.json("classify", "mixed@3", *words)["results"][0]["tasks"]]

    assert asked("a bank") == ["texts"] and asked("a bank", "--pair", "a card") == ["pairs"]
    for words, part in ((("a bank", "--task", "pairs"), "learned on pairs"), (("a bank", "--pair", "a card", "--task", "texts"), "learned on single texts")):
        refused = server.engram("classify", "mixed@3", *words, check=False)
        assert refused.returncode == 1 and part in refused.stderr
    for task, dataset, part in (("pairs", "mixed-texts", "single texts"), ("texts", "mixed-pairs", "pairs of texts")):
        for verb in ("evaluate", "consolidate-task"):
            words = ("evaluate", "mixed@3", "--task", task) if verb == "evaluate" else (verb, "mixed@3", task)
            refused = server.engram(*words, "--dataset", dataset, check=False)
            assert refused.returncode == 1 and part in refused.stderr, refused.stderr
        refused = server.engram("start-task", "mixed@3", task, "--dataset", dataset, "--validate-only", check=False)
        assert refused.returncode == 1 and part in refused.stderr
    refused = server.engram("start-task", "mixed@3", "m", "--dataset", "mixed-pairs", "--kind", "mlm", "--validate-only", check=False)
    assert refused.returncode == 1 and "--text-column" in refused.stderr


def test_parts_of_speech_are_measured_and_learned(module_server, tmp_path):
    """Tags of words: the imported tagger's figures are scikit-learn's over words, tag by tag."""
    server, tags = module_server, ["ADJ", "NOUN", "VERB", "PUNCT"]
    generator = np.random.default_rng(5)
    sentences = [[(str(w), tags[len(w) % 4]) for w in generator.choice(WORDS, size=generator.integers(1, 12))] for _ in range(20)]
    path = tmp_path / "pos.conllu"
    path.write_text("".join("".join(f"{i + 1}\t{w}\t_\t{t}" + "\t_" * 6 + "\n" for i, (w, t) in enumerate(s)) + "\n" for s in sentences))
    refused = server.engram("datasets", "upload", "pos", path, check=False)
    assert refused.returncode == 1 and "--kind word-tags" in refused.stderr
    said = server.engram("datasets", "upload", "pos", path, "--test", path, "--kind", "word-tags").stdout
    assert "word-tags" in said and f"{sentences[0][0][0]}/{sentences[0][0][1]}" in said
    directory = make("bert", "ForTokenClassification", tmp_path / "model", tags)
    server.engram("models", "import", "pos", directory)
    job = server.json("evaluate", "pos@1", "--task", "imported", "--dataset", "pos", "--wait")
    model, made = transformers.AutoModelForTokenClassification.from_pretrained(directory).eval(), tokenizer(directory)
    gold, predicted = [], []
    for sentence in sentences:
        encoded = made([w for w, _ in sentence], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            best = model(**encoded).logits[0].argmax(-1)
        ids = encoded.word_ids()
        predicted += [tags[int(best[ids.index(i)])] for i in range(len(sentence))]
        gold += [t for _, t in sentence]
    wanted = precision_recall_fscore_support(gold, predicted, labels=sorted(set(gold) | set(predicted)), zero_division=0)
    got = {label["label"]: label for label in job["result"]["label_metrics"]}
    for i, tag in enumerate(sorted(set(gold) | set(predicted))):
        assert (got[tag]["precision"], got[tag]["recall"], got[tag]["f1"], got[tag]["support"]) == pytest.approx(tuple(c[i] for c in wanted)), tag
    assert metric(job, "imported", "tag_accuracy") == pytest.approx(np.mean([g == p for g, p in zip(gold, predicted)]))
    server.engram("start-task", "pos@1", "learned", "--dataset", "pos", "--epochs", "1", "--label", "taught", "--wait")
    answer = server.json("tag-entities", "pos@taught", "the bank", "--task", "learned")
    assert [e["text"] for e in answer["results"][0]["entities"]] == ["the", "bank"]
    entities = tmp_path / "ner.conll"
    entities.write_text("Ada B-PER\nruns O\n")
    server.engram("datasets", "upload", "ner", entities)
    refused = server.engram("evaluate", "pos@1", "--task", "imported", "--dataset", "ner", check=False)
    assert refused.returncode == 1 and "has entities" in refused.stderr


def test_a_tagger_of_iob1_is_imported_as_such(module_server, tmp_path):
    """Its labels are those of BIO2; with --tag-scheme it answers as transformers' pipeline does."""
    server, labels = module_server, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    directory = make("bert", "ForTokenClassification", tmp_path / "model", labels)
    answer = server.json("models", "import", "iob1", directory, "--tag-scheme", "iob1")
    assert not answer.get("warnings")
    weights = load_file(directory / "model.safetensors")
    weights["classifier.bias"][[1, 3]] -= 1000  # no entity begins with B-x
    (tmp_path / "doubt").mkdir()
    for file in directory.iterdir():
        shutil.copyfile(file, tmp_path / "doubt" / file.name)
    save_file(weights, tmp_path / "doubt" / "model.safetensors", {"format": "pt"})
    [doubt] = server.json("models", "import", "iob1-doubt", tmp_path / "doubt")["warnings"]
    assert "--tag-scheme iob1" in doubt
    assert not server.json("models", "import", "iob1-none", directory).get("warnings")
    model = transformers.AutoModelForTokenClassification.from_pretrained(directory).eval()
    pipeline = transformers.pipeline("token-classification", model=model, tokenizer=transformers.AutoTokenizer.from_pretrained(directory),
                                     aggregation_strategy="first")
    generator, found = np.random.default_rng(7), 0
    for _ in range(15):
        text = " ".join(generator.choice(WORDS, size=generator.integers(1, 18)))
        expected = [(e["entity_group"], e["start"], e["end"]) for e in pipeline(text)]
        got = [(e["type"], int(e["start"]), int(e["end"])) for e in server.json("tag-entities", "iob1", text)["results"][0].get("entities", [])]
        assert got == expected, text
        found += len(got)
    assert found > 20
    exported = tmp_path / "exported"
    server.engram("models", "export", "iob1", exported)
    assert json.loads((exported / "engram.json").read_text())["tasks"][0]["tag_scheme"] == "iob1"
    server.engram("models", "import", "iob1-again", exported)
    assert server.json("models", "show", "iob1-again")["versions"][0]["tasks"][0]["tag_scheme"] == "iob1"
    refused = server.engram("models", "import", "io", make("bert", "ForTokenClassification", tmp_path / "io", ["O", "I-PER"]), "--tag-scheme", "iob1", check=False)
    assert refused.returncode == 1 and "labels say its scheme" in refused.stderr


def test_a_text_of_a_pair_is_forgotten_with_it(module_server, tmp_path):
    server, rows = module_server, [("the bank lost my card", "anna wrote a letter", "no"), ("a card", "the bank lost my card", "yes"), ("a card", "the bank", "no")]
    server.engram("datasets", "upload", "kept", write(tmp_path / "pairs.csv", rows, ("text_a", "text_b", "label")))
    server.engram("models", "import", "kept", make("bert", "Model", tmp_path / "model"))
    server.engram("start-task", "kept@1", "pairs", "--dataset", "kept", "--strategy", "er", "--epochs", "1", "--wait")
    assert server.json("models", "forget", "kept", "--text", "the bank lost", "--yes").get("versions", []) == []
    forgotten = server.json("models", "forget", "kept", "--text", "the bank lost my card", "--yes")
    assert [(v["version"].split("/")[-1], int(v["texts"])) for v in forgotten["versions"]] == [("2", 2)]
