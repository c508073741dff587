"""Lists of terms beside a tagger and as its teacher, through the server: what stands where both speak, words of which nothing is known, documents."""
import json
import random
import re

import grpc
import pytest

from conftest import Server, error_info, messages
from small_models import TAGS, TYPES, make


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A random tagger, which finds entities everywhere, and an encoder that learned nothing."""
    folder = tmp_path_factory.mktemp("terms")
    made = Server(folder, {"inference_precision": "fp32"}).start()
    made.engram("models", "import", "random", make("bert", "ForTokenClassification", folder / "random", TAGS), "--task", "names")
    made.engram("models", "import", "small", make("bert", "Model", folder / "small"))
    yield made
    made.stop()


def overlap(a, b):
    return a[0] < b[1] and b[0] < a[1]


def filter_spans(spans):
    """spaCy's, as spacy.util has it, over characters."""
    result, seen = [], set()
    for span in sorted(spans, key=lambda s: (s[1] - s[0], -s[0]), reverse=True):
        if span[0] not in seen and span[1] - 1 not in seen:
            result.append(span)
            seen.update(range(span[0], span[1]))
    return result


def expected(tagged, listed, priority):
    """(start, end, type, source) of what stands. `tagged`, `listed`: (start, end, type)."""
    both = set(tagged) & set(listed)
    spans = [(*s, "both" if s in both else "tagger") for s in tagged] + [(*s, "term") for s in listed if s not in both]
    if priority == "longest":
        return sorted(filter_spans(spans))
    first = [s for s in spans if s[3] in ("both", "tagger" if priority == "tagger" else "term")]
    return sorted(first + [s for s in spans if s not in first and not any(overlap(s, f) for f in first)])


WORDS = "ada met the old bank of rome near lima and paid bob in new york city for tea".split()


@pytest.mark.parametrize("priority", ["longest", "tagger", "terms"])
def test_what_stands_is_what_the_priority_says(server, priority):
    rng, m = random.Random(priority), messages()
    texts = ["\U0001F600 " + " ".join(rng.choice(WORDS) for _ in range(30)) for _ in range(12)]
    inference = server.stub("InferenceService")
    alone = inference.TagEntities(m.TagEntitiesRequest(model="random", texts=texts)).results
    assert sum(len(r.entities) for r in alone) > 40 and not any(e.source or e.HasField("term") for r in alone for e in r.entities)
    # Words, pairs of words, and what the tagger finds itself, under the same type and under another.
    terms = {rng.choice(WORDS): TYPES[0] for _ in range(1)} | {f"{rng.choice(WORDS)} {rng.choice(WORDS)}": TYPES[1] for _ in range(12)}
    terms |= {e.text.lower(): e.type if i % 2 else "LISTED" for i, e in enumerate(e for r in alone for e in r.entities) if i % 8 in (0, 1)}
    listed = [m.Term(text=text, labels=[label]) for text, label in terms.items()]
    places = server.stub("AnnotationService").AnnotateTexts(m.AnnotateTextsRequest(texts=texts, terms=listed)).results
    request = m.TagEntitiesRequest(model="random", texts=texts, terms=listed, sentences=True,
                                   term_priority={"longest": m.TERM_PRIORITY_LONGEST, "tagger": m.TERM_PRIORITY_TAGGER, "terms": m.TERM_PRIORITY_TERMS}[priority])
    sources = {m.ENTITY_SOURCE_TAGGER: "tagger", m.ENTITY_SOURCE_TERM: "term", m.ENTITY_SOURCE_BOTH: "both"}
    seen = []
    for text, before, place, result in zip(texts, alone, places, inference.TagEntities(request).results):
        tagged = [(e.start, e.end, e.type) for e in before.entities]
        want = expected(tagged, [(p.start, p.end, p.labels[0]) for p in place.matches], priority)
        assert [(e.start, e.end, e.type, sources[e.source]) for e in result.entities] == want
        scores = {(e.start, e.end, e.type): e.score for e in before.entities}
        for e in result.entities:
            assert text[e.start:e.end] == e.text and text.encode()[e.start_byte:e.end_byte].decode() == e.text
            assert e.score == pytest.approx(1.0 if e.source == m.ENTITY_SOURCE_TERM else scores[e.start, e.end, e.type], abs=1e-5)
            assert e.HasField("term") == (e.source != m.ENTITY_SOURCE_TAGGER)
            assert not e.HasField("term") or (listed[e.term].text == e.text.lower() and listed[e.term].labels[0] == e.type)
            assert result.sentences[e.sentence].start <= e.start and e.end <= result.sentences[e.sentence].end
        seen += [s for *_, s in want]
    assert set(seen) == set(sources.values())

    def stream():
        yield m.StreamTagEntitiesRequest(start=m.TagEntitiesRequest(model="random", terms=listed, sentences=True, term_priority=request.term_priority))
        yield m.StreamTagEntitiesRequest(text=m.StreamedText(text=texts[0]))
    _, answer = inference.StreamTagEntities(stream())
    unary = inference.TagEntities(request).results[0]
    assert [(e.start, e.end, e.type, e.source, e.term) for e in answer.answer.result.entities] == [(e.start, e.end, e.type, e.source, e.term) for e in unary.entities]


def test_lists_that_cannot_stand_beside_a_tagger_are_refused(server):
    m, call = messages(), server.stub("InferenceService").TagEntities
    for options, field in [({"terms": [m.Term(text="a", labels=["x", "y"])]}, "terms[0].labels"), ({"terms": [m.Term(text="a", labels=["x"]), m.Term(text=" ", labels=["x"])]}, "terms[1].text"),
                           ({"terms": [m.Term(text="a")]}, "terms[0].labels"), ({"term_priority": 9}, "term_priority"),
                           ({"terms": [m.Term(text="a" * 900, labels=["x" * 100])] * 17000}, "terms")]:
        with pytest.raises(grpc.RpcError) as error:
            call(m.TagEntitiesRequest(model="random", texts=["a text"], **options))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(error.value)[1] == [field], options


def test_the_command_line_takes_a_list(server, tmp_path):
    terms, texts = tmp_path / "terms.tsv", tmp_path / "texts.txt"
    terms.write_text("zebra crossing\tROAD\nlima\n")
    texts.write_text("the Zebra Crossing of Lima\n")
    options = ["--terms", terms, "--term-label", "CITY", "--term-priority", "terms"]
    shown = server.engram("tag-entities", "random", "--file", texts, *options).stdout
    assert "ROAD" in shown and "Zebra Crossing  [4, 18)  of the list" in shown and "CITY" in shown
    out = tmp_path / "out.jsonl"
    server.engram("tag-entities", "random", "--file", texts, "--out", out, *options)
    found = {(e["type"], e["text"], e["from"]) for e in json.loads(out.read_text())["entities"]}
    assert {("ROAD", "Zebra Crossing", "list"), ("CITY", "Lima", "list")} <= found
    assert "need --terms" in server.engram("tag-entities", "random", "a", "--term-priority", "terms", check=False).stderr
    assert "no label" in server.engram("tag-entities", "random", "a", "--terms", terms, check=False).stderr


PEOPLE = ["ada", "bob", "cy", "dora", "eve", "finn", "gus", "hal"]


def annotated(tmp_path, server, name: str, other_words: str, listed, count: int = 80):
    """Sentences of people, annotated by a list that has some of them."""
    rng = random.Random(4)
    (tmp_path / "texts.txt").write_text("".join(f"{rng.choice(PEOPLE)} met {rng.choice(PEOPLE)} at {rng.randrange(24)} , {'and' if i % 2 else 'or'} left\n" for i in range(count)))
    (tmp_path / "terms.tsv").write_text("".join(f"{person}\tPER\n" for person in listed))
    options = [] if other_words == "unknown" else ["--other-words", other_words]
    said = server.json("annotate", "--file", tmp_path / "texts.txt", "--terms", tmp_path / "terms.tsv", "--out", tmp_path / f"{name}.jsonl", *options)
    rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert {row["other_words"] for row in rows} == {other_words} and said["texts"] == count
    return tmp_path / f"{name}.jsonl"


def test_words_that_no_term_matches_are_unknown(server, tmp_path):
    """Terms alone say what a name is, not what is none: without any unknown word as outside, the tagger finds names everywhere; a part of them is enough."""
    rng, rows = random.Random(9), []
    for _ in range(40):
        text = f"{rng.choice(PEOPLE[:4])} met {rng.choice(PEOPLE[:4])} at {rng.randrange(24)} , and left"
        rows.append({"text": text, "entities": [[m.start(), m.end(), "PER"] for m in re.finditer("|".join(PEOPLE), text)]})
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    data = annotated(tmp_path, server, "listed", "unknown", PEOPLE[:4])
    [warning] = [w for w in server.json("datasets", "upload", "listed", data, "--test", tmp_path / "gold.jsonl")["report"]["training"]["warnings"] if w["reason"] == "UNKNOWN_WORDS"]
    words = [json.loads(line) for line in data.read_text().splitlines()]
    assert warning["count"] == sum(len(w["text"].split()) - len(w["entities"]) for w in words)
    figures = {}
    for share in ("0", "0.35"):
        result = server.json("start-task", "small@1", f"listed-{share.replace('.', '-')}", "--dataset", "listed", "--epochs", "5", "--set", "lr=5e-3", "--set", "batch_size=8",
                             "--set", "precision=fp32", "--set", f"unknown_as_outside={share}", "--wait")["result"]
        [figures[share]] = result["label_metrics"]
    assert figures["0"]["precision"] < 0.5 and figures["0.35"]["f1"] > 0.9
    outside = annotated(tmp_path, server, "complete", "outside", PEOPLE[:4])
    assert not [w for w in server.json("datasets", "upload", "complete", outside)["report"]["training"].get("warnings", []) if w["reason"] == "UNKNOWN_WORDS"]


def test_what_is_found_on_unknown_words_is_no_error(server, tmp_path):
    """The same tagger, measured on full gold and on gold of which half of the names is unknown: recall is that of the known half, precision is not hurt."""
    m = messages()
    texts = [f"{a} met {b} at 7" for a in PEOPLE for b in PEOPLE]
    rows = [{"text": t, "entities": [[x.start(), x.end(), "PER"] for x in re.finditer("|".join(PEOPLE[:4]), t)], "other_words": "unknown"} for t in texts]
    (tmp_path / "half.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    server.engram("datasets", "upload", "half", tmp_path / "half.jsonl", "--test", tmp_path / "half.jsonl")
    result = server.json("start-task", "small@1", "half", "--dataset", "half", "--epochs", "3", "--set", "lr=5e-3", "--set", "precision=fp32", "--wait")["result"]
    [measured] = result["label_metrics"]
    version = result["version"].split("/")[-1]
    answer = server.stub("InferenceService").TagEntities(m.TagEntitiesRequest(model="small", version=version, task="half", texts=texts)).results
    support = correct = judged = elsewhere = 0
    for text, row, found in zip(texts, rows, answer):
        gold = {tuple(e[:2]) for e in row["entities"]}
        support += len(gold)
        for e in found.entities:
            touches = any(e.start < b and a < e.end for a, b in gold)
            judged += touches
            elsewhere += not touches
            correct += (e.start, e.end) in gold
    assert measured["support"] == support and elsewhere > 0
    assert measured["precision"] == pytest.approx(correct / judged if judged else 0) and measured["recall"] == pytest.approx(correct / support)


def test_no_document_is_in_two_folds(server, tmp_path):
    lines = []
    for document in range(6):
        lines += ["-DOCSTART- O", ""]
        for i in range(5):
            lines += [f"ada{document}{i}\tB-PER", "left\tO", ""]
    (tmp_path / "documents.conll").write_text("\n".join(lines) + "\n")
    server.engram("datasets", "upload", "documents", tmp_path / "documents.conll")
    m, call = messages(), server.stub("TaskService").CrossValidateTask
    with pytest.raises(grpc.RpcError) as error:
        call(m.CrossValidateTaskRequest(model="small", task="documents", dataset="documents", folds=7))
    assert error_info(error.value)[0].reason == "TOO_FEW_GROUPS" and "6 groups" in error.value.details()
    job = server.json("cross-validate", "small@1", "documents", "--dataset", "documents", "--folds", "3", "--epochs", "1", "--set", "precision=fp32", "--wait")
    validation = job["result"]["cross_validation"]
    assert validation["groups"] == 6 and [f["test_rows"] for f in validation["folds"]] == [10, 10, 10]


def test_misaligned_entities_are_said_and_refused_on_request(server, tmp_path):
    file = tmp_path / "based.jsonl"
    file.write_text(json.dumps({"text": "a Paris-based firm", "entities": [[2, 7, "LOC"]]}) + "\n" + json.dumps({"text": "in Rome", "entities": [[3, 7, "LOC"]]}) + "\n")
    for mode, words in [("cut", ["a", "Paris", "-based", "firm"]), ("expand", ["a", "Paris-based", "firm"]), ("contract", ["a", "Paris-based", "firm"])]:
        said = server.engram("datasets", "upload", f"based-{mode}", file, "--misaligned", mode).stdout
        assert "\"LOC\" from 2 to 7" in said
        sample = server.json("datasets", "upload", f"based-{mode}", file, "--misaligned", mode)["report"]["training"]["sample"]
        assert sample["words"] == words and sample["tags"][1] == ("-" if mode == "contract" else "B-LOC")
    refused = server.engram("datasets", "upload", "based-strict", file, "--misaligned", "strict", check=False)
    assert refused.returncode != 0 and "line 1" in refused.stderr and "--misaligned" in refused.stderr
