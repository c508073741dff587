"""Files as people have them: the small inputs that failed once, and whole public corpora. Each is uploaded with the real
CLI, and what was stored is compared with an independent reading of the file (Python's csv and json, seqeval)."""
import csv
import gzip
import io
import json
import pathlib
import random
import re

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from conftest import ROOT

SHARED = next((path for path in (ROOT.parent / "shared", ROOT.parent.parent / "shared") if path.is_dir()), ROOT.parent / "shared")
FIELD, CORPORA = SHARED / "field", SHARED / "data"


@pytest.fixture(scope="module")
def upload(module_server):
    """upload(file, *options) -> (the answer as JSON, the stored training rows); the data set is deleted again."""
    def call(path, *options):
        answer = module_server.json("datasets", "upload", "tried", path, *options)
        stored = module_server.folder / "data" / "datasets" / "tried" / "train.jsonl"
        rows = [json.loads(line) for line in stored.read_text(encoding="utf-8").splitlines()]
        module_server.engram("datasets", "delete", "tried", "--yes")
        return answer, rows
    return call


@pytest.fixture(scope="module")
def refusal(module_server):
    """refusal(file, *options) -> what is said on standard error; nothing must be stored."""
    def call(path, *options):
        answer = module_server.engram("datasets", "upload", "tried", path, *options, check=False)
        assert answer.returncode == 1, answer.stdout
        assert module_server.json("datasets", "list").get("datasets", []) == []
        return answer.stderr
    return call


def warnings(answer: dict, part: str = "training") -> dict:
    return {w["reason"]: w["message"] for w in answer["report"][part].get("warnings", [])}


def sample(part: dict) -> dict:
    """The first row as the answer shows it, without the fields that it does not have."""
    return {key: value for key, value in part["sample"].items() if value}


def tagged(rows: list) -> list:
    return [list(zip(row["words"], row["tags"])) for row in rows]


def write(folder: pathlib.Path, name: str, text: str) -> pathlib.Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def field(name: str) -> pathlib.Path:
    path = FIELD / name
    if not path.exists():
        pytest.skip(f"{path} is not at hand")
    return path


LABELLED = {
    "csv_labels_column.csv": [("Good", "pos"), ("Bad", "neg")],
    "jsonl_labels_key.jsonl": [("Good", "pos"), ("Bad", "neg")],
    "fasttext.txt": [("good film", "pos"), ("bad film", "neg")],
    "csv_label_variants.csv": [("Good", "pos"), ("Bad", "neg"), ("Great", "Pos"), ("Poor", "neg ")],
    "csv_space_after_comma.csv": [("Good film", " pos"), ("Bad film", " neg"), ("Fine film", "pos")],
    "csv_repeated_header.csv": [("Good", "pos"), ("Bad", "neg")],
    "csv_nan.csv": [("Good", "1.0"), ("Bad", "0.0"), ("Meh", "nan")],
    "csv_semicolon.csv": [("Good film", "pos"), ("Bad film", "neg")],
    "jsonl_array.json": [("x", "b"), ("y", "a")],
    "tsv_quote_swallows_row.tsv": [('"Wow, what a film', "pos"), ('A dull film, said the critic"', "neg"), ("Fine", "pos"), ("Bad", "neg")],
}
SAID = {
    "csv_label_variants.csv": ("LABEL_SPELLINGS", '"neg", "neg "; "Pos", "pos"'),
    "csv_space_after_comma.csv": ("LABEL_SPELLINGS", '" pos", "pos"'),
    "csv_repeated_header.csv": ("HEADER_REPEATED", "line 3"),
    "csv_nan.csv": ("LABEL_NAN", '"nan"'),
    "csv_semicolon.csv": ("SEPARATOR", '";"'),
    "tsv_quote_swallows_row.tsv": ("QUOTES_AS_TEXT", "line 2"),
}
TAGGED = {
    "conll_named.txt": ["Acme/B-ORG declines/O", "Ada/B-PER"],
    "conll_iob1_one_stray_B.conll": ["Acme/B-ORG declines/O Harbour/B-MISC"],
    "conll_bio2_one_stray_I.conll": ["San/O fila/B-ORG O/O", "East/B-ORG Rand/O"],
    "conll_bio2_one_stray_S.conll": ["From/O Paris/B-LOC to/O Easter/B-Occasion"],
    "conll_tag_I-O.conll": ["North/O Iron/O Mining/B-ORG"],
    "conll_nbsp_token.conll": ["Acme/B-ORG declines/O \u00a0/O Danish/B-MISC"],
    "germeval_index_first.conll": ["Oslo/O University/B-ORG opened/O", "Ada/O Berg/O"],
    "jsonl_hf_tokens_text.jsonl": ["Ada/B-PER lived/O"],
    "jsonl_words_bioes.jsonl": ["Ada/B-PER lived/O in/O London/B-LOC"],
}
REPAIRED = {
    "conll_iob1_one_stray_B.conll": 'line 3 tag "B-MISC"',
    "conll_bio2_one_stray_I.conll": 'line 5 tag "I-ORG"',
    "conll_bio2_one_stray_S.conll": 'line 4 tag "S-Occasion"',
    "conll_tag_I-O.conll": 'line 1 tag "I-O"',
}


@pytest.mark.parametrize("name", LABELLED)
def test_labelled_file(upload, name):
    answer, rows = upload(field(name))
    assert [(row["text"], row["label"]) for row in rows] == LABELLED[name]
    assert sample(answer["report"]["training"]) == dict(zip(("text", "label"), LABELLED[name][0]))
    if name in SAID:
        reason, part = SAID[name]
        assert part in warnings(answer)[reason]


@pytest.mark.parametrize("name", TAGGED)
def test_tagged_file(upload, refusal, name):
    answer, rows = upload(field(name))
    assert [" ".join(f"{word}/{tag}" for word, tag in row) for row in tagged(rows)] == TAGGED[name]
    if name in REPAIRED:
        assert REPAIRED[name] in warnings(answer)["TAGS_REPAIRED"]
        assert REPAIRED[name] in refusal(field(name), "--strict")
    else:
        assert "TAGS_REPAIRED" not in warnings(answer)


def test_outer_entities_are_chosen_by_column(upload):
    answer, rows = upload(field("germeval_index_first.conll"))
    assert "--tag-column" in warnings(answer)["SEVERAL_TAG_COLUMNS"] and "--word-column" in warnings(answer)["INDEX_COLUMN"]
    _, rows = upload(field("germeval_index_first.conll"), "--tag-column", "3", "--word-column", "2")
    assert tagged(rows)[0] == [("Oslo", "B-LOC"), ("University", "O"), ("opened", "O")]


def test_a_label_and_entities(upload, refusal):
    path = field("jsonl_label_and_entities.jsonl")
    assert "--kind classification or --kind tagging" in refusal(path)
    _, rows = upload(path, "--kind", "classification")
    assert [row["label"] for row in rows] == ["flight", "hotel"]
    answer, rows = upload(path, "--kind", "tagging")
    assert tagged(rows)[0] == [("Fly", "O"), ("to", "O"), ("Oslo", "B-City")]
    assert '"label"' in warnings(answer)["COLUMNS_NOT_READ"]


def test_every_small_file_is_read_or_refused_with_a_way_on(module_server):
    if not FIELD.is_dir():
        pytest.skip(f"{FIELD} is not at hand")
    for path in sorted(p for p in FIELD.iterdir() if p.is_file() and p.name != "README.md"):
        answer = module_server.engram("datasets", "upload", "walked", path, check=False)
        assert answer.returncode == 0 or "--" in answer.stderr, f"{path.name}: {answer.stderr}"
        if answer.returncode == 0:
            module_server.engram("datasets", "delete", "walked", "--yes")


# Corpora: what is stored equals what an independent reader sees.

def corpora(pattern: str) -> list:
    return sorted(CORPORA.glob(pattern)) if CORPORA.is_dir() else []


@pytest.mark.parametrize("path", corpora("classification/*/*.jsonl.gz"), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_classification_corpus(upload, path):
    expected = [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]
    answer, rows = upload(path)
    assert rows == [{"text": row["text"], "label": row["label"]} for row in expected]
    counts = {count["label"]: int(count["count"]) for count in answer["report"]["training"]["labels"]}
    assert counts == {label: sum(row["label"] == label for row in expected) for label in {row["label"] for row in expected}}


@pytest.mark.parametrize("path", corpora("ner/*/*.conll.gz"), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_ner_corpus(upload, path):
    sentences = [[]]
    for line in gzip.open(path, "rt", encoding="utf-8", newline="\n"):
        if line.strip():
            word, tag = line.rstrip("\r\n").split("\t")
            sentences[-1].append((word or " ", tag))  # a word that is lost keeps its place
        elif sentences[-1]:
            sentences.append([])
    sentences = [s for s in sentences if s]
    answer, rows = upload(path)
    assert [[word for word, _ in s] for s in tagged(rows)] == [[word for word, _ in s] for s in sentences]
    for found, expected in zip(tagged(rows), sentences):
        assert get_entities([tag for _, tag in found]) == get_entities([tag for _, tag in expected])
    assert int(answer["training_rows"]) == len(sentences)


def test_random_tags_are_read_as_seqeval_reads_them(upload, tmp_path):
    random.seed(5)
    sentences = [[random.choice(["O", "B-x", "I-x", "E-x", "S-x", "B-y", "I-y", "E-y", "S-y"]) for _ in range(random.randint(1, 9))]
                 for _ in range(500)]
    text = "\n".join("".join(f"w{i} {tag}\n" for i, tag in enumerate(tags)) for tags in sentences)
    _, rows = upload(write(tmp_path, "random.conll", text))
    assert [get_entities(row["tags"]) for row in rows] == [get_entities(tags) for tags in sentences]
    lines = "".join(json.dumps({"tokens": ["w"] * len(tags), "ner_tags": tags}) + "\n" for tags in sentences)
    _, rows = upload(write(tmp_path, "random.jsonl", lines))
    assert [get_entities(row["tags"]) for row in rows] == [get_entities(tags) for tags in sentences]


def random_cell() -> str:
    return "x" + "".join(random.choice(["a", " ", ",", ";", '"', "\n", "é", "😀", "'"]) for _ in range(random.randint(0, 8))) + "y"


@pytest.mark.parametrize("separator", [",", ";", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_random_tables_are_read_as_pythons_csv_reads_them(upload, tmp_path, separator, line_end):
    random.seed(7)
    rows = [[random_cell(), random.choice(["a", "b", "c d"])] for _ in range(300)]
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=line_end).writerows([["text", "label"], *rows])
    path = tmp_path / "random.csv"
    path.write_bytes(out.getvalue().encode())
    _, stored = upload(path)
    with open(path, newline="", encoding="utf-8") as file:
        expected = list(csv.reader(file, delimiter=separator))[1:]
    assert [[row["text"], row["label"]] for row in stored] == expected == rows


def test_a_tsv_without_quoting_is_read_as_pythons_csv_reads_it(upload, tmp_path):
    random.seed(9)
    rows = [[random_cell().replace("\n", "").replace("x", random.choice(["", '"']), 1), random.choice("ab")] for _ in range(300)]
    # A cell that is quoted whole is the one exception.
    rows = [row for row in rows if not re.fullmatch(r'"([^"]|"")*"', row[0])]
    path = write(tmp_path, "random.tsv", "".join("\t".join(row) + "\n" for row in [["text", "label"], *rows]))
    _, stored = upload(path)
    with open(path, newline="", encoding="utf-8") as file:
        expected = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    assert [[row["text"], row["label"]] for row in stored] == expected == rows


def test_the_answer_says_how_a_file_was_understood(module_server, tmp_path):
    train = write(tmp_path, "train.csv", "text,category\n" + "".join(f"row {i},{'ab'[i % 2]}\n" for i in range(40)))
    test = write(tmp_path, "test.csv", "text,category\nrow 3,b\nnew,a\n")
    answer = module_server.json("datasets", "upload", "understood", train, "--test", test)
    report = answer["report"]
    assert report["training"]["format"] == "csv"
    assert report["training"]["columns"] == [{"column": "text", "role": "text"}, {"column": "category", "role": "label"}]
    assert sample(report["training"]) == {"text": "row 0", "label": "a"}
    assert {c["label"]: int(c["count"]) for c in report["training"]["labels"]} == {"a": 20, "b": 20}
    assert report["warnings"][0]["reason"] == "TEST_IN_TRAINING" and '"row 3"' in report["warnings"][0]["message"]
    shown = module_server.engram("datasets", "upload", "understood", train, "--test", test).stdout
    assert "category = label" in shown and "row 0  ->  a" in shown and "a 20, b 20" in shown
    assert "warning: 1 row(s) of the test part also stand in the training part" in shown
    assert "report" not in module_server.json("datasets", "show", "understood")
