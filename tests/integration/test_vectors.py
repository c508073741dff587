"""Embed, LongContextEncode and `engram encode` against sentence-transformers itself, one model for each thing that its modules may say."""
import gzip
import json
import shutil

import grpc
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from conftest import BASE_MODEL, Server, error_info, messages
from small_models import make

WIDTH = 32
TEXTS = ["Hi", "", "Where is my card?", "A longer text, with more words than the others have, and an emoji \U0001F600.", "x", "   ",
         "word " * 20, "The river runs to the sea. " * 4]
POOLINGS = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
ACTIVATIONS = ["ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid", "Mish", "ReLU", "ReLU6", "SELU", "SiLU",
               "Sigmoid", "Softplus", "Softsign", "Tanh", "Tanhshrink"]


def dense(out, name="Tanh", bias=True, residual=False, width=WIDTH):
    torch.manual_seed(out)
    layer = Dense(width, out, bias=bias, activation_function=getattr(torch.nn, name)(), use_residual=residual)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.5)
    return layer


# Name -> (poolings, later modules, what is changed in the saved files).
MODELS = {name: (name, [], None) for name in POOLINGS}
MODELS |= {
    "three": (("lasttoken", "max", "cls"), [], None),
    "normalized": ("mean", [Normalize()], None),
    "short": ("weightedmean", [Normalize()], lambda folder: (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16, "do_lower_case": false}')),
    "twice": ("cls", [dense(48, "ReLU"), Normalize(), dense(8, "GELU", width=48)], None),
    "residual": ("max", [dense(WIDTH, "Tanh", residual=True), dense(12, "SiLU", bias=False, residual=True), Normalize()], None),
    "truncated": ("mean", [dense(24), Normalize()], lambda folder: change(folder / "config_sentence_transformers.json", truncate_dim=10)),
    "prompted": ("weightedmean", [Normalize()], lambda folder: (
        change(folder / "config_sentence_transformers.json", prompts={"query": "query: ", "document": "a passage of text: "}, default_prompt_name="query"),
        change(folder / "1_Pooling" / "config.json", include_prompt=False))),
    # As older programs wrote them: weights of a Dense in PyTorch's form, the Transformer's file under another name.
    "older": ("mean", [dense(16)], lambda folder: (in_torch_form(folder / "2_Dense"), (folder / "sentence_bert_config.json").rename(folder / "sentence_roberta_config.json"),
                                                  (folder / "sentence_roberta_config.json").write_text('{"max_seq_length": 16, "do_lower_case": false}'))),
    "switches": ("mean", [], lambda folder: (folder / "1_Pooling" / "config.json").write_text(json.dumps(
        {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True, "pooling_mode_mean_sqrt_len_tokens": False}))),
}
MODELS |= {f"dense-{name.lower()}": ("mean", [dense(20, name)], None) for name in ACTIVATIONS}


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def in_torch_form(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def build(folder, poolings, later, edit=None):
    """A random model in sentence-transformers' layout, as sentence-transformers saves it."""
    plain = make("bert", "Model", folder.with_name(folder.name + "-encoder"))
    SentenceTransformer(modules=[Transformer(str(plain)), Pooling(WIDTH, poolings), *later], device="cpu").save(str(folder), create_model_card=False)
    if edit:
        edit(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("vectors"), {"inference_precision": "fp32"}).start()
    made.engram("models", "import", "readme", BASE_MODEL)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def models(server, tmp_path_factory):
    """Imports each model once; model(name) -> its folder."""
    root, folders = tmp_path_factory.mktemp("models"), {}

    def get(name):
        if name not in folders:
            folders[name] = build(root / name, *MODELS[name])
            server.engram("models", "import", name, folders[name])
        return folders[name]
    return get


def embed(server, name, texts, **options):
    m = messages()
    return server.stub("InferenceService").Embed(m.EmbedRequest(model=name, version="1", texts=texts, **options))


def vectors(answer):
    assert not any(r.HasField("error") for r in answer.results), answer
    assert all(len(r.vector) == answer.dimension for r in answer.results)
    return np.array([r.vector for r in answer.results], dtype=np.float32)


def oracle(folder):
    """In fp64, so that the tolerance is Engram's own."""
    return SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float64}).double()


def expect(model, texts, **options):
    return np.stack([model.encode(text, **options) for text in texts])


@pytest.mark.parametrize("name", MODELS)
def test_equals_sentence_transformers(server, models, name):
    folder = models(name)
    model = oracle(folder)
    answer = embed(server, name, TEXTS, truncate=True)
    expected = expect(model, TEXTS)
    got = vectors(answer)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-5)
    # Alone and in other company: the same bits.
    for i, text in enumerate(TEXTS):
        np.testing.assert_array_equal(vectors(embed(server, name, [text], truncate=True))[0], got[i])
    # What is exported is again a model of sentence-transformers, with the same vectors.
    exported = folder.with_name(name + "-exported")
    server.engram("models", "export", f"{name}@1", exported)
    np.testing.assert_allclose(expect(oracle(exported), TEXTS), expected, atol=2e-5)


def test_kinds_differ(server, models):
    """A server that took every pooling for the mean would pass no test above, but neither may two oracles agree by chance."""
    seen = [vectors(embed(server, name, ["Where is my card?"])).tobytes() for name in POOLINGS if models(name)]
    assert len(set(seen)) == len(POOLINGS)


def test_the_readmes_model(server):
    model = SentenceTransformer(str(BASE_MODEL), device="cpu")
    got, expected = vectors(embed(server, "readme", TEXTS)), expect(model, TEXTS)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert got[0] @ expected[0] > 0.999999
    m = messages()
    answer = server.stub("InferenceService").LongContextEncode(m.LongContextEncodeRequest(model="readme", version="1", text="Hi"))
    assert answer.mode == m.LONG_CONTEXT_MODE_MODEL
    np.testing.assert_array_equal(np.frombuffer(answer.vector.data, "<f4"), got[0])


def test_a_bare_encoder_is_the_mean_with_special_tokens(server, tmp_path):
    folder = make("bert", "Model", tmp_path / "bare")
    server.engram("models", "import", "bare", folder)
    np.testing.assert_allclose(vectors(embed(server, "bare", TEXTS, truncate=True)), expect(oracle(folder), TEXTS), atol=2e-5)


def test_prompts_by_name(server, models):
    model = oracle(models("prompted"))
    for name in ("query", "document"):
        np.testing.assert_allclose(vectors(embed(server, "prompted", TEXTS[:4], prompt_name=name)), expect(model, TEXTS[:4], prompt_name=name), atol=2e-5)
    with pytest.raises(grpc.RpcError) as refused:
        embed(server, "prompted", ["a"], prompt_name="passage")
    assert error_info(refused.value)[1] == ["prompt_name"] and "document, query" in refused.value.details()


@pytest.mark.parametrize("name", ["short", "twice", "three", "truncated"])
def test_longer_texts_are_the_weighted_mean_of_their_chunks_vectors(server, models, name):
    model = oracle(models(name))
    m = messages()
    text = " ".join(f"{word} number {i}." for i, word in enumerate(["river", "mountain", "city"] * 20))
    stub = server.stub("InferenceService")
    answer = stub.LongContextEncode(m.LongContextEncodeRequest(model=name, version="1", text=text, chunk_vectors=True))
    assert answer.mode == m.LONG_CONTEXT_MODE_MODEL_CHUNKS and len(answer.chunks) > 2
    assert max(c.tokens for c in answer.chunks) <= (14 if name == "short" else 62)
    assert answer.tokens == sum(c.tokens for c in answer.chunks) == len(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    pieces = [text[c.start:c.end] for c in answer.chunks]
    truncate_dim, model.truncate_dim = model.truncate_dim, None
    parts = expect(model, pieces)
    weights = np.array([c.tokens for c in answer.chunks])
    expected = weights @ parts / weights.sum()
    if isinstance(model[-1], Normalize):
        expected /= np.linalg.norm(expected)
    got = np.frombuffer(answer.vector.data, "<f4")
    np.testing.assert_allclose(got, expected[:truncate_dim], atol=2e-5)
    own = np.frombuffer(answer.chunk_vectors.data, "<f4").reshape(tuple(answer.chunk_vectors.shape))
    np.testing.assert_allclose(own, parts[:, :truncate_dim], atol=2e-5)
    batched = embed(server, name, ["short", text, "another"])
    assert [r.chunks for r in batched.results] == [1, len(answer.chunks), 1] and batched.results[1].mode == m.LONG_CONTEXT_MODE_MODEL_CHUNKS
    np.testing.assert_allclose(vectors(batched)[1], got, atol=1e-6)
    np.testing.assert_array_equal(vectors(batched)[0], vectors(embed(server, name, ["short"]))[0])
    unit = vectors(embed(server, name, [text], normalize=True))[0]
    np.testing.assert_allclose(unit, got / np.linalg.norm(got), atol=2e-6)


def test_limits_are_checked_before_anything_is_computed(server, models):
    models("three")
    for texts in ([], ["a"] * 1025):
        with pytest.raises(grpc.RpcError) as refused:
            embed(server, "three", texts)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == ["texts"]
    with pytest.raises(grpc.RpcError) as refused:
        embed(server, "three", ["a " * (9 << 20)])
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == ["texts"]


def test_refused_at_import(server, tmp_path):
    """What Engram would compute differently is named, and nothing is published."""
    base = build(tmp_path / "base", "mean", [dense(16), Normalize()])

    def refusal(edit):
        folder = tmp_path / "edited"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)
        edit(folder)
        answer = server.engram("models", "import", "refused", folder, check=False)
        assert answer.returncode == 1, answer
        return answer.stderr

    def modules(change):
        def edit(folder):
            listed = json.loads((folder / "modules.json").read_text())
            change(listed)
            (folder / "modules.json").write_text(json.dumps(listed))
        return edit

    for kind in ("LayerNorm", "CNN", "LSTM", "WordEmbeddings", "BoW", "Router", "StaticEmbedding", "WeightedLayerPooling"):
        said = refusal(modules(lambda listed: listed[2].update(type=f"sentence_transformers.models.{kind}")))
        assert kind in said and "not implemented" in said
        assert kind in refusal(modules(lambda listed: listed[0].update(type=f"sentence_transformers.models.{kind}")))
    assert "code of its own" in refusal(modules(lambda listed: listed[2].update(type="custom.Thing")))
    assert "no Pooling" in refusal(modules(lambda listed: listed.__delitem__(slice(1, None))))
    said = refusal(lambda folder: (folder / "2_Dense" / "model.safetensors").unlink())
    assert "2_Dense/model.safetensors" in said and "save it again" in said
    said = refusal(lambda folder: (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin"))
    assert "2_Dense" in said and "pytorch_model.bin" in said
    assert "PReLU" in refusal(lambda folder: change(folder / "2_Dense" / "config.json", activation_function="torch.nn.modules.activation.PReLU"))
    assert "torch.nn" in refusal(lambda folder: change(folder / "2_Dense" / "config.json", activation_function="mine.Relu"))
    assert "99" in refusal(lambda folder: change(folder / "2_Dense" / "config.json", in_features=99))
    said = refusal(lambda folder: save_file({"linear.weight": torch.zeros(16, 31), "linear.bias": torch.zeros(16)}, folder / "2_Dense" / "model.safetensors"))
    assert "[16, 31]" in said and "[16, 32]" in said
    assert "not finite" in refusal(lambda folder: save_file({"linear.weight": torch.full((16, 32), float("nan")), "linear.bias": torch.zeros(16)}, folder / "2_Dense" / "model.safetensors"))
    # Files that contradict each other: both values.
    said = refusal(lambda folder: (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 128}'))
    assert "128" in said and "64" in said
    said = refusal(lambda folder: (change(folder / "tokenizer_config.json", model_max_length=32), (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 48}')))
    assert "48" in said and "32" in said
    said = refusal(lambda folder: (folder / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": WIDTH, "pooling_mode": "max", "pooling_mode_cls_token": True})))
    assert "max" in said and "cls" in said
    assert "33" in refusal(lambda folder: change(folder / "1_Pooling" / "config.json", embedding_dimension=33))

    def cased(folder):
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        tokenizer["normalizer"].update(lowercase=False, strip_accents=False)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        change(folder / "tokenizer_config.json", do_lower_case=False, strip_accents=False)
        (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 48, "do_lower_case": true}')
    said = refusal(cased)
    assert "do_lower_case" in said and "true" in said and "false" in said
    assert "refused" not in server.engram("models", "list").stdout


LINES = ["Hi", "", "Where is my card?", "  ", "last"]


@pytest.mark.parametrize("ending", ["npy", "jsonl", "csv"])
def test_a_file_of_lines(server, models, tmp_path, ending):
    models("normalized")
    path, out = tmp_path / "lines.txt", tmp_path / f"out.{ending}"
    path.write_bytes("\r\n".join(LINES).encode() + b"\r\n")
    said = server.engram("encode", "normalized@1", "--file", path, "--out", out).stdout
    assert said == f"5 vectors of {WIDTH} numbers written to {out}, 0 lines without a result\n"
    expected = vectors(embed(server, "normalized", LINES))
    np.testing.assert_array_equal(read(out), expected)  # to the bit, in text, too
    assert not out.with_name(out.name + ".partial").exists()


def read(out):
    if out.suffix == ".npy":
        return np.load(out)
    if out.suffix == ".jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [r["line"] for r in rows] == list(range(1, len(rows) + 1))
        return np.array([r.get("vector", [np.nan] * WIDTH) for r in rows], dtype=np.float32)
    rows = np.genfromtxt(out, delimiter=",", skip_header=1, dtype=np.float32, usecols=range(2, 2 + WIDTH))
    assert out.read_text().startswith("line,error,v0,v1,")
    return rows


@pytest.mark.parametrize("ending", ["npy", "jsonl", "csv"])
def test_a_line_without_a_result_is_named_and_keeps_its_place(server, models, tmp_path, ending):
    models("normalized")
    path, out = tmp_path / "lines.txt", tmp_path / f"out.{ending}"
    path.write_bytes(b"Hi\n\xff\xfe\nlast")
    answer = server.engram("encode", "normalized@1", "--file", path, "--out", out, check=False)
    assert answer.returncode == 1 and "line 2: the line is not UTF-8" in answer.stderr and "2 vectors" in answer.stdout
    rows, expected = read(out), vectors(embed(server, "normalized", ["Hi", "last"]))
    np.testing.assert_array_equal(rows[[0, 2]], expected)
    assert np.isnan(rows[1]).all()


def test_more_lines_than_one_call_takes(server, models, tmp_path):
    models("normalized")
    path, out = tmp_path / "lines.txt", tmp_path / "out.npy"
    lines = [f"line number {i}" for i in range(600)]
    path.write_text("\n".join(lines))
    server.engram("encode", "normalized@1", "--file", path, "--out", out)
    np.testing.assert_array_equal(np.load(out), vectors(embed(server, "normalized", lines)))


def test_a_packed_file_and_one_that_breaks_off(server, models, tmp_path):
    models("normalized")
    packed, out = tmp_path / "lines.txt.gz", tmp_path / "out.npy"
    whole = gzip.compress("\n".join(LINES).encode())
    packed.write_bytes(whole)
    server.engram("encode", "normalized@1", "--file", packed, "--out", out)
    np.testing.assert_array_equal(np.load(out), vectors(embed(server, "normalized", LINES)))
    out.unlink()
    packed.write_bytes(whole[:-9])
    answer = server.engram("encode", "normalized@1", "--file", packed, "--out", out, check=False)
    assert answer.returncode != 0 and not out.exists(), answer


def test_numbers_on_standard_output(server, models, tmp_path):
    models("normalized")
    expected = vectors(embed(server, "normalized", ["Hi", "there"]))
    printed = server.engram("encode", "normalized@1", "Hi").stdout
    np.testing.assert_array_equal(np.array(printed.split(), dtype=np.float32), expected[0])
    path = tmp_path / "lines.txt"
    path.write_text("Hi\nthere\n")
    lines = server.engram("encode", "normalized@1", "--file", path).stdout.splitlines()
    np.testing.assert_array_equal(np.array([line.split() for line in lines], dtype=np.float32), expected)
    for words in (("--file", path, "--out", tmp_path / "out.parquet"),):
        answer = server.engram("encode", "normalized@1", *words, check=False)
        assert answer.returncode == 2 and all(end in answer.stderr for end in (".npy", ".jsonl", ".csv"))
