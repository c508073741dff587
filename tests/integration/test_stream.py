"""What a training says of the tasks before it: measured before and after, the matrix and its drawing, the limit to forgetting; and texts that are forgotten."""
import json
import xml.etree.ElementTree

import grpc
import pytest

from conftest import error_info, messages
from small_models import make, tokenizer

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def server(module_server, tmp_path_factory):
    """Model `m`, and data sets `a` and `b`: other first words, other labels."""
    folder = tmp_path_factory.mktemp("stream")
    tiny = make("bert", "Model", folder / "tiny", num_hidden_layers=1, hidden_size=16, intermediate_size=16, num_attention_heads=2)
    module_server.engram("models", "import", "m", tiny)
    module_server.base = tiny
    for name, words in (("a", ("red", "green", "blue")), ("b", ("cat", "dog", "cow"))):
        for part, count, shift in (("train", 45, 0), ("test", 30, 1)):
            rows = [{"text": f"{words[i % 3]} {name} number {i + shift}" + " and so on" * (i % 4 == 3), "label": words[(i + (i % 7 == 0)) % 3]} for i in range(count)]
            (folder / f"{name}.{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        module_server.engram("datasets", "upload", name, folder / f"{name}.train.jsonl", "--test", folder / f"{name}.test.jsonl")
    module_server.rows = {name: [json.loads(line) for line in (folder / f"{name}.train.jsonl").read_text().splitlines()] for name in "ab"}
    return module_server


def learn(server, task, base, label, *options):
    return server.json("start-task", "m", task, "--dataset", task, "--from", base, "--label", label, "--epochs", "4", "--set", "lr=0.02", *options, "--wait")


def scores(job, metric="accuracy"):
    return {m["task"].rsplit("/")[-1]: m for m in job["result"]["metrics"] if m["metric"] == metric}


def test_before_and_after(server, tmp_path):
    first = learn(server, "a", "1", "first", "--strategy", "naive")
    assert set(scores(first)) == {"a"} and "before" not in scores(first)["a"]
    second = learn(server, "b", "first", "second", "--strategy", "naive", "--set", "lr=0.2")  # wide of the mark: the encoder is spoilt for a
    accuracy = scores(second)
    assert set(accuracy) == {"a", "b"} and "before" not in accuracy["b"]
    assert accuracy["a"]["before"] == scores(first)["a"]["value"] and accuracy["a"]["part"] == "MEASURED_PART_TEST"
    # An evaluation of the same version finds the same.
    again = scores(server.json("evaluate", "m@second", "--wait"))
    assert {task: m["value"] for task, m in again.items()} == {task: m["value"] for task, m in accuracy.items()}
    # The matrix, in the result and with the version.
    [stream] = second["result"]["stream_metrics"]
    matrix = {row["after"].rsplit("/")[-1]: {s["task"].rsplit("/")[-1]: s["value"] for s in row["scores"]} for row in stream["rows"]}
    assert matrix == {"a": {"a": scores(first)["a"]["value"]}, "b": {task: m["value"] for task, m in accuracy.items()}}
    assert stream["backward_transfer"] == pytest.approx(matrix["b"]["a"] - matrix["a"]["a"])
    # In words, and drawn.
    change = 100 * (accuracy["a"]["value"] - accuracy["a"]["before"])
    assert abs(change) >= 1, "the training is to forget something, or this test shows little"
    said = server.engram("jobs", "show", second["name"]).stdout
    assert ("gained" if change > 0 else "lost") + f" {abs(change):.1f} on a" in said
    server.engram("models", "show", "m", "--heat-map", tmp_path / "shown.svg")
    server.engram("evaluate", "m@second", "--heat-map", tmp_path / "evaluated.svg")
    for name in ("shown.svg", "evaluated.svg"):
        drawing = xml.etree.ElementTree.parse(tmp_path / name).getroot()
        cells = {rect.find(f"{SVG}title").text for rect in drawing.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None}
        assert cells == {"a after a", "a after b", "b after b"}, name
        assert f"{100 * accuracy['a']['value']:.1f}" in {text.text for text in drawing.iter(f"{SVG}text")}
    assert not (tmp_path / "shown.svg").read_text().count("<script")


def test_earlier_tasks_can_be_left_unmeasured(server):
    made = learn(server, "b", "first", "alone", "--strategy", "naive", "--set", "measure_earlier=false")
    assert set(scores(made)) == {"b"}
    refused = server.engram("models", "promote", "m", "alone", "--max-loss", "50", check=False)
    assert refused.returncode != 0 and "of a is not known" in refused.stderr


def test_a_version_that_forgot_too_much_is_not_promoted(server):
    lost = 100 * (scores(server.json("jobs", "show", job_of(server, "first")))["a"]["value"] - scores(server.json("jobs", "show", job_of(server, "second")))["a"]["value"])
    assert lost > 1, lost
    refused = server.engram("models", "promote", "m", "second", "--max-loss", f"{lost - 0.5:.3f}", check=False)
    assert refused.returncode != 0 and f"a lost {lost:.2f} points of accuracy" in refused.stderr
    assert "stable" not in server.json("models", "list")["models"][0].get("labels", {})
    server.engram("models", "promote", "m", "second", "--max-loss", f"{lost + 0.5:.3f}")
    assert server.json("models", "list")["models"][0]["labels"]["stable"] == server.json("models", "list")["models"][0]["labels"]["second"]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(grpc.RpcError) as raised:
            server.stub("ModelService").SetLabel(messages().SetLabelRequest(model="m", label="x", version="1", max_loss=wrong))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT and error_info(raised.value)[1] == ["max_loss"]


def test_the_strength_is_searched(server):
    learn(server, "a", "1", "known", "--strategy", "naive")
    server.engram("consolidate-task", "m@known", "a", "--label", "kept", "--wait")
    auto = ("--strategy", "ewc", "--lambda", "auto", "--set", "lambda_grid=1,0,1000")
    planned, plain = (server.json("start-task", "m", "b", "--dataset", "b", "--from", "kept", *options, "--validate-only")
                      for options in (auto, ("--strategy", "ewc")))
    assert planned["options"]["lambda"] == "auto" and planned["options"]["lambda_grid"] == "0,1,1000" and "lambda_grid" not in plain["options"]
    assert int(planned["estimate"]["total_tokens"]) == 4 * int(plain["estimate"]["total_tokens"])
    job = learn(server, "b", "kept", "searched", *auto)
    sweep = job["result"]["strength_sweep"]
    points = [(p.get("strength", 0), p.get("new_score", 0), p.get("earlier_score", 0)) for p in sweep["points"]]
    assert [strength for strength, _, _ in points] == [0, 1e3, 1e6] and sweep["option"] == "lambda"
    # Nine rows are held out of b; a is measured on the rows that it was trained on.
    for point in sweep["points"]:
        assert {m["task"].rsplit("/")[-1]: (int(m["count"]), m["part"]) for m in point["metrics"]} == {
            "a": (45, "MEASURED_PART_TRAINING"), "b": (9, "MEASURED_PART_VALIDATION")}
    best = max(new for _, new, _ in points)
    tolerance = max(0.01, (best * (1 - best) / 9) ** 0.5)
    assert sweep["tolerance"] == pytest.approx(tolerance)
    good = [(earlier, -strength) for strength, new, earlier in points if new >= best - tolerance - 1e-9]
    assert sweep.get("chosen", 0) == -max(good)[1]
    version = next(v for v in server.json("models", "show", "m")["versions"] if "searched" in v.get("labels", []))
    assert float(version["strategy_options"]["lambda"]) == sweep.get("chosen", 0)
    shown = server.engram("jobs", "show", job["name"]).stdout
    assert "tried on held-out texts:" in shown and shown.count("chosen") == 1


@pytest.mark.parametrize("base, options, said", [
    ("kept", ("--strategy", "naive", "--lambda", "auto"), "is no option of naive"),
    ("1", ("--strategy", "kfac_ewc", "--lambda", "auto"), "no earlier classifier or tagger"),
    ("kept", ("--lambda", "auto", "--set", "lambda_grid=0,x"), '"x", which is no number'),
    ("kept", ("--lambda", "auto", "--set", "lambda_grid=0,-1"), "takes [0, 1e9]"),
    ("kept", ("--lambda", "auto", "--set", "lambda_grid=1,1"), "give 2 to 20"),
    ("kept", ("--set", "lambda_grid=0,1"), "says what lambda=auto tries"),
    ("kept", ("--lambda", "auto", "--kind", "mlm"), "which weighs accuracies"),
    ("kept", ("--lambda", "much"), "takes a number or auto"),
])
def test_a_search_that_cannot_be(server, base, options, said):
    refused = server.engram("start-task", "m", "c", "--dataset", "b", "--from", base, *options, check=False)
    assert refused.returncode != 0 and said in refused.stderr, refused.stderr


def test_a_cross_validation_takes_a_strength_by_number(server):
    refused = server.engram("cross-validate", "m", "c", "--dataset", "b", "--from", "kept", "--lambda", "auto", check=False)
    assert refused.returncode != 0 and "is auto, which a cross-validation does not take" in refused.stderr


def job_of(server, label):
    return next(v["job"] for v in server.json("models", "show", "m")["versions"] if label in v.get("labels", []))


def memories(server, label):
    version = next(v for v in server.json("models", "show", "m")["versions"] if label in v.get("labels", []))
    return {m["strategy"]: m for m in version.get("memories", [])}


def test_texts_are_listed_and_forgotten(server, tmp_path):
    learn(server, "a", "1", "replayed", "--strategy", "er", "--set", "memory_size=30")
    learn(server, "b", "replayed", "both", "--strategy", "er", "--set", "memory_size=30")
    held = memories(server, "both")["er"]
    assert held["texts"] == 30 and {t["task"].rsplit("/")[-1]: t["texts"] for t in held["tasks"]} == {"a": 15, "b": 15}
    assert {t["dataset"] for t in held["tasks"]} == {"datasets/a", "datasets/b"} and held["size_bytes"] > 0
    assert "er" in server.engram("models", "show", "m").stdout

    def numbers(label):
        server.engram("models", "export", f"m@{label}", tmp_path / label)
        from safetensors.numpy import load_file
        kept = load_file(tmp_path / label / "memory" / "er.safetensors")
        return list(zip(kept["examples.task"].tolist(), kept["examples.source"].tolist())), json.loads((tmp_path / label / "engram.json").read_text())

    rows, manifest = numbers("both")
    [entry] = manifest["memory"]
    assert entry["rows"] == 30 and entry["tasks"] == {"a": 15, "b": 15}
    names = sorted({t for t, _ in rows})
    first_a = [source for task, source in rows if task == names[0]][0]

    # One row of a data set, in every version that holds it.
    refused = server.engram("models", "forget", "m", "--dataset", "a", "--row", first_a + 1, check=False, stdin="")
    assert refused.returncode != 0 and "--yes" in refused.stderr
    answer = server.json("models", "forget", "m", "--dataset", "a", "--row", first_a + 1, "--yes")
    assert answer["versions"] and all(v["texts"] == 1 for v in answer["versions"])
    assert memories(server, "both")["er"]["texts"] == 29
    # One text, whatever its case: the tokenizer does not tell them apart, and neither does the memory.
    stored = server.rows["b"][[source for task, source in rows if task == names[1]][0]]["text"]
    answer = server.json("models", "forget", "m", "--text", stored.upper(), "--yes")
    assert [v["texts"] for v in answer["versions"]] == [1] and memories(server, "both")["er"]["texts"] == 28
    assert "no version keeps" in server.engram("models", "forget", "m", "--text", stored, "--yes").stdout
    # A text that begins as a stored one does is another text, but for one as long as the longest, which may have been cut.
    lengths = {source: len(tokenizer(server.base)(server.rows["b"][source]["text"])["input_ids"]) for task, source in rows if task == names[1]}
    short = min(lengths, key=lengths.get)
    assert lengths[short] < max(lengths.values()), "the texts are to differ in length"
    assert not server.json("models", "forget", "m", "--text", server.rows["b"][short]["text"] + " and more of it", "--yes").get("versions")
    assert memories(server, "both")["er"]["texts"] == 28
    # Of a text that was cut all of it counts, not how it begins.
    learn(server, "b", "1", "cut", "--strategy", "er", "--set", "memory_size=30", "--set", "max_length=8")
    cut, manifest = numbers("cut")
    held = manifest["memory"][0]["rows"]
    whole = next(text for text in (server.rows["b"][source]["text"] for _, source in cut) if text.endswith(" and so on"))
    other = " ".join([*whole.split()[:6], "forth", "and", "on"])
    first = [tokenizer(server.base)(text)["input_ids"] for text in (whole, other)]
    assert len(first[0]) > 8 and first[0][:7] == first[1][:7], "the same up to where they are cut"
    assert not server.json("models", "forget", "m", "--text", other, "--yes").get("versions")
    assert server.json("models", "forget", "m", "--text", whole, "--yes")["versions"]
    assert memories(server, "cut")["er"]["texts"] == held - 1
    # All of a data set: the version still loads, exports, and is learned from.
    answer = server.json("models", "forget", "m", "--dataset", "datasets/a", "--yes")
    assert {v["version"] for v in answer["versions"]} == {v["name"] for v in server.json("models", "show", "m")["versions"] if {"both", "replayed"} & set(v.get("labels", []))}
    assert {t["task"].rsplit("/")[-1] for t in memories(server, "both")["er"]["tasks"]} == {"b"}
    assert memories(server, "replayed")["er"].get("texts", 0) == 0
    learn(server, "a", "both", "after", "--strategy", "er", "--set", "memory_size=30")
    server.engram("models", "export", "m@both", tmp_path / "again")
    left = (tmp_path / "again" / "memory" / "er.safetensors").stat().st_size
    assert left < (tmp_path / "both" / "memory" / "er.safetensors").stat().st_size


@pytest.mark.parametrize("words, part", [((), "what is to be forgotten"), (("--row", "1"), "--dataset"), (("--dataset", "a", "--row", "0"), "counted from 1")])
def test_a_wrong_request_to_forget(server, words, part):
    refused = server.engram("models", "forget", "m", *words, "--yes", check=False)
    assert refused.returncode != 0 and part in refused.stderr
