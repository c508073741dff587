"""TagEntities against transformers and dynamic programs in fp64: words, windows, legal sequences, probabilities, places."""
import gzip
import html.parser
import itertools
import json
import random
import re
import unicodedata

import grpc
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from seqeval.metrics import f1_score

from conftest import DATA, Server, error_info, messages
from small_models import TAGS, decode, make, tokenizer, word_logits, word_rows

FAMILIES = ("bert", "roberta", "distilbert")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One random tagger of each family, 64 tokens per window: random weights find entities everywhere."""
    folder = tmp_path_factory.mktemp("tagging")
    made = Server(folder, {"inference_precision": "fp32"}).start()
    for family in FAMILIES:
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


@pytest.mark.parametrize("family", FAMILIES)
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


@pytest.mark.parametrize("family", FAMILIES)
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
    *of_importance, untrained = consolidated["result"]["warnings"]
    assert of_learning == of_importance == said and unmeasured.startswith("NOT_MEASURED: ")
    assert untrained.startswith("UNTRAINED_TASK: ")  # an epoch over three sentences


@pytest.fixture(scope="module")
def io_tagger(server):
    """A tagger whose tags are types alone (IO): the pipeline joins equal neighbours, as the tags are read here, and needs no legal sequence."""
    directory = make("bert", "ForTokenClassification", server.models / "io", ["O", "I-person", "I-place", "I-work"])
    server.engram("models", "import", "io", directory, "--task", "names")
    return directory


def test_aggregations_are_those_of_the_pipeline(server, io_tagger):
    """first, average and max: the same words with the same types as transformers' TokenClassificationPipeline finds, and not the same for all three."""
    m, found = messages(), {}
    model, made = transformers.AutoModelForTokenClassification.from_pretrained(io_tagger).eval(), transformers.AutoTokenizer.from_pretrained(io_tagger)
    texts = [t for t in plain_texts() if len(made(t)["input_ids"]) <= 64]
    assert len(texts) > 3
    for name in ("first", "average", "max"):
        pipeline = transformers.pipeline("token-classification", model=model, tokenizer=made, aggregation_strategy=name)
        expected = [[(e["start"], e["end"], e["entity_group"]) for e in pipeline(text)] for text in texts]
        request = m.TagEntitiesRequest(model="io", texts=texts, aggregation=m.EntityAggregation.Value(f"ENTITY_AGGREGATION_{name.upper()}"))
        answer = server.stub("InferenceService").TagEntities(request)
        assert [[(e.start, e.end, e.type) for e in r.entities] for r in answer.results] == expected, name
        found[name] = expected
    assert found["first"] != found["average"] != found["max"] != found["first"]


def test_each_entity_says_its_sentence(server):
    """Sentences cover all words in order; the sentence of an entity is the one that it begins and ends in."""
    m = messages()
    text = "Ada met Mr. Smith in Paris. They paid 3.5 pounds! Why?\r\n\r\nNobody \U0001F600 knows what 東京 said。 The end"
    request = m.TagEntitiesRequest(model="bert", texts=[text, " "], sentences=True)
    result, bad = server.stub("InferenceService").TagEntities(request).results
    assert [text[s.start:s.end] for s in result.sentences] == [
        "Ada met Mr. Smith in Paris.", "They paid 3.5 pounds!", "Why?", "Nobody \U0001F600 knows what 東京 said。", "The end"]
    assert [text.encode()[s.start_byte:s.end_byte].decode() for s in result.sentences] == [text[s.start:s.end] for s in result.sentences]
    assert result.entities and bad.error.message and not bad.sentences
    for e in result.entities:
        within = [i for i, s in enumerate(result.sentences) if s.start <= e.start and e.end <= s.end]
        assert within == [e.sentence]
    plain = tag(server, "bert", [text]).results[0]
    assert not plain.sentences and not any(e.HasField("sentence") for e in plain.entities)


def streamed(server, texts, **options):
    """(started, answers, the most texts that were sent and not answered) of one stream."""
    m, sent, answered, most = messages(), 0, 0, 0

    def requests():
        nonlocal sent, most
        yield m.StreamTagEntitiesRequest(start=m.TagEntitiesRequest(**options))
        for i, text in enumerate(texts):
            sent += 1
            most = max(most, sent - answered)
            yield m.StreamTagEntitiesRequest(text=m.StreamedText(id=f"t{i}", text=text))
    replies = iter(server.stub("InferenceService").StreamTagEntities(requests()))
    started, answers = next(replies).started, []
    for reply in replies:
        answered += 1
        answers.append(reply.answer)
    return started, answers, most


def test_a_stream_answers_each_text_in_order_as_the_call_does(server):
    texts = [*plain_texts(), "", "\u200b", *HARD]
    started, answers, _ = streamed(server, texts, model="bert", version="1", sentences=True)
    assert (started.model, started.version, started.task) == ("models/bert", 1, "models/bert/tasks/names")
    assert [(a.id, a.index) for a in answers] == [(f"t{i}", i) for i in range(len(texts))]
    m = messages()
    expected = server.stub("InferenceService").TagEntities(m.TagEntitiesRequest(model="bert", texts=texts, sentences=True)).results
    for text, answer, unary in zip(texts, answers, expected):
        if not text:  # one bad text does not end the stream
            assert answer.result.error.field == "text.text" and answer.result.error.reason == unary.error.reason
            continue
        assert [(e.type, e.start, e.end, e.sentence) for e in answer.result.entities] == [(e.type, e.start, e.end, e.sentence) for e in unary.entities]
        assert (answer.result.windows, answer.result.tokens) == (unary.windows, unary.tokens) and answer.result.sentences == unary.sentences


def test_a_stream_holds_few_texts_at_a_time(server):
    """The server reads as it tags: a client that sends as fast as it can never has more than a bounded number of texts under way. Words without
    a token make a text long and cheap."""
    text = "Ada met Bob " + "\u200b " * 4000
    _, answers, most = streamed(server, [text] * 1500, model="bert")
    assert len(answers) == 1500 and not any(a.result.HasField("error") for a in answers)
    assert most < 750, most  # 16 kB each: 1 MiB in the server, and what fits into the buffers between


def test_a_stream_that_begins_wrongly_is_refused(server):
    m = messages()
    call = server.stub("InferenceService").StreamTagEntities
    for request, field in [(m.StreamTagEntitiesRequest(text=m.StreamedText(text="a")), "start"), (m.StreamTagEntitiesRequest(), "start"),
                           (m.StreamTagEntitiesRequest(start=m.TagEntitiesRequest(model="bert", texts=["a"])), "start.texts"),
                           (m.StreamTagEntitiesRequest(start=m.TagEntitiesRequest(model="bert", aggregation=9)), "aggregation")]:
        with pytest.raises(grpc.RpcError) as error:
            list(call(iter([request])))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(error.value)[1] == [field]
    with pytest.raises(grpc.RpcError) as error:
        list(call(iter([])))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as error:
        list(call(iter([m.StreamTagEntitiesRequest(start=m.TagEntitiesRequest(model="nobody"))])))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


class Drawn(html.parser.HTMLParser):
    """Sections of a page: their text without what was written into the marks, and (text, type) of each mark."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.open, self.texts, self.marks = [], [], []
        self.feed(page)

    def handle_starttag(self, name, attributes):
        if name in ("section", "mark", "small"):
            self.open.append(name)
        if name == "section":
            self.texts.append(""), self.marks.append([])
        if name == "mark" and "section" in self.open:
            self.marks[-1].append(["", ""])

    def handle_endtag(self, name):
        if name in ("section", "mark", "small"):
            assert self.open.pop() == name

    def handle_data(self, data):
        if "section" not in self.open:
            return
        if "mark" in self.open:
            self.marks[-1][-1]["small" in self.open] += data
        if "small" not in self.open:
            self.texts[-1] += data


def test_the_page_shows_the_texts_with_their_entities(server, tmp_path):
    lines = [*plain_texts()[2:6], "<b>Ada</b> & \"Bob\" 'Cy' <script>alert(1)</script>", *[t.replace("\r", " ") for t in HARD if "\n" not in t and "\x00" not in t]]
    (tmp_path / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    said = server.engram("tag-entities", "bert", "--file", tmp_path / "texts.txt", "--html", tmp_path / "page.html").stdout
    assert said == f"wrote {tmp_path / 'page.html'}\n"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<b>" not in page
    drawn = Drawn(page)
    assert drawn.texts == lines
    assert drawn.marks == [[[e.text, e.type] for e in r.entities] for r in tag(server, "bert", lines).results]
    assert sum(map(len, drawn.marks)) > 20
