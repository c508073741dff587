"""Bad input: a clear error that names the field, and nothing lost."""
import json
import shutil
import subprocess

import grpc
import pytest

from conftest import BASE_MODEL, BUILD, ROOT, error_info, messages

GOOD = '{"text": "a b", "label": "x"}\n{"text": "c d", "label": "y"}\n'


def upload(server, tmp_path, train, test=None, name="bad", suffix=".jsonl"):
    path = tmp_path / f"train{suffix}"
    path.write_bytes(train if isinstance(train, bytes) else train.encode())
    words = ["datasets", "upload", name, path]
    if test is not None:
        (tmp_path / "test.jsonl").write_text(test)
        words += ["--test", tmp_path / "test.jsonl"]
    return server.engram(*words, check=False)


@pytest.mark.parametrize("train, test, said", [
    (GOOD, '{"text": "e", "label": "z"}\n', '"z"'),
    ('{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}\n', None, "at least two"),
    ("", None, "empty"),
    (b'{"text": "a", "label": "x"}\n{"text": "\xff", "label": "y"}\n', None, "line 2"),
    ('{"text": "a", "label": "x"}\n{"label": "y"}\n', None, "line 2"),
    ('{"text": "a", "label": "x"}\nnot json\n', None, "line 2"),
    ('{"text": "a", "label": "x"}\n{"text": "b"}\n', None, "line 2"),
], ids=["unknown-test-label", "one-class", "empty", "invalid-utf8", "no-text", "not-json", "no-label"])
def test_data_sets(shared_server, tmp_path, train, test, said):
    answer = upload(shared_server, tmp_path, train, test)
    assert answer.returncode == 1 and said in answer.stderr, answer.stderr
    assert "bad" not in shared_server.engram("datasets", "list").stdout


def test_files_that_cannot_be_read_to_their_end(shared_server, tmp_path):
    """/proc/self/mem opens as a plain file, and reading it fails."""
    good, broken, model = tmp_path / "rows.jsonl", tmp_path / "broken.jsonl", tmp_path / "model"
    good.write_text(GOOD)
    broken.symlink_to("/proc/self/mem")
    shutil.copytree(BASE_MODEL, model)
    (model / "vocab.txt").unlink()
    (model / "vocab.txt").symlink_to("/proc/self/mem")
    for words in (["datasets", "upload", "broken", broken], ["datasets", "upload", "broken", good, "--test", broken], ["models", "import", "broken", model]):
        answer = shared_server.engram(*words, check=False)
        assert answer.returncode == 1 and "cannot be read" in answer.stderr, answer.stderr
    assert "broken" not in shared_server.engram("datasets", "list").stdout + shared_server.engram("models", "list").stdout
    for verb in ("classify", "encode", "tokenize", "tag-entities"):
        answer = shared_server.engram(verb, "base@1", "--file", broken, check=False)
        assert answer.returncode == 2 and "cannot be read" in answer.stderr, answer.stderr


def test_a_data_set_does_not_change(shared_server, tmp_path):
    assert upload(shared_server, tmp_path, GOOD, name="fixed").returncode == 0
    assert upload(shared_server, tmp_path, GOOD, name="fixed").returncode == 0  # the same again
    answer = upload(shared_server, tmp_path, GOOD.replace("a b", "other"), name="fixed")
    assert answer.returncode == 1 and "DATASET_EXISTS" in answer.stderr


def start(server, **fields):
    m = messages()
    request = dict(model="base", task="t", dataset="banking77", base="1")
    request.update(fields)
    return server.stub("TaskService").StartTask(m.StartTaskRequest(**request))


@pytest.mark.parametrize("fields, code, field", [
    (dict(model="missing"), grpc.StatusCode.NOT_FOUND, None),
    (dict(dataset="missing"), grpc.StatusCode.NOT_FOUND, None),
    (dict(base="7777"), grpc.StatusCode.NOT_FOUND, None),
    (dict(model="../etc"), grpc.StatusCode.INVALID_ARGUMENT, "model"),
    (dict(task="Bad Name"), grpc.StatusCode.INVALID_ARGUMENT, "task"),
    ({"lambda": -1.0, "strategy": "ewc"}, grpc.StatusCode.INVALID_ARGUMENT, "lambda"),
    ({"lambda": float("nan"), "strategy": "ewc"}, grpc.StatusCode.INVALID_ARGUMENT, "lambda"),
    ({"lambda": 1e30, "strategy": "l2sp"}, grpc.StatusCode.INVALID_ARGUMENT, "lambda"),
    ({"lambda": 1.0, "strategy": "naive"}, grpc.StatusCode.INVALID_ARGUMENT, "lambda"),
    ({"lambda": 1.0, "strategy": "ewc", "options": {"lambda": "1"}}, grpc.StatusCode.INVALID_ARGUMENT, "lambda"),
    (dict(strategy="ewc", options={"gamma": "0.5"}), grpc.StatusCode.INVALID_ARGUMENT, "gamma"),
    (dict(strategy="magic"), grpc.StatusCode.INVALID_ARGUMENT, "strategy"),
    (dict(strategy="ewc"), grpc.StatusCode.FAILED_PRECONDITION, None),
    (dict(options={"lr": "-1"}), grpc.StatusCode.INVALID_ARGUMENT, "lr"),
    (dict(options={"learningrate": "1"}), grpc.StatusCode.INVALID_ARGUMENT, "learningrate"),
    (dict(options={"max_length": "100000"}), grpc.StatusCode.INVALID_ARGUMENT, "max_length"),
    (dict(kind=2), grpc.StatusCode.INVALID_ARGUMENT, "kind"),
    (dict(kind=99), grpc.StatusCode.INVALID_ARGUMENT, "kind"),
    (dict(priority=5000), grpc.StatusCode.INVALID_ARGUMENT, "priority"),
])
def test_start_task(shared_server, fields, code, field):
    with pytest.raises(grpc.RpcError) as refused:
        start(shared_server, **fields)
    assert refused.value.code() == code, refused.value.details()
    info, violations = error_info(refused.value)
    assert info.domain == "engram" and info.reason
    if field:
        assert violations == [field]
    assert str(ROOT) not in refused.value.details() and "/tmp" not in refused.value.details()


@pytest.mark.parametrize("option, value", [("gamma", "nan"), ("gamma", "2"), ("lr", "inf"), ("epochs", "0"), ("progress_every", "0"), ("penalty_mode", "x"),
                                           ("pooling", "max"), ("batch_size", "99999999999999999999")])
def test_options(shared_server, option, value):
    with pytest.raises(grpc.RpcError) as refused:
        start(shared_server, options={option: value}, strategy="online_ewc" if option in ("gamma", "penalty_mode") else "")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == [option], refused.value.details()


@pytest.mark.parametrize("state", [99, -1])
def test_jobs_of_an_unknown_state(shared_server, state):
    with pytest.raises(grpc.RpcError) as refused:
        shared_server.stub("JobService").ListJobs(messages().ListJobsRequest(state=state))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == ["state"]


def test_validate_only_queues_nothing(shared_server):
    before = shared_server.json("jobs", "list").get("jobs", [])
    job = start(shared_server, validate_only=True)
    assert job.name == "" and job.options["strategy"] == "naive" and (job.options["lr"], job.options["beta1"]) == ("0.0002", "0.9")
    assert shared_server.json("jobs", "list").get("jobs", []) == before


def test_a_label_map_that_contradicts_the_task(shared_server, tmp_path):
    s = shared_server
    s.engram("start-task", "base@1", "small", "--dataset", "banking77", "--epochs", "1", "--label", "small", "--wait")
    for words in (("start-task", "base@small", "small"), ("evaluate", "base@small", "--task", "small")):
        answer = s.engram(*words, "--dataset", "dbpedia14", check=False)
        assert answer.returncode == 1 and "label" in answer.stderr and "small" in answer.stderr


def test_consolidate_before_training(shared_server):
    answer = shared_server.engram("consolidate-task", "base@1", "never-trained", check=False)
    assert answer.returncode == 1 and "TASK_NOT_LEARNED" in answer.stderr


def damaged_copy(tmp_path, change):
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (BASE_MODEL / name).exists():
            shutil.copyfile(BASE_MODEL / name, directory / name)
    change(directory)
    return directory


def truncate(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def flip_header(directory):
    path = directory / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[20] ^= 0x40
    path.write_bytes(data)


def lie_about_shapes(directory):
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["hidden_size"] = 768
    path.write_text(json.dumps(config))


def unknown_key(directory):
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["is_decoder"] = True
    path.write_text(json.dumps(config))


def lie_hugely(directory):
    """A terabyte of embeddings: refused before anything is allocated by it."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config.update(vocab_size=4_000_000, hidden_size=65_520, intermediate_size=65_536, max_position_embeddings=1_048_576)
    path.write_text(json.dumps(config))


def edit_tokenizer(pointer, value):
    def change(directory):
        path = directory / "tokenizer.json"
        whole = part = json.loads(path.read_text())
        for key in pointer[:-1]:
            part = part[key]
        part[pointer[-1]] = value
        path.write_text(json.dumps(whole))
    return change


def other_vocabulary(directory):
    (directory / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")


@pytest.mark.parametrize("change, said", [
    (truncate, "model.safetensors"), (flip_header, "model.safetensors: not a valid safetensors file"), (lie_about_shapes, "of another shape"),
    (lie_hugely, "of another shape"), (unknown_key, "is_decoder"), (other_vocabulary, "vocab.txt line 2"),
    (edit_tokenizer(["model", "unk_token"], 5), "unk_token"), (edit_tokenizer(["added_tokens"], "x"), "added_tokens"),
    (edit_tokenizer(["post_processor"], None), "post_processor"), (edit_tokenizer(["model", "type"], "BPE"), "BertPreTokenizer"),
], ids=["truncated", "flipped", "shapes", "huge", "unknown-key", "vocabularies", "token-type", "added-type", "template", "bpe"])
def test_models(shared_server, tmp_path, change, said):
    answer = shared_server.engram("models", "import", "broken", damaged_copy(tmp_path, change), check=False)
    assert answer.returncode == 1 and said in answer.stderr, answer.stderr
    assert "broken" not in shared_server.engram("models", "list").stdout


@pytest.mark.parametrize("method", ["Classify", "TagEntities", "Tokenize"])
@pytest.mark.parametrize("count", [0, 10_000])
def test_ten_thousand_texts_in_one_call(shared_server, method, count):
    m = messages()
    with pytest.raises(grpc.RpcError) as refused:
        getattr(shared_server.stub("InferenceService"), method)(getattr(m, f"{method}Request")(model="base", version="1", texts=["a"] * count))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == ["texts"]


@pytest.mark.parametrize("method, text, said", [
    ("Classify", "a" * (17 << 20), "bytes"), ("TagEntities", "a" * (17 << 20), "bytes"), ("Tokenize", "a" * (17 << 20), "bytes"),
    ("Tokenize", "!" * ((1 << 20) + 1), "tokens"),
])
def test_one_call_that_asks_for_too_much_memory(shared_server, method, text, said):
    m = messages()
    with pytest.raises(grpc.RpcError) as refused:
        getattr(shared_server.stub("InferenceService"), method)(getattr(m, f"{method}Request")(model="base", version="1", texts=[text]))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and said in refused.value.details()
    assert error_info(refused.value)[1] == ["texts"]


def test_ten_thousand_texts_through_the_command_line(shared_server, tmp_path):
    """The CLI sends them in parts; the answer is as if it were one."""
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {i}\n" for i in range(600)))
    answer = shared_server.json("tokenize", "base@1", "--file", path)
    assert len(answer["results"]) == 600 and answer["model"] == "models/base" and answer["version"] == 1 and answer["truncated"] is False
    assert int(answer["tokens"]) == sum(len(result["tokens"]) for result in answer["results"])


def test_texts_that_are_not_utf8(shared_server, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"good\n\n\xff bad\n")
    for verb in ("classify", "tag-entities", "tokenize"):
        answer = shared_server.engram(verb, "base@1", "--file", path, check=False)
        assert answer.returncode == 2 and "line 3 is not UTF-8" in answer.stderr, answer.stderr
    answer = shared_server.engram("encode", "base@1", "--whole-file", "--file", path, check=False)
    assert answer.returncode == 2 and "not UTF-8" in answer.stderr
    answer = subprocess.run([BUILD / "bin" / "engram", "tokenize", "base", b"\xff"], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2 and "argument 3 is not UTF-8" in answer.stderr


def test_a_request_over_the_message_limit(new_server):
    server = new_server({"max_message_mb": 1})
    for words in (("encode", "base", "--whole-file", "--file", "-"), ("tokenize", "base", "-"), ("classify", "base", "--file", "-")):
        answer = server.engram(*words, stdin="a" * (2 << 20), check=False)
        assert answer.returncode == 1 and "max_message_mb" in answer.stderr, answer.stderr


def test_uploads_that_break_off(shared_server):
    """gRPC shows a stream that was closed and one that broke in the same way: only the last message makes it whole."""
    m = messages()
    rows = m.UploadDatasetRequest(training=GOOD.encode())
    header = m.UploadDatasetRequest(header=m.UploadHeader(dataset="partial", training_file="a.jsonl"))
    end = m.UploadDatasetRequest(end=True)
    upload = shared_server.stub("DatasetService").UploadDataset
    for requests, field in (([header, rows], "end"), ([rows, end], "header"), ([header, header], "header"), ([header, rows, end, rows], "end"), ([], "end")):
        with pytest.raises(grpc.RpcError) as refused:
            upload(iter(requests))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == [field], refused.value.details()
    files = [m.ImportModelRequest(chunk=m.FileChunk(path=name, data=(BASE_MODEL / name).read_bytes()))
             for name in ("config.json", "vocab.txt", "tokenizer.json")]
    with pytest.raises(grpc.RpcError) as refused:
        shared_server.stub("ModelService").ImportModel(iter([m.ImportModelRequest(header=m.ImportHeader(model="partial")), *files]))
    assert error_info(refused.value)[1] == ["end"]
    assert "partial" not in shared_server.engram("datasets", "list").stdout + shared_server.engram("models", "list").stdout
    assert upload(iter([header, rows, end])).training_rows == 2
    shared_server.engram("datasets", "delete", "partial", "--yes")


def test_a_stored_version_with_one_bit_flipped(new_server, tmp_path):
    """Nothing of it is ever served or trained on; the other versions are not touched by it."""
    server = new_server()
    for name in ("damaged", "whole"):
        server.engram("models", "import", name, BASE_MODEL)
    (tmp_path / "rows.jsonl").write_text(GOOD)
    server.engram("datasets", "upload", "rows", tmp_path / "rows.jsonl")
    with open(server.folder / "data/models/damaged/versions/1/model.safetensors", "r+b") as file:
        file.seek(-1000, 2)
        byte = file.read(1)[0]
        file.seek(-1000, 2)
        file.write(bytes([byte ^ 0x10]))
    answer = server.engram("tokenize", "damaged", "some text", check=False)
    assert answer.returncode == 1 and "VERSION_DAMAGED" in answer.stderr and "model.safetensors" in answer.stderr
    job = json.loads(server.engram("--json", "start-task", "damaged", "t", "--dataset", "rows", "--wait", check=False).stdout)
    assert job["state"] == "JOB_STATE_FAILED" and job["error"]["reason"] == "VERSION_DAMAGED"
    server.engram("tokenize", "whole", "some text")
    # The same for a data set.
    stored = server.folder / "data/datasets/rows/train.jsonl"
    stored.write_text(stored.read_text().replace("a b", "a c"))
    job = json.loads(server.engram("--json", "start-task", "whole", "t", "--dataset", "rows", "--wait", check=False).stdout)
    assert job["state"] == "JOB_STATE_FAILED" and job["error"]["reason"] == "DATASET_DAMAGED"


def test_text_without_task(shared_server):
    answer = shared_server.engram("classify", "base@1", "some text", check=False)
    assert answer.returncode == 1 and "TASK_NOT_FOUND" in answer.stderr


@pytest.mark.parametrize("method", ["Classify", "TagEntities"])
@pytest.mark.parametrize("field", ["task", "version"])
def test_an_error_that_shows_a_cut_text_keeps_its_details(shared_server, method, field):
    stub, request = shared_server.stub("InferenceService"), {"model": "base", "version": "1", "texts": ["some text"], field: "a" + "é" * 64}
    with pytest.raises(grpc.RpcError) as refused:
        getattr(stub, method)(getattr(messages(), f"{method}Request")(**request))
    info, _ = error_info(refused.value)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND and info.reason == f"{field.upper()}_NOT_FOUND", refused.value


def test_configuration(tmp_path):
    for text, said in [("data_dir: x\ngrpc_adress: 127.0.0.1:1\n", "grpc_address"), ("data_dir: x\nbatch_tokens: many\n", "batch_tokens"),
                       ("grpc_address: 127.0.0.1:0\n", "data_dir"), ("data_dir: x\ngrpc_address: 0.0.0.0:7860\n", "allow_insecure_public"),
                       ("data_dir: x\ndata_dir: y\n", "data_dir"), ("[1, 2", "line")]:
        path = tmp_path / "engramd.yaml"
        path.write_text(text)
        answer = subprocess.run([BUILD / "bin" / "engramd", "--config", path], capture_output=True, text=True, timeout=30, cwd=tmp_path)
        assert answer.returncode == 1 and said in answer.stderr, (text, answer.stderr)


def test_cli_usage_and_unreachable(shared_server, tmp_path):
    engram = BUILD / "bin" / "engram"
    run = lambda *words: subprocess.run([engram, *words], capture_output=True, text=True, timeout=60)
    assert run("--address", "127.0.0.1:1", "models", "list").returncode == 3
    assert run("models", "import", "x", tmp_path / "absent").returncode == 2
    for words, said in ((["no-such-verb"], "no-such-verb"), (["models", "no-such-verb"], "engram models --help"), ([], "Subcommands"), (["models"], "")):
        answer = run(*words)
        assert answer.returncode == 2 and said in answer.stderr, answer.stderr
    assert run("classify", "base").returncode == 2
    assert run("start-task", "base", "t", "--dataset", "d", "--set", "novalue").returncode == 2
    assert run("--help").returncode == 0
