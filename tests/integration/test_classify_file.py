"""engram classify --file --out: the file comes back record by record with the results beside it, in any format, whatever stands in it."""
import csv
import gzip
import json
import subprocess

import pytest

from conftest import BUILD
from small_models import TAGS, make

TEXTS = ["Where is my card?", 'It says "declined", why?', "two\nlines", "I lost it; help"]


@pytest.fixture(scope="module")
def model(shared_server):
    shared_server.engram("start-task", "base@1", "filed", "--dataset", "banking77", "--epochs", "1", "--label", "filed", "--wait")
    return shared_server


@pytest.fixture(scope="module")
def expected(model):
    """The most probable label of each of TEXTS, asked for one by one."""
    answers = [model.json("classify", "base@filed", text, "--top-k", "1") for text in TEXTS]
    return [answer["results"][0]["tasks"][0]["scores"][0]["label"] for answer in answers]


def classify(model, path, out, *options, check=True):
    return model.engram("classify", "base@filed", "--file", path, "--out", out, *options, check=check)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_a_table_keeps_its_columns(model, expected, tmp_path, separator, line_end):
    path, out = tmp_path / "my texts.csv", tmp_path / "out.csv"
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=separator, lineterminator=line_end).writerows([["id", "body", "filed"], *[[i, t, "é"] for i, t in enumerate(TEXTS)]])
    said = classify(model, path, out, "--text-column", "body").stdout
    assert said == f"4 records written to {out}, 0 without a result\n"
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "body", "filed", "predicted_filed", "filed_probability", "error"]
    assert [(row["id"], row["body"], row["filed"]) for row in rows] == [(str(i), t, "é") for i, t in enumerate(TEXTS)]
    assert [row["predicted_filed"] for row in rows] == expected
    assert all(0 < float(row["filed_probability"]) <= 1 and not row["error"] for row in rows)
    lines = tmp_path / "out.jsonl"
    assert json.loads(model.engram("--json", "classify", "base@filed", "--file", path, "--out", lines, "--text-column", "body", "--top-k", "2").stdout) == {
        "out": str(lines), "records": 4, "without_result": 0}
    objects = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [(o["id"], o["body"], o["filed"]) for o in objects] == [(str(i), t, "é") for i, t in enumerate(TEXTS)]
    assert [o["tasks"]["filed"][0]["label"] for o in objects] == expected and all(len(o["tasks"]["filed"]) == 2 for o in objects)


@pytest.mark.parametrize("name", ["in.csv.gz", "in.csv"])
def test_gzip_is_unpacked_and_its_members_are_one_file(model, expected, tmp_path, name):
    path, out = tmp_path / name, tmp_path / "out.csv"
    path.write_bytes(gzip.compress(f"text,id\n{TEXTS[0]},1\n".encode()) + gzip.compress(f"{TEXTS[3]},2\n".encode()))
    classify(model, path, out)
    with open(out, newline="") as file:
        assert [(row["id"], row["filed"]) for row in csv.DictReader(file)] == [("1", expected[0]), ("2", expected[3])]
    path.write_bytes(gzip.compress(b"text,id\n" + bytes(TEXTS[0], "ascii") * 9999)[:-9])
    broken = classify(model, path, out, check=False)
    assert broken.returncode != 0 and "read" in broken.stderr


def test_every_line_has_its_result(model, expected, tmp_path):
    path, out = tmp_path / "lines.txt", tmp_path / "out.tsv"
    path.write_text(f"{TEXTS[0]}\n\n{TEXTS[1]}\n \n{TEXTS[3]}", encoding="utf-8")
    assert "5 records written" in classify(model, path, out).stdout
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows[0] == ["text", "filed", "filed_probability", "error"]
    assert [row[0] for row in rows[1:]] == [TEXTS[0], "", TEXTS[1], " ", TEXTS[3]]
    assert [row[1] for row in rows[1:]] == [expected[0], "", expected[1], "", expected[3]]
    assert [row[3] for row in rows[1:]] == ["", "the line is empty", "", "the line is empty", ""]


def test_a_record_without_a_result_says_why_and_costs_no_other(model, expected, tmp_path):
    path, out = tmp_path / "odd.csv", tmp_path / "out.csv"
    path.write_bytes(f'text,id\n{TEXTS[0]},1\nmore,2,3\n\nless\n"open, 4\n{TEXTS[3]},5\ncaf'.encode() + b"\xe9,6\n" + f"{TEXTS[0]},7\n".encode())
    answer = classify(model, path, out, check=False)
    assert answer.returncode == 1 and "8 records written" in answer.stdout and "5 without a result" in answer.stdout
    with open(out, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[4] for row in rows] == ["", "the record has 3 cells where the header has 2", "the line is empty", "the record has 1 cells where the header has 2",
                                        "the record has a quote that is never closed", "",
                                        "the record is not UTF-8; if the file is Latin-1, convert it first (iconv -f WINDOWS-1252 -t UTF-8)", ""]
    assert [row[2] for row in rows] == [expected[0], "", "", "", "", expected[3], "", expected[0]]
    assert rows[1] == ["more", "2", "", "", "the record has 3 cells where the header has 2", "3"]  # what is beyond the header stands last
    assert rows[4][0] == '"open, 4'


def test_objects_keep_their_members(model, expected, tmp_path):
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"q": "%s", "n": 1.50, "tasks": 3}\n\n{"q": 7}\n' % TEXTS[0])
    answer = classify(model, path, out, "--text-column", "q", check=False)
    assert answer.returncode == 1
    lines = out.read_text().splitlines()
    assert lines[0].startswith('{"q": "%s", "n": 1.50, "tasks": 3,' % TEXTS[0])
    first, empty, bad = map(json.loads, lines)
    assert first["tasks"] == 3 and first["predicted_tasks"]["filed"][0]["label"] == expected[0]
    assert empty == {"line": "", "error": "the line is empty"}
    assert bad == {"q": 7, "error": 'the record has no text under "q"'}


@pytest.mark.parametrize("name, content, message", [
    ("in.csv", b"a,b\n1,2\n", '"a", "b": name one with --text-column'),
    ("in.csv", b"text,text\n1,2\n", 'two columns are named "text"'),
    ("in.csv", b"", "empty"),
    ("in.csv", b"<!DOCTYPE html><html>", "web page"),
    ("in.csv", "caf\xe9,b\n".encode("latin-1"), "iconv -f WINDOWS-1252"),
    ("in.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "Git LFS pointer"),
])
def test_what_cannot_be_read_is_named(model, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    answer = classify(model, path, tmp_path / "out.csv", check=False)
    assert answer.returncode == 2 and message in answer.stderr, answer.stderr
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-8-sig"])
def test_every_way_of_writing_the_same_rows_has_the_same_results(model, expected, tmp_path, encoding):
    table, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    with open(table, "w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([["text", "id"], *[[t, i] for i, t in enumerate(TEXTS)]])
    tabs = tmp_path / "in.tsv"
    tabs.write_text("".join('"' + t.replace('"', '""') + f'"\t{i}\n' for i, t in enumerate(["text", *TEXTS], -1)).replace("-1", "id"), encoding=encoding)
    rows = [{"text": t, "id": i} for i, t in enumerate(TEXTS)]
    for name, content in (("list.json", json.dumps(rows, indent=1)), ("lines.jsonl", "\n".join(map(json.dumps, rows))),
                          ("spread.json", "\n".join(json.dumps(row, indent=2) for row in rows))):
        (tmp_path / name).write_text(content, encoding=encoding)
    for name in ("in.csv", "in.tsv", "list.json", "lines.jsonl", "spread.json"):
        assert "4 records written" in classify(model, tmp_path / name, out).stdout, name
        objects = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert [(o["text"], int(o["id"])) for o in objects] == list(zip(TEXTS, range(4))), name
        assert [o["tasks"]["filed"][0]["label"] for o in objects] == expected, name


def test_the_first_results_come_while_the_input_goes_on(model, expected, tmp_path):
    out = tmp_path / "out.csv"
    command = [BUILD / "bin" / "engram", "--address", model.grpc, "classify", "base@filed", "--file", "-", "--out", out]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        process.stdin.write((TEXTS[0] + "\n").encode() * 8)
        process.stdin.flush()
        while not out.exists() or out.read_text().count("\n") < 9:
            assert process.poll() is None
        process.stdin.write((TEXTS[3] + "\n").encode())
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    with open(out, newline="") as file:
        assert [row["filed"] for row in csv.DictReader(file)] == [expected[0]] * 8 + [expected[3]]


def test_entities_are_written_beside_the_rows(model, tmp_path):
    directory = make("bert", "ForTokenClassification", tmp_path / "model", TAGS)
    model.engram("models", "import", "file-tagger", directory)
    texts = ["anna lives in berlin", "", 'john, of "paris"', "it rains"]
    wanted = [model.json("tag-entities", "file-tagger", t)["results"][0].get("entities", []) if t else None for t in texts]
    wanted = [w if w is None else [(e["type"], e["text"], int(e["start"]), int(e["end"])) for e in w] for w in wanted]
    assert sum(len(w or []) for w in wanted) > 2
    table, out, lines = tmp_path / "in.csv", tmp_path / "out.csv", tmp_path / "out.jsonl"
    with open(table, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "body"], *[[i, t] for i, t in enumerate(texts)]])
    for path in (out, lines):
        assert "4 records written" in model.engram("tag-entities", "file-tagger", "--file", table, "--text-column", "body", "--out", path).stdout
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    objects = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert list(rows[0]) == ["id", "body", "entities", "error"] and [row["body"] for row in rows] == texts
    for row, o, w in zip(rows, objects, wanted, strict=True):
        if w is None:
            assert row["entities"] == "" and row["error"] == o["error"] == "the line is empty"
            continue
        for entities in (json.loads(row["entities"]), o["entities"]):
            assert [(e["type"], e["text"], e["start"], e["end"]) for e in entities] == w
            assert all(0 < e["score"] <= 1 for e in entities)
    refused = model.engram("tag-entities", "file-tagger", "a", "--out", out, check=False)
    assert refused.returncode == 2 and "--out needs --file" in refused.stderr
