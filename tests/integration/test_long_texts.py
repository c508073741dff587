"""LongContextEncode against transformers in fp64, chunk by chunk, on a text of more than 128,000 tokens."""
import gzip
import json

import grpc
import numpy as np
import pytest
import torch
import transformers

from conftest import DATA, Server, error_info, messages
from small_models import hidden_states, make, tokenizer

WIDTH = 32


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    made = Server(folder, {"inference_precision": "fp32", "max_message_mb": 32}).start()
    made.directory = make("bert", "Model", folder / "model", max_position_embeddings=512)
    made.engram("models", "import", "long", made.directory)
    made.tokenizer = tokenizer(made.directory)
    made.encoder = transformers.AutoModel.from_pretrained(made.directory, dtype=torch.float64).eval()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def long_text(server):
    """More than 128,000 tokens, with characters of two to four bytes among them."""
    rows = [json.loads(line)["text"] for part in ("train", "test") for line in gzip.open(DATA / f"dbpedia14.{part}.jsonl.gz", "rt", encoding="utf-8")]
    text = " \u2014 \U0001F600 ".join(rows)
    text = text[:text.index(" ", 620_000)]
    server.encoding = server.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert len(server.encoding["input_ids"]) > 128_000
    return text


def encode(server, text, **options):
    m = messages()
    return server.stub("InferenceService").LongContextEncode(m.LongContextEncodeRequest(model="long", version="1", text=text, **options))


def array(tensor) -> np.ndarray:
    assert tensor.dtype == "float32"
    return np.frombuffer(tensor.data, "<f4").reshape(tuple(tensor.shape))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("mode, chunk_tokens, overlap, normalize", [(1, 0, 0, False), (1, 128, 40, True), (2, 300, 149, False)])
def test_more_than_128000_tokens(server, long_text, mode, chunk_tokens, overlap, normalize):
    answer = encode(server, long_text, mode=mode, chunk_tokens=chunk_tokens, overlap=overlap, normalize=normalize, chunk_vectors=True)
    ids, places = server.encoding["input_ids"], server.encoding["offset_mapping"]
    assert answer.tokens == len(ids) and not answer.truncated
    # The chunks follow each other with exactly the overlap, but for the last one, which begins earlier to be full; together they hold every token.
    begins, begin = [], 0
    for i, chunk in enumerate(answer.chunks):
        if i + 1 == len(answer.chunks):
            begin = len(ids) - chunk.tokens
            # A word more would not fit.
            assert chunk.tokens + 12 > (chunk_tokens or 512) - 2
        begins.append(begin)
        assert 2 + chunk.tokens <= (chunk_tokens or 512)
        assert (chunk.start, chunk.end) == (places[begin][0], places[begin + chunk.tokens - 1][1])
        begin += chunk.tokens - overlap
    ends = [b + c.tokens for b, c in zip(begins, answer.chunks)]
    assert ends[-1] == len(ids)
    bytes_before = np.concatenate([[0], np.cumsum([len(c.encode()) for c in long_text])])
    assert all((c.start_byte, c.end_byte) == (bytes_before[c.start], bytes_before[c.end]) for c in answer.chunks)
    # A token of an overlap counts in the chunk where it is farther from the border.
    total, count, own = np.zeros(WIDTH), 0, []
    for i, (begin, end) in enumerate(zip(begins, ends)):
        rows = hidden_states(server.encoder, [101, *ids[begin:end], 102])[1:-1]
        own.append(rows.mean(0) if mode == 1 else rows.max(0))
        first = begin if i == 0 else (ends[i - 1] + begin + 1) // 2
        last = end if i + 1 == len(begins) else (end + begins[i + 1] + 1) // 2
        assert answer.chunks[i].owned_tokens == last - first
        total += rows[first - begin:last - begin].sum(0)
        count += last - first
    assert count == len(ids)
    own = np.array(own)
    document = total / count if mode == 1 else own.max(0)
    if normalize:
        document, own = unit(document), unit(own)
    np.testing.assert_allclose(array(answer.vector), document, atol=2e-5)
    np.testing.assert_allclose(array(answer.chunk_vectors), own, atol=2e-5)


def test_a_text_that_fits_is_one_plain_pass(server, long_text):
    short = "A short text, before and after a long one."
    before = array(encode(server, short, mode=1).vector)
    encode(server, long_text[:100_000], mode=1)
    np.testing.assert_array_equal(array(encode(server, short, mode=1).vector), before)
    ids = server.tokenizer(short)["input_ids"]
    np.testing.assert_allclose(before, hidden_states(server.encoder, ids)[1:-1].mean(0), atol=2e-5)
    np.testing.assert_allclose(array(encode(server, short, mode=2).vector), hidden_states(server.encoder, ids)[1:-1].max(0), atol=2e-5)


def test_a_short_call_does_not_wait_for_long_texts(server, long_text):
    """More long texts than the server has threads for: a short call is answered before the first of them."""
    m = messages()
    stub = server.stub("InferenceService")
    request = m.LongContextEncodeRequest(model="long", version="1", text=long_text * 8)
    encodes = [stub.LongContextEncode.future(request) for _ in range(6)]
    for _ in range(20):
        stub.Tokenize(m.TokenizeRequest(model="long", version="1", texts=["short"]), timeout=60)
    assert not any(call.done() for call in encodes)
    for call in encodes:
        call.cancel()


@pytest.mark.parametrize("text, options, field", [("", {}, "text"), (" \n\u200b", {}, "text"), ("a", dict(chunk_tokens=7), "chunk_tokens"), ("a", dict(chunk_tokens=513), "chunk_tokens"),
                                                  ("a", dict(chunk_tokens=-1), "chunk_tokens"), ("a", dict(chunk_tokens=12, overlap=6), "overlap"), ("a", dict(overlap=-1), "overlap"),
                                                  ("a", dict(mode=9), "mode")])
def test_refusals(server, text, options, field):
    with pytest.raises(grpc.RpcError) as refused:
        encode(server, text, **options)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == [field]


def test_more_vectors_than_an_answer_can_carry(server):
    """Nothing is computed or allocated for an answer that could not be sent."""
    with pytest.raises(grpc.RpcError) as refused:
        encode(server, "a " * 13_000_000, chunk_tokens=8, chunk_vectors=True)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == ["chunk_tokens"], refused.value.details()
