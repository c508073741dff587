"""A router that picks the task of a text, strategies in composition, tasks with masks of one update, and how long texts are kept."""
import json

import grpc
import pytest

from conftest import error_info, messages
from small_models import make

WORDS = {"a": ("red", "green", "blue"), "b": ("cat", "dog", "cow")}


@pytest.fixture(scope="module")
def server(module_server, tmp_path_factory):
    """Model `m`, and data sets `a` and `b` of other words."""
    folder = tmp_path_factory.mktemp("routing")
    module_server.base = make("bert", "Model", folder / "tiny", num_hidden_layers=1, hidden_size=16, intermediate_size=16, num_attention_heads=2)
    module_server.engram("models", "import", "m", module_server.base)
    module_server.rows = {}
    for name, words in WORDS.items():
        rows = [{"text": f"{words[i % 3]} number {i}", "label": words[i % 3]} for i in range(45)]
        module_server.rows[name] = rows
        for part, some in (("train", rows[:30]), ("test", rows[30:])):
            (folder / f"{name}.{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
        module_server.engram("datasets", "upload", name, folder / f"{name}.train.jsonl", "--test", folder / f"{name}.test.jsonl")
    rows = [{"text": row["text"], "label": "red" if i % 2 else "blue"} for i, row in enumerate(module_server.rows["b"][:6])]
    (folder / "strange.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    module_server.engram("datasets", "upload", "strange", folder / "strange.jsonl")
    return module_server


def learn(server, task, base, label, *options, model="m"):
    return server.json("start-task", model, task, "--dataset", task, "--from", base, "--label", label, "--epochs", "4", "--set", "lr=0.02", *options, "--wait")


def manifest(server, model, number):
    return json.loads((server.folder / "data" / "models" / model / "versions" / str(number) / "engram.json").read_text())


def number_of(server, label, model="m"):
    return next(v["name"].rsplit("/")[-1] for v in server.json("models", "show", model)["versions"] if label in v.get("labels", []))


def tensor_bytes(path):
    data = path.read_bytes()
    return len(data) - 8 - int.from_bytes(data[:8], "little")


def classify(server, **request):
    return server.stub("InferenceService").Classify(messages().ClassifyRequest(model="m", **request))


@pytest.fixture(scope="module")
def routed(server):
    """Versions `one` and `two`, with a router from the first training on, which the second one goes on with by itself."""
    learn(server, "a", "1", "one", "--strategy", "er", "--set", "router=true")
    return learn(server, "b", "one", "two", "--strategy", "er+lwf", "--set", "er.replay_batch=8", "--set", "lwf.alpha=0.5")


def test_a_text_goes_to_its_task(server, routed, tmp_path):
    texts = ["the red one", "a dog of mine", "blue", "cat and cow"]
    answer = classify(server, version="two", texts=texts, route=True)
    assert [[t.task.rsplit("/")[-1] for t in r.tasks] for r in answer.results] == [["a"], ["b"], ["a"], ["b"]]
    assert all(0.5 < r.tasks[0].routing_probability <= 1 for r in answer.results)
    # The task's own answer, to the bit.
    for i, task in enumerate("abab"):
        named = classify(server, version="two", texts=[texts[i]], task=task).results[0].tasks[0]
        assert [s.label for s in named.scores] == [s.label for s in answer.results[i].tasks[0].scores]
        assert [s.logit for s in named.scores] == pytest.approx([s.logit for s in answer.results[i].tasks[0].scores], abs=1e-5)
        assert not named.HasField("routing_probability")
    said = server.engram("classify", "m@two", "a dog of mine", "--route").stdout
    assert "the router's choice" in said and "  a " not in said
    (tmp_path / "texts.csv").write_text("text\na dog\nred\n")
    server.engram("classify", "m@two", "--file", tmp_path / "texts.csv", "--out", tmp_path / "out.csv", "--route")
    head, *rows = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()]
    assert head[1:5] == ["task", "task_probability", "label", "label_probability"] and [row[1] for row in rows] == ["b", "a"]


def test_its_accuracy_is_measured(server, routed):
    def measured(job):
        return {m["task"].rsplit("/")[-1]: m for m in job["result"]["metrics"] if m["metric"] == "routing_accuracy"}

    assert {task: int(m["count"]) for task, m in measured(routed).items()} == {"a": 15, "b": 15}
    evaluated = measured(server.json("evaluate", "m@two", "--wait"))
    assert {task: m["value"] for task, m in evaluated.items()} == {task: m["value"] for task, m in measured(routed).items()}
    assert all(m["value"] == 1 for m in evaluated.values()), "no word of one task is in the other"
    # Texts of the other task under labels of this one: none of them is led here.
    assert measured(server.json("evaluate", "m@two", "--task", "a", "--dataset", "strange", "--wait"))["a"]["value"] == 0


def test_no_router_no_route(server, routed):
    with pytest.raises(grpc.RpcError) as caught:
        classify(server, version="two", texts=["red"], route=True, task="a")
    assert error_info(caught.value)[1] == ["route"]
    refused = server.engram("start-task", "m", "words", "--dataset", "a", "--kind", "mlm", "--set", "router=true", check=False)
    assert refused.returncode != 0 and "router" in refused.stderr
    learn(server, "a", "1", "plain", "--strategy", "naive")
    with pytest.raises(grpc.RpcError) as caught:
        classify(server, version="plain", texts=["red"], route=True)
    assert error_info(caught.value)[0].reason == "NO_ROUTER" and "router=true" in caught.value.details()


def test_the_version_lists_router_and_memory_with_their_age(server, routed):
    kept = {m["strategy"]: m for m in manifest(server, "m", number_of(server, "two"))["memory"]}
    assert set(kept) == {"router", "er"}, "a composition keeps the memory of its part"
    assert set(kept["er"]["kept_since"]) == {"a", "b"} and kept["router"]["rows"] == 0
    memories = next(v for v in server.json("models", "show", "m")["versions"] if "two" in v.get("labels", []))["memories"]
    dated = {t["task"].rsplit("/")[-1]: t["kept_since"] for m in memories for t in m.get("tasks", [])}
    assert set(dated) == {"a", "b"} and dated["a"] <= dated["b"]
    assert dated["a"][:10] in server.engram("models", "show", "m").stdout


def test_compositions_are_refused_by_name(server):
    for strategy, part in (("lwf+er", "er comes before lwf"), ("er+frozen", "frozen combines with no other"), ("er+mas", "both keep a memory")):
        refused = server.engram("start-task", "m", "a", "--dataset", "a", "--strategy", strategy, check=False)
        assert refused.returncode != 0 and part in refused.stdout + refused.stderr
    refused = server.engram("start-task", "m", "a", "--dataset", "a", "--strategy", "er+lwf", "--set", "alpha=1", check=False)
    assert refused.returncode != 0 and "alpha" in refused.stdout + refused.stderr


def test_masks_of_one_update_are_stored_and_served(server, tmp_path):
    learn(server, "a", "1", "masked-a", "--strategy", "merge", "--set", "method=emr")
    job = learn(server, "b", "masked-a", "masked", "--strategy", "merge", "--set", "method=emr")
    assert {m["task"].rsplit("/")[-1] for m in job["result"]["metrics"]} == {"a", "b"}
    number = number_of(server, "masked")
    tasks = {t["name"]: t["blocks"] for t in manifest(server, "m", number)["tasks"]}
    assert {t["kind"] for t in tasks.values()} == {"masked"} and all(t["scale"] > 0 for t in tasks.values())
    folder = server.folder / "data" / "models" / "m" / "versions"
    assert (folder / number / "model.safetensors").read_bytes() == (folder / number_of(server, "masked-a") / "model.safetensors").read_bytes(), "the encoder stays"
    weights, update = tensor_bytes(folder / number / "model.safetensors"), tensor_bytes(folder / number / "update.safetensors")
    assert weights * (1 + 2 / 32) <= update <= weights * (1 + 2 / 32) + 2 * 4 * 50, "one vector, and a bit a weight for each of two tasks"
    texts = [row["text"] for row in server.rows["a"]]
    answer = classify(server, version="masked", texts=texts)
    now = [[{s.label: s.logit for s in t.scores} for t in r.tasks] for r in answer.results]
    server.kill()
    server.start()
    again = [[{s.label: s.logit for s in t.scores} for t in r.tasks] for r in classify(server, version="masked", texts=texts).results]
    assert again == now
    # Exported and imported again: the same answers; and a damaged mask is no version.
    server.engram("models", "export", "m@masked", tmp_path / "out")
    server.engram("models", "import", "copy", tmp_path / "out")
    m = messages()
    copy = server.stub("InferenceService").Classify(m.ClassifyRequest(model="copy", texts=texts))
    assert [[{s.label: s.logit for s in t.scores} for t in r.tasks] for r in copy.results] == now
    (tmp_path / "out" / "update.safetensors").unlink()
    assert "update.safetensors" in server.engram("models", "import", "broken", tmp_path / "out", check=False).stderr


def test_texts_that_are_kept_for_too_long(server, routed):
    for days in ("-1", "40000"):
        assert server.engram("models", "forget", "m", "--older-than", days, "--yes", check=False).returncode != 0
    assert not server.json("models", "forget", "m", "--older-than", "1", "--yes").get("versions"), "all of them are of today"
    path = next((server.folder / "data" / "models" / "m" / "versions" / number_of(server, "two")).glob("memory/er*"))
    before = path.stat().st_size
    removed = server.json("models", "forget", "m", "--text", server.rows["a"][0]["text"], "--yes")["versions"]
    assert {v["version"].rsplit("/")[-1] for v in removed} == {number_of(server, "one"), number_of(server, "two")}
    removed = server.json("models", "forget", "m", "--older-than", "0", "--yes")["versions"]
    assert {v["version"].rsplit("/")[-1]: int(v["texts"]) for v in removed}[number_of(server, "two")] == 59
    assert path.stat().st_size < before
    assert all("kept_since" not in memory for memory in manifest(server, "m", number_of(server, "two"))["memory"])
    # The router still knows the tasks, but for the text that was named.
    assert classify(server, version="two", texts=["red"], route=True).results[0].tasks[0].task.endswith("/a")
