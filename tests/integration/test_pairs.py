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


def changed_copy(directory, target, change):
    """The model directory with other weights."""
    shutil.copytree(directory, target)
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


def scheme(server, model):
    return server.json("models", "show", model)["versions"][0]["tasks"][0].get("tag_scheme", "")


def test_a_tagger_whose_labels_leave_bio2_or_iob1_open(module_server, tmp_path):
    """What the flag says, or what it does with some sentences; as IOB1 and as either it answers as transformers' pipeline does."""
    server, labels = module_server, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    directory = make("bert", "ForTokenClassification", tmp_path / "model", labels)
    for name, given in (("iob1", "iob1"), ("either", "lenient"), ("bio2", "bio2")):
        assert not server.json("models", "import", name, directory, "--tag-scheme", given).get("warnings")
        assert scheme(server, name) == given.replace("bio2", "")
    def no_begin(weights):
        weights["classifier.bias"][[1, 3]] -= 1000

    def nothing(weights):
        weights["classifier.bias"][0] += 1000

    inside = changed_copy(directory, tmp_path / "inside", no_begin)
    [said] = server.json("models", "import", "inside", inside)["warnings"]
    assert "entities began with I-x, so that it is read as IOB1" in said and scheme(server, "inside") == "iob1"
    [said] = server.json("models", "import", "nothing", changed_copy(directory, tmp_path / "nothing", nothing))["warnings"]
    assert "too few to tell" in said and scheme(server, "nothing") == "lenient"
    assert not server.json("models", "import", "mixed", directory).get("warnings") and scheme(server, "mixed") == ""
    found = {}
    for name, source in (("iob1", directory), ("either", directory), ("inside", inside)):
        model = transformers.AutoModelForTokenClassification.from_pretrained(source).eval()
        pipeline = transformers.pipeline("token-classification", model=model, tokenizer=transformers.AutoTokenizer.from_pretrained(source), aggregation_strategy="first")
        generator = np.random.default_rng(7)
        texts = [" ".join(generator.choice(WORDS, size=generator.integers(1, 18))) for _ in range(15)]
        expected = [[(e["entity_group"], e["start"], e["end"]) for e in pipeline(text)] for text in texts]
        results = [server.json("tag-entities", name, text)["results"][0] for text in texts]
        assert [[(e["type"], int(e["start"]), int(e["end"])) for e in r.get("entities", [])] for r in results] == expected, name
        found[name] = sum(map(len, expected))
    assert min(found.values()) > 20
    exported = tmp_path / "exported"
    server.engram("models", "export", "iob1", exported)
    assert json.loads((exported / "engram.json").read_text())["tasks"][0]["tag_scheme"] == "iob1"
    server.engram("models", "import", "iob1-again", exported)
    assert scheme(server, "iob1-again") == "iob1"
    for source, why in ((make("bert", "ForTokenClassification", tmp_path / "io", ["O", "I-PER"]), "labels say its scheme"), (exported, "engram.json"),
                        (make("bert", "Model", tmp_path / "bare"), "no head for tags")):
        refused = server.engram("models", "import", "io", source, "--tag-scheme", "iob1", check=False)
        assert refused.returncode == 1 and why in refused.stderr


def test_a_tagger_of_iob1_is_measured_consolidated_and_trained_in_its_scheme(module_server, tmp_path):
    """Loss and tag accuracy are those of PyTorch over tags in IOB1; a tagger of BIO2 with the same weights has others."""
    server, labels = module_server, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    directory = make("bert", "ForTokenClassification", tmp_path / "model", labels)
    generator = np.random.default_rng(11)
    sentences = []
    for _ in range(25):
        words, tags = [str(w) for w in generator.choice(WORDS, size=12)], ["O"] * 12
        for at in (0, 3, 5, 9):  # the second entity is behind the first one's end, or not, and of its type, or not
            length, kind = int(generator.integers(1, 3)), str(generator.choice(["PER", "LOC"]))
            tags[at:at + length] = [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
        sentences.append((words, tags))
    path = tmp_path / "ner.conll"
    path.write_text("".join("".join(f"{w}\t{t}\n" for w, t in zip(*s)) + "\n" for s in sentences))
    server.engram("datasets", "upload", "iob1-rows", path)
    model, made = transformers.AutoModelForTokenClassification.from_pretrained(directory).eval(), tokenizer(directory)

    def expected(write):
        losses, right = [], []
        for words, tags in sentences:
            encoded = made(words, is_split_into_words=True, return_tensors="pt")
            with torch.no_grad():
                rows = model(**encoded).logits[0].double()
            first = rows[[encoded.word_ids().index(i) for i in range(len(words))]]
            gold = torch.tensor([labels.index(write(tags, i)) for i in range(len(words))])
            losses += torch.nn.functional.cross_entropy(first, gold, reduction="none").tolist()
            right += (first.argmax(-1) == gold).tolist()
        return np.mean(losses), np.mean(right)

    def iob1(tags, i):
        tag = tags[i]
        return "I" + tag[1:] if tag[0] == "B" and (i == 0 or tags[i - 1][1:] != tag[1:]) else tag

    traces = {}
    for name, write in (("measured-iob1", iob1), ("measured-bio2", lambda tags, i: tags[i])):
        server.engram("models", "import", name, directory, "--tag-scheme", name[-4:])
        job = server.json("evaluate", f"{name}@1", "--task", "imported", "--dataset", "iob1-rows", "--wait")
        loss, right = expected(write)
        assert metric(job, "imported", "loss") == pytest.approx(loss, rel=1e-4)
        if name == "measured-iob1":  # the other's tags are of Viterbi's path, its accuracy of each word
            assert metric(job, "imported", "tag_accuracy") == pytest.approx(right)
        job = server.json("consolidate-task", f"{name}@1", "imported", "--dataset", "iob1-rows", "--fisher", "empirical", "--wait")
        traces[name] = float(job["result"]["fisher_trace"])
    assert traces["measured-iob1"] != pytest.approx(traces["measured-bio2"], rel=1e-3)
    # Trained further, it keeps its scheme, and learns it: B-x where an entity follows one of its type alone.
    server.engram("start-task", "measured-iob1@1", "imported", "--dataset", "iob1-rows", "--epochs", "1", "--label", "further", "--wait")
    shown = server.json("models", "show", "measured-iob1")["versions"]
    assert [v["tasks"][0].get("tag_scheme") for v in shown if "further" in v.get("labels", [])] == ["iob1"]


def test_a_text_of_a_pair_is_forgotten_with_it(module_server, tmp_path):
    server, rows = module_server, [("the bank lost my card", "anna wrote a letter", "no"), ("a card", "the bank lost my card", "yes"), ("a card", "the bank", "no")]
    server.engram("datasets", "upload", "kept", write(tmp_path / "pairs.csv", rows, ("text_a", "text_b", "label")))
    server.engram("models", "import", "kept", make("bert", "Model", tmp_path / "model"))
    server.engram("start-task", "kept@1", "pairs", "--dataset", "kept", "--strategy", "er", "--epochs", "1", "--wait")
    assert server.json("models", "forget", "kept", "--text", "the bank lost", "--yes").get("versions", []) == []
    forgotten = server.json("models", "forget", "kept", "--text", "the bank lost my card", "--yes")
    assert [(v["version"].split("/")[-1], int(v["texts"])) for v in forgotten["versions"]] == [("2", 2)]
