"""validate_only: what a job would take, against what the same job then took."""
import json
import time

import pytest
import torch
import transformers

from conftest import BASE_MODEL, few_classes, messages


@pytest.fixture(scope="module")
def fresh(module_server, tmp_path_factory):
    """A server that has not run any job."""
    server = module_server
    folder = tmp_path_factory.mktemp("estimates")
    server.engram("models", "import", "base", BASE_MODEL)
    train = few_classes("banking77.train.jsonl.gz", 4, 16, folder / "train.jsonl")
    server.engram("datasets", "upload", "banking77", train, "--test", train)
    return server


def product_speed() -> float:
    """Multiply-adds a second of the faster of the two precisions that a job may have, by oneDNN, as a job multiplies."""
    best = 0.0
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.ones(1024, 1024, dtype=dtype)
        for _ in range(20):
            begin = time.perf_counter()
            torch.ops.mkldnn._linear_pointwise(left, left, None, "none", [], "")
            best = max(best, 1024**3 / (time.perf_counter() - begin))
    return best


def start(server, **fields):
    m = messages()
    request = dict(model="base", task="intents", dataset="banking77", base="1", validate_only=True, options={"epochs": "3", "batch_size": "10"})
    return server.stub("TaskService").StartTask(m.StartTaskRequest(**{**request, **fields})).estimate


def size_of(server, version: str) -> int:
    shown = server.json("models", "show", "base")["versions"]
    return int(next(v["size_bytes"] for v in shown if v["name"] == version))


def test_a_training_job_takes_what_was_estimated(fresh):
    m = messages()
    before = start(fresh)
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE_MODEL)
    rows = [json.loads(line) for line in (fresh.folder / "data/datasets/banking77/train.jsonl").read_text().splitlines()]
    lengths = [len(ids) for ids in tokenizer([row["text"] for row in rows], truncation=True, max_length=128)["input_ids"]]
    assert (before.texts, before.counted_texts, before.tokens, before.total_tokens) == (len(rows), len(rows), sum(lengths), 3 * sum(lengths))
    assert before.steps == 3 * -(-len(rows) // 10)
    # No job ran here yet: the matrix products alone, at the machine's own speed.
    assert before.speed_origin == m.SPEED_ORIGIN_MATRIX_PRODUCTS and before.speed_job == ""
    assert before.seconds == pytest.approx(before.total_tokens / before.tokens_per_second)
    assert start(fresh).tokens_per_second == before.tokens_per_second  # measured once
    # The encoder's products forwards, and twice as many backwards, at the speed that oneDNN multiplies here.
    products = 3 * 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    assert 1 / 5 < before.tokens_per_second * products / product_speed() < 5
    assert 0 < before.version_bytes < before.disk_bytes < before.free_disk_bytes and not before.warnings

    job = fresh.json("start-task", "base@1", "intents", "--dataset", "banking77", "--epochs", "3", "--set", "batch_size=10", "--label", "a", "--wait")
    result = job["result"]
    assert (int(result["steps"]), int(result["tokens"])) == (before.steps, before.total_tokens)
    assert size_of(fresh, result["version"]) == pytest.approx(before.version_bytes, rel=0.001)
    # Weights, gradients, moments and a batch; what the process has beside that is libtorch's.
    assert 4 * before.version_bytes < before.memory_bytes < int(result["peak_bytes"])

    after = start(fresh)
    assert after.speed_origin == m.SPEED_ORIGIN_SAME_MODEL and after.speed_job == job["name"]
    assert after.tokens_per_second == pytest.approx(int(result["tokens"]) / result["work_seconds"])
    assert after.seconds == pytest.approx(result["work_seconds"])
    # A range around what that one job took; before there was any only a lower bound was known.
    assert after.speed_jobs == 1 and after.seconds_low < result["work_seconds"] < after.seconds_high
    assert before.speed_jobs == 0 and before.seconds_low == before.seconds and before.seconds_high == 0
    fresh.engram("models", "import", "other", BASE_MODEL)
    other = start(fresh, model="other")
    # The same weights under another name: the same speed, from a job of another model.
    assert other.speed_origin == m.SPEED_ORIGIN_OTHER_MODEL and other.speed_job == job["name"]
    assert other.tokens_per_second == pytest.approx(after.tokens_per_second)
    # At another precision nothing was measured.
    assert start(fresh, options={"precision": "fp32"}).speed_origin == m.SPEED_ORIGIN_MATRIX_PRODUCTS


def test_consolidation_and_evaluation(fresh):
    m = messages()
    tasks = fresh.stub("TaskService")
    estimate = tasks.ConsolidateTask(m.ConsolidateTaskRequest(model="base", task="intents", base="a", samples=32, validate_only=True)).estimate
    assert estimate.texts == 32 and estimate.tokens > 0 and estimate.seconds > 0 and estimate.steps == 0
    job = fresh.json("consolidate-task", "base@a", "intents", "--samples", "32", "--label", "c", "--wait")
    assert int(job["result"]["tokens"]) == pytest.approx(estimate.tokens, rel=0.05)
    assert size_of(fresh, job["result"]["version"]) == pytest.approx(estimate.version_bytes, rel=0.001)
    # Once more, the consolidation replaces the one that is there.
    again = tasks.ConsolidateTask(m.ConsolidateTaskRequest(model="base", task="intents", base="c", samples=32, validate_only=True)).estimate
    assert again.version_bytes == size_of(fresh, job["result"]["version"])
    assert again.speed_job == job["name"]
    evaluation = tasks.EvaluateTask(m.EvaluateTaskRequest(model="base", base="a", validate_only=True))
    assert evaluation.estimate.texts == 64 and evaluation.estimate.version_bytes == 0 and evaluation.name == ""
    assert [j["kind"] for j in fresh.json("jobs", "list")["jobs"]] == ["JOB_KIND_CONSOLIDATE", "JOB_KIND_TRAIN"]


def test_large_data_sets_are_counted_in_part(fresh, tmp_path):
    rows = 9000
    path = tmp_path / "large.jsonl"
    path.write_text("".join(json.dumps({"text": "money " * (1 + i % 50), "label": f"l{i % 3}"}) + "\n" for i in range(rows)))
    fresh.engram("datasets", "upload", "large", path)
    estimate = start(fresh, dataset="large", options={"epochs": "1", "max_length": "32"})
    assert estimate.texts == rows and estimate.counted_texts < rows / 2
    exact = sum(min(32, 2 + 1 + i % 50) for i in range(rows))
    assert estimate.tokens == pytest.approx(exact, rel=0.02)
    assert estimate.steps == pytest.approx(-(-rows // 32), rel=0.01)
    [warning] = estimate.warnings
    assert warning.startswith("TEXTS_CUT") and "max_length" in warning


def test_the_command_line_shows_it(fresh):
    answer = fresh.engram("start-task", "base@1", "intents", "--dataset", "banking77", "--validate-only").stdout
    assert "nothing was queued" in answer and "tok/s" in answer and "memory" in answer and "disk" in answer
    assert fresh.json("evaluate", "base@a", "--validate-only")["estimate"]["texts"] == 64
