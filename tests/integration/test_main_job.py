"""The main job: two tasks, one encoder, through the real server and the real CLI."""
import json
import pathlib

import grpc
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from conftest import BASE_MODEL, DATA, error_info, head_of, messages

TEXTS = ["I am still waiting on my card, when will it arrive?", "The Hudson River flows through eastern New York."]


@pytest.fixture(scope="module")
def stream(shared_server):
    """Task A trained and consolidated, task B on top of it with EWC."""
    s = shared_server
    jobs = {"a": s.json("start-task", "base@1", "intents", "--dataset", "banking77", "--label", "a", "--epochs", "4", "--wait"),
            "c": s.json("consolidate-task", "base@a", "intents", "--samples", "32", "--label", "c", "--wait"),
            "b": s.json("start-task", "base@c", "topics", "--dataset", "dbpedia14", "--label", "b", "--epochs", "4", "--wait")}
    return s, jobs


def metric(job, task, name):
    return next(m["value"] for m in job["result"]["metrics"] if m["task"].endswith("/" + task) and m["metric"] == name)


def test_two_tasks_are_learned_and_consolidated(stream):
    s, jobs = stream
    assert all(job["state"] == "JOB_STATE_SUCCEEDED" for job in jobs.values())
    assert metric(jobs["a"], "intents", "accuracy") > 0.5  # four classes: guessing gives 0.25
    assert metric(jobs["b"], "topics", "accuracy") > 0.5
    assert jobs["a"]["options"]["strategy"] == "naive" and jobs["b"]["options"]["strategy"] == "ewc"
    assert float(jobs["c"]["result"]["fisher_trace"]) > 0 and jobs["c"]["result"]["fisher_samples"] == 32
    evaluated = s.json("evaluate", "base@b", "--wait")
    assert {m["task"].split("/")[-1] for m in evaluated["result"]["metrics"]} == {"intents", "topics"}
    # The same version, measured by another process: the same number.
    assert metric(evaluated, "topics", "accuracy") == metric(jobs["b"], "topics", "accuracy")


def test_what_is_kept_of_the_stream_is_told_everywhere(stream):
    """ACC, BWT and forgetting of two tasks: in the evaluation, of the version, of the model while it is the newest one, and in the tables."""
    s, jobs = stream
    number = jobs["b"]["result"]["version"].split("/")[-1]
    words = ("evaluate", f"base@{number}", "--wait")
    evaluated = s.json(*words)
    intents, topics = (metric(evaluated, task, "accuracy") for task in ("intents", "topics"))
    learned = metric(jobs["a"], "intents", "accuracy")
    [told] = evaluated["result"]["stream_metrics"]
    assert told["metric"] == "accuracy" and told["tasks"] == ["models/base/tasks/intents", "models/base/tasks/topics"]
    assert told["average"] == pytest.approx((intents + topics) / 2) and told["backward_transfer"] == pytest.approx(intents - learned)
    assert told["forgetting"] == pytest.approx(learned - intents)
    versions = {v["name"].split("/")[-1]: v for v in s.json("models", "show", "base")["versions"]}
    assert versions[number]["stream_metrics"] == [told]
    # Nobody has evaluated the version before: its one task was measured when it was trained.
    first = versions[jobs["a"]["result"]["version"].split("/")[-1]]["stream_metrics"][0]
    assert first["average"] == learned and "backward_transfer" not in first
    row = [f"{told[key]:.4f}" for key in ("average", "backward_transfer", "forgetting")]
    assert [line.split()[-3:] for line in s.engram(*words).stdout.splitlines() if line.split()[:2] == ["accuracy", "2"]] == [row]
    shown = s.engram("models", "show", "base").stdout.splitlines()
    assert [line.split()[-3:] for line in shown if line.split()[:3] == [number, "accuracy", "2"]] == [row]
    # A version that is trained from it keeps the row, whatever becomes of the jobs, and measures the tasks before, too.
    after = s.json("start-task", f"base@{number}", "third", "--dataset", "banking77", "--epochs", "1", "--wait")
    model = s.stub("ModelService").GetModel(messages().GetModelRequest(name="base"))
    [newest] = model.stream_metrics
    assert f"models/base/versions/{model.latest_version}" == after["result"]["version"]
    assert [t.split("/")[-1] for t in newest.tasks] == ["intents", "topics", "third"]
    measured = {task: metric(after, task, "accuracy") for task in ("intents", "topics", "third")}
    assert newest.average == pytest.approx(sum(measured.values()) / 3)
    rows = {row.after.split("/")[-1]: {s.task.split("/")[-1]: s.value for s in row.scores} for row in newest.rows}
    assert rows["third"] == measured and rows["topics"] == {"intents": intents, "topics": topics}


def test_penalty_acts(stream):
    s, jobs = stream
    m = messages()
    job = s.json("start-task", "base@c", "topics", "--dataset", "dbpedia14", "--strategy", "ewc", "--epochs", "2")  # the warm-up's first step has a rate of 0
    penalties = [j.progress.penalty for j in s.stub("JobService").WatchJob(m.WatchJobRequest(name=job["name"])) if j.progress.phase == "training"]
    assert penalties and penalties[-1] > 0


def test_classify_answers_for_every_task(stream):
    s, _ = stream
    m = messages()
    answer = s.stub("InferenceService").Classify(m.ClassifyRequest(model="base", version="b", texts=TEXTS))
    assert answer.model == "models/base" and answer.version > 0 and not answer.truncated
    for result in answer.results:
        assert [t.task for t in result.tasks] == ["models/base/tasks/intents", "models/base/tasks/topics"]
        for task in result.tasks:
            probabilities = [score.probability for score in task.scores]
            assert abs(sum(probabilities) - 1) < 1e-9 and probabilities == sorted(probabilities, reverse=True)
            logits = np.array([score.logit for score in task.scores], dtype=np.float64)
            np.testing.assert_allclose(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum(), probabilities, atol=1e-12)
    top = s.stub("InferenceService").Classify(m.ClassifyRequest(model="base", version="b", texts=TEXTS, top_k=1, task="topics"))
    assert [len(r.tasks) for r in top.results] == [1, 1] and len(top.results[0].tasks[0].scores) == 1


def test_one_bad_text_does_not_fail_the_others(stream):
    s, _ = stream
    m = messages()
    long_text = "word " * 600
    answer = s.stub("InferenceService").Classify(m.ClassifyRequest(model="base", version="b", texts=[TEXTS[0], long_text, "  "]))
    assert len(answer.results[0].tasks) == 2
    assert answer.results[1].error.field == "texts[1]" and "602 tokens" in answer.results[1].error.message
    assert answer.results[2].error.field == "texts[2]"
    with pytest.raises(grpc.RpcError) as refused:
        s.stub("InferenceService").Classify(m.ClassifyRequest(model="base", version="b", texts=[long_text]))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == ["texts[0]"]
    cut = s.stub("InferenceService").Classify(m.ClassifyRequest(model="base", version="b", texts=[long_text], truncate=True))
    assert cut.truncated and cut.results[0].truncated and (cut.results[0].tokens, cut.results[0].full_tokens) == (512, 602)


def test_the_command_line_shows_the_answers_beside_texts_that_have_none(stream, tmp_path):
    """300 texts are two calls, and the second holds nothing but a text that is too long."""
    s, _ = stream
    path = tmp_path / "texts.txt"
    path.write_text("Where is my card?\n" * 256 + "long " * 600 + "\n")
    answer = s.engram("--json", "classify", "base@b", "--file", path, "--top-k", "1", check=False)
    results = json.loads(answer.stdout)["results"]
    assert answer.returncode == 1 and len(results) == 257
    assert all(len(result["tasks"]) == 2 for result in results[:256])
    assert "602 tokens" in results[256]["error"]["message"] and not results[256]["tasks"]


def test_an_exported_version_gives_transformers_the_same_logits(stream, tmp_path):
    s, _ = stream
    m = messages()
    directory = tmp_path / "export"
    s.engram("models", "export", "base@b", directory)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    encoder = transformers.AutoModel.from_pretrained(directory, add_pooling_layer=False).eval()
    heads = load_file(directory / "heads.safetensors")
    answer = s.stub("InferenceService").Classify(m.ClassifyRequest(model="base", version="b", texts=TEXTS))
    manifest = json.loads((directory / "engram.json").read_text())
    for text, result in zip(TEXTS, answer.results):
        with torch.no_grad():
            pooled = encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state.mean(1)[0]
        for task, scores in zip(("intents", "topics"), result.tasks):
            expected = heads[f"heads.{task}.classifier.weight"] @ pooled + heads[f"heads.{task}.classifier.bias"]
            labels = next(t for t in manifest["tasks"] if t["name"] == task)["labels"]
            got = {score.label: score.logit for score in scores.scores}
            # The server computes in bf16 where the hardware does.
            np.testing.assert_allclose([got[label] for label in labels], expected.numpy(), atol=0.08)


def test_labels_promote_and_roll_back(stream):
    s, _ = stream
    versions = s.json("models", "show", "base")["versions"]
    newest, second = [int(v["name"].split("/")[-1]) for v in versions[:2]]
    s.engram("models", "promote", "base", second, "--label", "canary")
    s.engram("models", "promote", "base", newest, "--label", "canary")
    assert s.json("models", "rollback", "base", "--label", "canary")["labels"]["canary"] == second
    refused = s.engram("models", "delete", f"base@{second}", "--yes", check=False)
    assert refused.returncode == 1 and "VERSION_IN_USE" in refused.stderr


def test_one_request_id_is_one_job(stream):
    s, _ = stream
    words = ("start-task", "base@a", "topics", "--dataset", "dbpedia14", "--epochs", "1", "--request-id", "once")
    first, second = s.json(*words), s.json(*words)
    assert first["name"] == second["name"]
    other = s.engram("start-task", "base@a", "topics", "--dataset", "dbpedia14", "--epochs", "2", "--request-id", "once", check=False)
    assert other.returncode == 1 and "REQUEST_ID_REUSED" in other.stderr
    s.engram("jobs", "cancel", first["name"])
    assert s.engram("jobs", "watch", first["name"], check=False).returncode == 1
    assert s.json("jobs", "show", first["name"])["state"] == "JOB_STATE_CANCELLED"


def test_pause_and_resume(stream):
    s, _ = stream
    job = s.json("start-task", "base@a", "paused", "--dataset", "banking77", "--epochs", "30")["name"]
    m = messages()
    watch = s.stub("JobService").WatchJob(m.WatchJobRequest(name=job))
    for state in watch:
        if state.progress.phase == "training" and state.progress.step >= 2:
            s.engram("jobs", "pause", job)
            break
    for state in watch:
        if state.state == m.JOB_STATE_PAUSED:
            break
    assert state.state == m.JOB_STATE_PAUSED
    watch.cancel()
    s.engram("jobs", "resume", job)
    ended = s.json("jobs", "watch", job)
    assert ended["state"] == "JOB_STATE_SUCCEEDED" and ended["attempts"] == 2
    # 64 texts in batches of 32, 30 times: none lost, none done twice.
    assert int(ended["result"]["steps"]) == 60


def test_entities(shared_server, tmp_path):
    s = shared_server
    train = head_of("wnut17.train.conll.gz", 6000, tmp_path / "train.conll")
    train.write_text(train.read_text().rsplit("\n\n", 1)[0] + "\n")
    s.engram("datasets", "upload", "wnut", train, "--test", train)
    job = s.json("start-task", "base@1", "entities", "--dataset", "wnut", "--epochs", "8", "--set", "lr=5e-4", "--label", "ner", "--wait")
    assert metric(job, "entities", "entity_f1") > 0.1  # tagging everything O gives 0
    m = messages()
    words = [line.split("\t")[0] for line in train.read_text().split("\n")]
    sentence = "Yesterday Justin Bieber sang in \U0001F600 New York ."
    answer = s.stub("InferenceService").TagEntities(m.TagEntitiesRequest(model="base", version="ner", texts=[sentence, " ".join(w for w in words if w)[:20000]]))
    assert answer.results[1].windows > 1 and not answer.results[1].error.message
    for text, result in zip([sentence, " ".join(w for w in words if w)[:20000]], answer.results):
        for entity in result.entities:
            assert text[entity.start:entity.end] == entity.text
            assert text.encode()[entity.start_byte:entity.end_byte].decode() == entity.text
            assert 0 <= entity.score <= 1
    assert len(answer.results[1].entities) > 0


def test_long_text_is_the_mean_over_all_its_tokens(shared_server, tmp_path):
    s = shared_server
    m = messages()
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE_MODEL)
    encoder = transformers.AutoModel.from_pretrained(BASE_MODEL, add_pooling_layer=False).eval()
    text = " ".join(f"{word} number {i}." for i, word in enumerate(["river", "mountain", "city"] * 150))
    out = tmp_path / "long.npy"
    path = tmp_path / "long.txt"
    path.write_text(text)
    s.engram("encode", "base@1", "--file", path, "--whole-file", "--mode", "token_mean", "--out", out, "--chunk-tokens", "64")
    got = np.load(out)
    answer = s.stub("InferenceService").LongContextEncode(m.LongContextEncodeRequest(model="base", version="1", text=text, mode=m.LONG_CONTEXT_MODE_TOKEN_MEAN, chunk_tokens=64, chunk_vectors=True))
    np.testing.assert_array_equal(np.frombuffer(answer.vector.data, "<f4"), got)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert answer.tokens == len(ids) == sum(c.owned_tokens for c in answer.chunks) and not answer.truncated
    rows, at, owned = [], 0, 0
    for chunk in answer.chunks:
        begin = min(at, len(ids) - chunk.tokens)  # the last one begins earlier, to be full
        piece = [tokenizer.cls_token_id, *ids[begin:begin + chunk.tokens], tokenizer.sep_token_id]
        at += chunk.tokens
        with torch.no_grad():
            rows.append(encoder(torch.tensor([piece])).last_hidden_state[0, 1 + owned - begin:1 + owned - begin + chunk.owned_tokens])
        owned += chunk.owned_tokens
    expected = torch.cat(rows).mean(0).numpy()
    assert np.dot(got, expected) / np.linalg.norm(got) / np.linalg.norm(expected) > 0.9995  # bf16 where the hardware does
    assert answer.chunk_vectors.shape == [len(answer.chunks), 384]
