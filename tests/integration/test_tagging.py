"""TagEntities against transformers and dynamic programs in fp64: words, windows, legal sequences, probabilities, places."""
import itertools
import gzip
import json
import random
import re
import unicodedata

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from seqeval.metrics import f1_score

from conftest import DATA, Server, messages
from small_models import CONFIGS, TAGS, decode, make, tokenizer, word_logits, word_rows


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One random tagger of each family, 64 tokens per window: random weights find entities everywhere."""
    folder = tmp_path_factory.mktemp("tagging")
    made = Server(folder, {"inference_precision": "fp32"}).start()
    for family in CONFIGS:
        directory = make(family, "ForTokenClassification", folder / family, TAGS)
        made.engram("models", "import", family, directory, "--task", "names")
    made.models = folder
    yield made
    made.stop()


def tag(server, model, texts):
    m = messages()
    return server.stub("InferenceService").TagEntities(m.TagEntitiesRequest(model=model, version="1", texts=texts))


def plain_texts() -> list[str]:
    """Texts of words and full stops alone, where words are plain to see: from one word to a dozen windows."""
    rows = [json.loads(line)["text"] for line in gzip.open(DATA / "dbpedia14.test.jsonl.gz", "rt", encoding="utf-8")]
    words = [w for row in rows for w in re.findall(r"[a-z]{2,12}|\.", row.lower())]
    at = iter(words)
    return [" ".join(itertools.islice(at, count)) for count in (1, 2, 7, 20, 40, 55, 62, 63, 64, 90, 130, 400)]


@pytest.mark.parametrize("family", CONFIGS)
def test_entities_are_those_of_the_oracle(server, family):
    directory = server.models / family
    model = transformers.AutoModelForTokenClassification.from_pretrained(directory).eval()
    made, texts = tokenizer(directory), plain_texts()
    answer = tag(server, family, texts)
    found = 0
    for text, result in zip(texts, answer.results):
        words = list(re.finditer(r"[a-z]+|\.", text))
        logits, windows = word_logits(model, made, [w.group() for w in words], 64)
        expected = decode(logits, TAGS)
        assert [(e.start, e.end, e.type) for e in result.entities] == [(words[a].start(), words[b - 1].end(), name) for a, b, name, _ in expected]
        assert [e.score for e in result.entities] == pytest.approx([score for *_, score in expected], abs=1e-4)
        assert result.windows == windows and not result.truncated
        assert result.tokens == sum(len(made(w.group(), add_special_tokens=False)["input_ids"]) for w in words)
        found += len(expected)
    assert found > 100 and answer.results[-1].windows > 6


def test_one_window_is_one_pass(server):
    """A text that fits the model is encoded once, with the tokens that the tokenizer gives it."""
    directory = server.models / "bert"
    model, made = transformers.AutoModelForTokenClassification.from_pretrained(directory).eval(), tokenizer(directory)
    [text] = [t for t in plain_texts() if len(t.split()) == 40]
    [result] = tag(server, "bert", [text]).results
    ids = made(text)["input_ids"]
    assert len(ids) <= 64 and result.windows == 1 and result.tokens == len(ids) - 2
    with torch.no_grad():
        rows = model(torch.tensor([ids])).logits[0].numpy()
    words = made(text).word_ids()
    first = [i for i, w in enumerate(words) if w is not None and (i == 0 or words[i - 1] != w)]
    spans = [made(text).word_to_chars(w) for w in range(max(w for w in words if w is not None) + 1)]
    assert [(e.start, e.end, e.type) for e in result.entities] == [(spans[a].start, spans[b - 1].end, name) for a, b, name, _ in decode(rows[first], TAGS)]


HARD = ["Zoe\u0308 \U0001F600\U0001F3FD met Jose\u0301\u0323 O\u2019Brien \u2764\ufe0f in Sa\u0303o Paulo\u2026", "\u6771\u4eac Tower \ud55c\uad6d\uc5b4 \u0928\u092e\u0938\u094d\u0924\u0947 \u092d\u093e\u0930\u0924",
        "soft\u00adhyphen zero\u200bwidth \ufeffmark \U0001F468\u200d\U0001F469\u200d\U0001F467 family", "\u0130stanbul \u01c5 \ufb01n \u1e9e \u2126 \u212b", "a\u0000b \u0085c \u2028 d\u00a0e",
        "https://x.org/a?b=\u00e9, U.S. don't 30,000 e-mail @user #topic AT&T", "\u0301\u0301 \u0301a", "\U0001F1EB\U0001F1F7 \U0001F1E9\U0001F1EA 1\ufe0f\u20e3", "[SEP] [CLS] [MASK] ##ing"]


def test_places_are_those_of_the_original_text(server):
    answer = tag(server, "bert", HARD)
    found = 0
    for text, result in zip(HARD, answer.results):
        assert not result.error.message
        previous = 0
        for e in result.entities:
            assert text[e.start:e.end] == e.text and text.encode()[e.start_byte:e.end_byte] == e.text.encode()
            assert previous <= e.start < e.end and e.text.strip() == e.text
            # Marks, joiners and selectors belong to the character before them: no entity ends in front of one.
            following = text[e.end:e.end + 1]
            assert not following or unicodedata.category(following) not in ("Mn", "Me") and following not in "\u200d\ufe0f", (e.text, text)
            previous = e.end
            found += 1
    assert found > 10


def test_a_word_longer_than_the_window_is_said_to_be_cut(server):
    address = "https://example.org/" + "/".join(f"part{i}" for i in range(200))
    answer = tag(server, "bert", [f"see {address} now", "see it now"])
    assert answer.results[0].truncated and not answer.results[1].truncated and answer.truncated
    assert answer.results[0].windows > 1 and not answer.results[0].error.message


def test_one_bad_text_does_not_fail_the_others(server):
    answer = tag(server, "bert", ["good text", " \n", "\u200b"])
    assert not answer.results[0].error.message and answer.results[1].error.field == "texts[1]"
    assert not answer.results[2].error.message and not answer.results[2].entities  # a word that no token stands for


def tagged_sentences(seed: str, lengths) -> list[list[tuple[str, str]]]:
    """(word, tag) with legal random tags; three words in a hundred are such that no token stands for them."""
    rng = random.Random(seed)
    words = [w for text in plain_texts() for w in text.split()]
    sentences = []
    for length in lengths:
        sentence, tag = [], "O"
        for _ in range(length):
            tag = rng.choice([t for t in TAGS if t[0] != "I" or tag[0] != "O" and t[2:] == tag[2:]])
            sentence.append((rng.choice(words) if rng.random() < 0.97 else "\u200b", tag))
        sentences.append(sentence)
    return sentences


def write_conll(sentences, path):
    path.write_text("\n".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences))
    return path


@pytest.mark.parametrize("family", CONFIGS)
def test_the_measured_f1_is_that_of_whole_sentences(server, family, tmp_path):
    """Sentences of up to 300 words in windows of 64 tokens, words that no token stands for among them: the F1 that a run reports is seqeval's on the
    decoded sentences."""
    sentences = tagged_sentences(family, (3, 40, 80, 300, 150))
    data = write_conll(sentences, tmp_path / "long.conll")
    server.engram("datasets", "upload", f"long-{family}", data, "--test", data)
    job = server.json("start-task", f"{family}@1", "names", "--dataset", f"long-{family}", "--epochs", "1", "--set", "lr=1e-3", "--set", "precision=fp32", "--wait")
    version = job["result"]["version"].split("/")[-1]
    server.engram("models", "export", f"{family}@{version}", tmp_path / "export")
    model = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "export").eval()
    made, tags, guessed = tokenizer(tmp_path / "export"), [model.config.id2label[i] for i in range(len(TAGS))], []
    for sentence in sentences:
        known = [i for i, (word, _) in enumerate(sentence) if word != "\u200b"]
        logits = np.zeros((len(sentence), len(tags)))
        logits[:, tags.index("O")] = 30
        logits[known] = word_logits(model, made, [sentence[i][0] for i in known], 64)[0]
        path = ["O"] * len(sentence)
        for first, end, name, _ in decode(logits, tags):
            path[first:end] = [f"B-{name}"] + [f"I-{name}"] * (end - first - 1)
        guessed.append(path)
    gold = [[tag for _, tag in sentence] for sentence in sentences]
    expected = f1_score(gold, guessed)
    got = next(m["value"] for m in job["result"]["metrics"] if m["metric"] == "entity_f1")
    assert got == pytest.approx(expected, abs=1e-9) and expected > 0.02


def test_importance_counts_sentences_not_windows(server, tmp_path):
    """N_A F_A, which is what the penalty has of a task, is the sum over sentences of the square of the sentence's gradient, however many windows it
    takes; a sentence that no token stands for counts for nothing."""
    sentences = tagged_sentences("importance", (3, 150, 40, 80)) + [[("\u200b", "O")]]
    data = write_conll(sentences, tmp_path / "long.conll")
    server.engram("datasets", "upload", "windows", data)
    server.json("start-task", "bert@1", "names", "--dataset", "windows", "--epochs", "1", "--set", "precision=fp32", "--label", "learned", "--wait")
    job = server.json("consolidate-task", "bert@learned", "names", "--fisher", "empirical", "--wait")
    server.engram("models", "export", f"bert@{job['result']['version'].split('/')[-1]}", tmp_path / "export")
    [entry] = json.loads((tmp_path / "export" / "engram.json").read_text())["consolidations"]
    assert (entry["samples"], entry["training_examples"]) == (4, 4)

    model = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "export").double().eval()
    made, precision = tokenizer(tmp_path / "export"), {}
    for sentence in sentences[:4]:
        known = [(word, tag) for word, tag in sentence if word != "\u200b"]
        rows, windows = word_rows(model, made, [word for word, _ in known], 64)
        assert (windows > 1) == (len(sentence) > 62)
        model.zero_grad()
        sum(torch.log_softmax(row, 0)[model.config.label2id[tag]] for row, (_, tag) in zip(rows, known)).backward()
        for name, parameter in model.base_model.named_parameters():
            precision[name] = precision.get(name, 0) + parameter.grad ** 2
    kept = load_file(tmp_path / "export" / "continual.safetensors")
    for name, expected in precision.items():
        if "key.bias" not in name:  # its true gradient is 0
            np.testing.assert_allclose(4 * kept[f"fisher.names.{name}"], expected, rtol=0, atol=1e-5 * expected.abs().max().item(), err_msg=name)


def test_a_training_word_longer_than_the_window_is_said_to_be_cut(server, tmp_path):
    """By training, by the importance, and by the estimate of each; long sentences of short words lose nothing."""
    address = "https://example.org/" + "/".join(f"part{i}" for i in range(200))
    data = write_conll(tagged_sentences("cut", (3, 150)) + [[("see", "O"), (address, "O")]], tmp_path / "cut.conll")
    server.engram("datasets", "upload", "cut", data)
    m, tasks = messages(), server.stub("TaskService")
    said = ["TEXTS_CUT: 1 of 3 training texts are cut at the 64 tokens that the model takes"]
    learned = server.json("start-task", "bert@1", "names", "--dataset", "cut", "--epochs", "1", "--set", "precision=fp32", "--label", "cut", "--wait")
    planned = tasks.ConsolidateTask(m.ConsolidateTaskRequest(model="bert", task="names", base="cut", validate_only=True)).estimate
    assert planned.warnings == said and planned.texts == 3
    consolidated = server.json("consolidate-task", "bert@cut", "names", "--wait")
    *of_learning, unmeasured = learned["result"]["warnings"]
    assert of_learning == consolidated["result"]["warnings"] == said and unmeasured.startswith("NOT_MEASURED: ")
