"""LongContextEncode's modes against loops over transformers in fp64, its stream, its plan, and how it refuses and ends."""
import json
import time

import grpc
import numpy as np
import pytest
import torch
import transformers

from conftest import Server, error_info, messages
from small_models import hidden_states, make, tokenizer

TRAINED = 64


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long-encode")
    made = Server(folder, {"inference_precision": "fp32", "max_message_mb": 512}).start()
    made.directory = make("bert", "Model", folder / "model", max_position_embeddings=TRAINED)
    made.engram("models", "import", "long", made.directory)
    made.tokenizer = tokenizer(made.directory)
    made.encoder = transformers.AutoModel.from_pretrained(made.directory, dtype=torch.float64).eval()
    yield made
    made.stop()


TEXT = " ".join(f"{word} number {i} \u2014 caf\u00e9 \U0001F600" for i, word in enumerate(["river", "mountain", "city", "unbelievable"] * 18))


def request(text=TEXT, **options):
    return messages().LongContextEncodeRequest(model="long", version="1", text=text, **options)


def encode(server, text=TEXT, timeout=None, **options):
    return server.stub("InferenceService").LongContextEncode(request(text, **options), timeout=timeout)


def stream(server, text=TEXT, token_vectors=False, timeout=None, **options):
    return server.stub("InferenceService").StreamLongContextEncode(
        messages().StreamLongContextEncodeRequest(encode=request(text, **options), token_vectors=token_vectors), timeout=timeout)


def array(tensor) -> np.ndarray:
    assert tensor.dtype == "float32"
    return np.frombuffer(tensor.data, "<f4").reshape(tuple(tensor.shape))


def ids_of(server, text=TEXT):
    return server.tokenizer(text, add_special_tokens=False)["input_ids"]


def chunk_begins(answer, count, overlap):
    begins, at = [], 0
    for chunk in answer.chunks:
        begins.append(min(at, count - chunk.tokens))
        at = begins[-1] + chunk.tokens - overlap
    return begins


def extended(server, length):
    """transformers' own BERT with a table of `length` positions, made as Su defines the hierarchical ones."""
    table = server.encoder.embeddings.position_embeddings.weight.detach()
    e = (table - 0.4 * table[0]) / 0.6
    p = torch.arange(length)
    config = transformers.BertConfig.from_pretrained(server.directory, max_position_embeddings=length)
    longer = transformers.BertModel(config).double().eval()
    weights = dict(server.encoder.state_dict())
    weights["embeddings.position_embeddings.weight"] = 0.4 * e[p // TRAINED] + 0.6 * e[p % TRAINED]
    longer.load_state_dict({k: v for k, v in weights.items() if k in longer.state_dict() and "position_ids" not in k}, strict=False)
    return longer


@pytest.mark.parametrize("pooling", ["MEAN", "CLS", "LAST", "MAX"])
@pytest.mark.parametrize("aggregation", ["MEAN", "MAX", "ATTENTION"])
def test_chunks(server, pooling, aggregation):
    m = messages()
    options = dict(query="the second mountain", temperature=0.2) if aggregation == "ATTENTION" else {}
    answer = encode(server, mode=m.LONG_CONTEXT_MODE_CHUNK, chunk_tokens=40, overlap=6, chunk_vectors=True,
                    pooling=getattr(m, f"LONG_CONTEXT_POOLING_{pooling}"), aggregation=getattr(m, f"LONG_CONTEXT_AGGREGATION_{aggregation}"), **options)
    ids = ids_of(server)

    def vector(part):
        rows = hidden_states(server.encoder, [101, *part, 102])
        return {"MEAN": rows[1:-1].mean(0), "CLS": rows[0], "LAST": rows[-2], "MAX": rows[1:-1].max(0)}[pooling]

    begins = chunk_begins(answer, len(ids), 6)
    own = np.array([vector(ids[b:b + c.tokens]) for b, c in zip(begins, answer.chunks)])
    np.testing.assert_allclose(array(answer.chunk_vectors), own, atol=2e-5)
    if aggregation == "ATTENTION":
        query = vector(ids_of(server, options["query"]))
        scores = own @ query / np.linalg.norm(own, axis=1) / np.linalg.norm(query) / 0.2
        weights = np.exp(scores - scores.max())
        expected = weights @ own / weights.sum()
        assert weights.max() / weights.min() > 1.05  # or it would be the mean
    else:
        expected = own.mean(0) if aggregation == "MEAN" else own.max(0)
    np.testing.assert_allclose(array(answer.vector), expected, atol=2e-5)
    assert sum(c.owned_tokens for c in answer.chunks) == answer.tokens == len(ids)
    assert answer.tokens_encoded == sum(c.tokens + 2 for c in answer.chunks) == answer.plan.tokens_encoded
    assert answer.windows == len(answer.chunks) == answer.plan.windows
    assert not answer.out_of_trained_range and answer.position_factor == 1 and answer.positions == m.POSITION_EXTENSION_UNSPECIFIED
    assert answer.mode == m.LONG_CONTEXT_MODE_CHUNK and answer.pooling == getattr(m, f"LONG_CONTEXT_POOLING_{pooling}")
    assert answer.aggregation == getattr(m, f"LONG_CONTEXT_AGGREGATION_{aggregation}")


def test_late_chunks(server):
    """Token vectors from windows of 64 tokens that share 16, then means of chunks of about 20 of them."""
    m = messages()
    events = list(stream(server, token_vectors=True, mode=m.LONG_CONTEXT_MODE_LATE, chunk_tokens=20, overlap=16, chunk_vectors=True))
    answer, ids = events[-1].result, ids_of(server)
    # The windows are those of the mode "chunk", which says where they are.
    windows = encode(server, mode=m.LONG_CONTEXT_MODE_CHUNK, overlap=16)
    begins = chunk_begins(windows, len(ids), 16)
    tokens = []
    for begin, window in zip(begins, windows.chunks):
        rows = hidden_states(server.encoder, [101, *ids[begin:begin + window.tokens], 102])[1:-1]
        tokens.extend(rows[len(tokens) - begin:len(tokens) - begin + window.owned_tokens])
    tokens = np.array(tokens)
    assert len(tokens) == len(ids) == answer.tokens == sum(c.tokens for c in answer.chunks)
    ends = np.cumsum([c.tokens for c in answer.chunks])
    own = np.array([tokens[e - c.tokens:e].mean(0) for e, c in zip(ends, answer.chunks)])
    np.testing.assert_allclose(array(answer.chunk_vectors), own, atol=2e-5)
    np.testing.assert_allclose(array(answer.vector), tokens.mean(0), atol=2e-5)
    assert answer.windows == len(windows.chunks) and max(c.tokens for c in answer.chunks) <= 20
    # The stream's rows are those of all tokens, with their places.
    parts = [e.tokens for e in events if e.WhichOneof("event") == "tokens"]
    np.testing.assert_allclose(np.concatenate([array(p.vectors) for p in parts]), tokens, atol=2e-5)
    assert [p.first_token for p in parts] == list(np.cumsum([0] + [p.vectors.shape[0] for p in parts])[:-1])
    places = server.tokenizer(TEXT, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert [(s, e) for p in parts for s, e in zip(p.starts, p.ends)] == places


def test_full_attention_beyond_the_trained_positions(server):
    m = messages()
    ids = ids_of(server)
    rows = hidden_states(extended(server, len(ids) + 2), [101, *ids, 102])
    answer = encode(server, mode=m.LONG_CONTEXT_MODE_FULL, chunk_tokens=50, chunk_vectors=True)
    np.testing.assert_allclose(array(answer.vector), rows[1:-1].mean(0), atol=2e-5)
    ends = np.cumsum([c.tokens for c in answer.chunks])
    np.testing.assert_allclose(array(answer.chunk_vectors), [rows[1 + e - c.tokens:1 + e].mean(0) for e, c in zip(ends, answer.chunks)], atol=2e-5)
    assert answer.out_of_trained_range and answer.positions == m.POSITION_EXTENSION_HIERARCHICAL
    assert answer.position_factor == pytest.approx((len(ids) + 2) / TRAINED) and answer.windows == 1 and answer.tokens_encoded == len(ids) + 2
    assert 0 < answer.peak_bytes <= 1.1 * answer.plan.bytes
    np.testing.assert_allclose(array(encode(server, mode=m.LONG_CONTEXT_MODE_FULL, pooling=m.LONG_CONTEXT_POOLING_CLS).vector), rows[0], atol=2e-5)
    # A window as wide as the text sees what full attention sees; a narrow one does not.
    sliding = lambda width: array(encode(server, mode=m.LONG_CONTEXT_MODE_SLIDING, window_tokens=width).vector)
    np.testing.assert_allclose(sliding(len(ids) + 1), array(answer.vector), atol=2e-5)
    assert np.abs(sliding(4) - array(answer.vector)).max() > 1e-3
    # Positions of another kind are other vectors.
    others = [array(encode(server, mode=m.LONG_CONTEXT_MODE_FULL, positions=kind).vector) for kind in (2, 3, 4)]
    assert all(np.abs(other - array(answer.vector)).max() > 1e-4 for other in others)


def test_rotary_positions_beyond_the_trained_ones(server, tmp_path):
    """A decoder that was trained to 64 tokens by a static YaRN: dynamic YaRN beyond them, which for a text of L tokens is YaRN by L / 16."""
    m = messages()
    rope = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16}
    directory = make("llama", "Model", tmp_path / "llama", rope_parameters=rope)
    server.engram("models", "import", "llama", directory)
    text = " ".join(TEXT.split()[:120])
    ids = [101, *ids_of(server, text), 102]

    def rows(factor, tokens):
        config = transformers.LlamaConfig.from_pretrained(directory, rope_parameters={**rope, "factor": factor}, max_position_embeddings=4096)
        return hidden_states(transformers.LlamaModel.from_pretrained(directory, config=config, dtype=torch.float64).eval(), tokens)[1:-1].mean(0)

    def read(text, **options):
        return server.stub("InferenceService").LongContextEncode(m.LongContextEncodeRequest(model="llama", text=text, mode=m.LONG_CONTEXT_MODE_FULL, **options))

    answer, static = read(text), read(text, positions=m.POSITION_EXTENSION_YARN, position_factor=4)
    np.testing.assert_allclose(array(answer.vector), rows(len(ids) / 16, ids), atol=1e-4)
    np.testing.assert_allclose(array(static.vector), rows(4, ids), atol=1e-4)
    assert np.abs(array(answer.vector) - array(static.vector)).max() > 1e-2
    assert answer.positions == m.POSITION_EXTENSION_DYNAMIC_YARN and answer.out_of_trained_range and answer.position_factor == pytest.approx(len(ids) / 16)
    assert static.positions == m.POSITION_EXTENSION_YARN and static.out_of_trained_range and static.position_factor == 4
    short = read("a short text")
    np.testing.assert_allclose(array(short.vector), rows(4, [101, *ids_of(server, "a short text"), 102]), atol=2e-5)
    assert short.positions == m.POSITION_EXTENSION_UNSPECIFIED and not short.out_of_trained_range and short.position_factor == 4
    # A window keeps rotations, which are differences of positions, within the training.
    window = server.stub("InferenceService").LongContextEncode(m.LongContextEncodeRequest(model="llama", text=text, mode=m.LONG_CONTEXT_MODE_SLIDING, window_tokens=20))
    assert not window.out_of_trained_range and window.positions == m.POSITION_EXTENSION_UNSPECIFIED
    with pytest.raises(grpc.RpcError) as refused:
        read(text, positions=m.POSITION_EXTENSION_TILED)
    assert error_info(refused.value)[1] == ["positions"]
    with pytest.raises(grpc.RpcError) as refused:
        read(text, positions=m.POSITION_EXTENSION_YARN, position_factor=0.5)
    assert error_info(refused.value)[1] == ["position_factor"]
    server.engram("models", "delete", "llama", "--yes")


def test_classes_of_whole_documents(server, tmp_path):
    """The mean of the chunks' logits, each by its own tokens; of a text that fits, the logits that it has without chunks."""
    m = messages()
    directory = make("bert", "ForSequenceClassification", tmp_path / "classes", labels=["a", "b", "c"], max_position_embeddings=TRAINED)
    server.engram("models", "import", "classes", directory)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float64).eval()
    classify = lambda **more: server.stub("InferenceService").Classify(m.ClassifyRequest(model="classes", **more))
    short = "the river runs"
    answer = classify(texts=[TEXT, short, " "], long_texts=m.LONG_TEXTS_CHUNK)
    ids = ids_of(server)
    windows = encode(server, mode=m.LONG_CONTEXT_MODE_CHUNK)  # the same length, the same places
    begins = chunk_begins(windows, len(ids), 0)

    def logits(part):
        with torch.no_grad():
            return model(torch.tensor([[101, *part, 102]])).logits[0].numpy()

    mean = np.average([logits(ids[b:b + c.tokens]) for b, c in zip(begins, windows.chunks)], axis=0, weights=[c.owned_tokens for c in windows.chunks])
    scores = lambda result: np.array([s.logit for s in sorted(result.tasks[0].scores, key=lambda s: s.label)])
    np.testing.assert_allclose(scores(answer.results[0]), mean, atol=2e-5)
    assert np.abs(mean - logits(ids[:TRAINED - 2])).max() > 1e-2  # the beginning alone says something else
    assert answer.results[0].chunks == len(windows.chunks) > 3 and not answer.results[0].truncated
    assert answer.results[0].tokens == windows.tokens_encoded and answer.results[0].full_tokens == len(ids) + 2
    alone = classify(texts=[short]).results[0]
    assert classify(texts=[short], long_texts=m.LONG_TEXTS_CHUNK).results[0] == alone and alone.chunks == 1  # to the bit
    np.testing.assert_allclose(scores(answer.results[1]), scores(alone), atol=2e-5)
    assert answer.results[2].error.message and not answer.results[2].tasks
    for options in (dict(truncate=True), dict(text_pairs=["a"]), dict(long_texts=7)):
        with pytest.raises(grpc.RpcError) as refused:
            classify(**{"texts": ["a"], "long_texts": m.LONG_TEXTS_CHUNK, **options})
        assert error_info(refused.value)[1] == ["long_texts"], refused.value.details()
    said = server.engram("classify", "classes", TEXT, "--long", "chunk").stdout
    assert f"in {len(windows.chunks)} chunks" in said
    server.engram("models", "delete", "classes", "--yes")


YARN_LLAMA = {"architectures": ["LlamaForCausalLM"], "hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 40,
              "intermediate_size": 13824, "vocab_size": 32000, "max_position_embeddings": 131072, "model_type": "llama", "hidden_act": "silu",
              "rms_norm_eps": 1e-5, "rope_scaling": {"type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "finetuned": True}}


def test_the_plan_of_a_model_that_is_not_here(server, tmp_path):
    """Yarn-Llama-2-13b-128k on an H100, by its config.json alone: 26 GB of weights, and as long as arithmetic says."""
    m = messages()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(YARN_LLAMA))

    def ask(tokens, text=path.read_text(), **more):
        request = dict(config_json=text, plan_tokens=tokens, mode=m.LONG_CONTEXT_MODE_FULL, validate_only=True, device="h100") | more
        return server.stub("InferenceService").LongContextEncode(m.LongContextEncodeRequest(**request))

    within, beyond = ask(131072), ask(262144)
    layer = 4 * 5120**2 + 3 * 5120 * 13824
    parameters = 40 * (layer + 2 * 5120) + 32000 * 5120 + 5120
    assert within.plan.weight_bytes == 2 * parameters and 25e9 < within.plan.weight_bytes < 27e9
    for answer, tokens in ((within, 131072), (beyond, 262144)):
        linear, attention = 2 * 40 * layer * tokens / 600e12, 40 * 4 * 5120 * tokens**2 / 2 / 370e12
        assert answer.plan.attention_seconds == pytest.approx(attention, rel=0.01) and answer.plan.seconds == pytest.approx(linear + attention, rel=0.01)
        assert 4 * 5120 * 2 * tokens < answer.plan.bytes < 1.5 * 4 * 5120 * 2 * tokens
        assert answer.plan.largest_tokens > 262144 and answer.plan.free_bytes == 80_000_000_000 - 2 * parameters
    assert not within.out_of_trained_range and within.positions == m.POSITION_EXTENSION_UNSPECIFIED and within.position_factor == 32
    assert beyond.out_of_trained_range and beyond.positions == m.POSITION_EXTENSION_DYNAMIC_YARN and beyond.position_factor == 64
    here = ask(1024, device="")
    assert here.plan.seconds > 0 and here.plan.weight_bytes == 4 * parameters
    table = server.engram("encode", "--plan", "--config", path, "--plan-tokens", "131072", "262144", "--device", "h100").stdout
    assert "dynamic_yarn x 64, beyond the training" in table and "trained x 32" in table and len(table.splitlines()) == 3
    for options, field in ((dict(validate_only=False), "config_json"), (dict(model="long"), "model"), (dict(tokens=0), "plan_tokens"), (dict(device="tpu"), "device"),
                           (dict(mode=m.LONG_CONTEXT_MODE_CHUNK), "mode"), (dict(mode=m.LONG_CONTEXT_MODE_SLIDING), "device"), (dict(positions=1), "positions"),
                           (dict(text=json.dumps({**YARN_LLAMA, "num_attention_heads": 41})), "num_attention_heads")):
        with pytest.raises(grpc.RpcError) as refused:
            ask(**{"tokens": 10, **options})
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == [field], refused.value.details()
    assert server.engram("encode", "long", "--plan", "--config", path, "--plan-tokens", "10", check=False).returncode == 2


@pytest.mark.parametrize("mode", ["CHUNK", "LATE", "FULL", "SLIDING"])
def test_a_short_text_has_the_same_bits_before_and_after_a_long_one(server, mode):
    m = messages()
    mode = getattr(m, f"LONG_CONTEXT_MODE_{mode}")
    before = encode(server, "a short text", mode=mode)
    encode(server, mode=mode)
    assert encode(server, "a short text", mode=mode).vector == before.vector
    np.testing.assert_allclose(array(before.vector), hidden_states(server.encoder, server.tokenizer("a short text")["input_ids"])[1:-1].mean(0), atol=2e-5)
    one = encode(server, "a", mode=mode)
    assert one.tokens == 1 and [c.owned_tokens for c in one.chunks] == [1]


def test_the_stream_says_the_plan_first_and_the_answer_last(server):
    m = messages()
    events = list(stream(server, mode=m.LONG_CONTEXT_MODE_FULL))
    kinds = [e.WhichOneof("event") for e in events]
    assert kinds[0] == "plan" and kinds[-1] == "result" and set(kinds[1:-1]) <= {"progress"} and kinds.count("plan") == 1
    progress = [e.progress for e in events if e.WhichOneof("event") == "progress"]
    assert progress and all(0 <= p.done <= p.total and p.seconds >= 0 for p in progress)
    assert events[-1].result.vector == encode(server, mode=m.LONG_CONTEXT_MODE_FULL).vector
    assert events[0].plan.tokens == events[-1].result.tokens == len(ids_of(server))


def test_a_plan_alone(server):
    m = messages()
    planned = encode(server, mode=m.LONG_CONTEXT_MODE_FULL, validate_only=True)
    assert not planned.vector.data and planned.plan.tokens == len(ids_of(server)) and planned.plan.seconds > 0
    assert planned.plan.free_bytes > planned.plan.bytes > 0
    longer = encode(server, "", mode=m.LONG_CONTEXT_MODE_FULL, validate_only=True, plan_tokens=4000).plan
    assert longer.bytes > planned.plan.bytes and longer.largest_tokens == TRAINED * TRAINED - 2
    assert encode(server, "", mode=m.LONG_CONTEXT_MODE_CHUNK, validate_only=True, plan_tokens=62 * 100).plan.windows == 100
    table = server.engram("encode", "long", "--mode", "full", "--plan", "--plan-tokens", "4000").stdout
    assert "4000" in table and "4094" in table
    assert server.json("encode", "long", "some text", "--mode", "chunk", "--plan")["plan"]["tokens"] == 2


def test_what_does_not_fit_the_memory_is_refused_before_it_starts(server, tmp_path):
    m = messages()
    wide = make("bert", "Model", tmp_path / "wide", max_position_embeddings=TRAINED, hidden_size=1024, num_hidden_layers=1, num_attention_heads=16)
    server.engram("models", "import", "wide", wide)
    plan = lambda text, **more: m.LongContextEncodeRequest(model="wide", version="1", text=text, mode=m.LONG_CONTEXT_MODE_FULL,
                                                           positions=m.POSITION_EXTENSION_TILED, **more)
    call = server.stub("InferenceService").LongContextEncode
    largest = call(plan("", validate_only=True, plan_tokens=1000)).plan.largest_tokens
    assert largest > 100_000
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as refused:
        call(plan("a " * (largest + largest // 5)))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and error_info(refused.value)[0].reason == "OUT_OF_MEMORY", refused.value.details()
    assert str(largest)[:2] in refused.value.details() and time.monotonic() - start < 60
    server.engram("models", "delete", "wide", "--yes")


def test_ten_million_tokens(server):
    """Planned as arithmetic says, and refused where that is more than the model has positions, memory or time for."""
    m = messages()
    count = 10_000_000
    plan = lambda mode, **more: encode(server, "", mode=getattr(m, f"LONG_CONTEXT_MODE_{mode}"), validate_only=True, plan_tokens=count, **more).plan
    chunks = plan("CHUNK")
    assert chunks.windows == -(-count // (TRAINED - 2)) and chunks.tokens == count
    assert chunks.seconds < 30 * encode(server, "", mode=m.LONG_CONTEXT_MODE_CHUNK, validate_only=True, plan_tokens=count // 10).plan.seconds
    with pytest.raises(grpc.RpcError) as refused:
        plan("FULL")
    assert error_info(refused.value)[1] == ["positions"]
    with pytest.raises(grpc.RpcError) as refused:
        encode(server, "a " * count, mode=m.LONG_CONTEXT_MODE_FULL, positions=m.POSITION_EXTENSION_TILED, timeout=120)
    assert error_info(refused.value)[0].reason in ("DEADLINE_TOO_SHORT", "OUT_OF_MEMORY"), refused.value.details()


@pytest.mark.parametrize("mode", ["CHUNK", "FULL"])
def test_a_deadline_of_a_millisecond(server, mode):
    with pytest.raises(grpc.RpcError) as late:
        encode(server, mode=getattr(messages(), f"LONG_CONTEXT_MODE_{mode}"), timeout=0.001)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_deadline_that_cannot_be_met_is_refused_at_once(server):
    m = messages()
    text = "a " * 200_000
    options = dict(mode=m.LONG_CONTEXT_MODE_FULL, positions=m.POSITION_EXTENSION_TILED)
    seconds = encode(server, text, validate_only=True, **options).plan.seconds
    assert seconds > 40
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as late:
        encode(server, text, timeout=seconds / 2, **options)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED and error_info(late.value)[0].reason == "DEADLINE_TOO_SHORT"
    assert time.monotonic() - start < seconds / 4


def test_a_client_that_leaves_ends_the_work_within_a_second(server):
    """More encodes of minutes than the server has threads for: once their clients are gone, a thread is there for the next one."""
    m = messages()
    options = dict(mode=m.LONG_CONTEXT_MODE_FULL, positions=m.POSITION_EXTENSION_TILED)
    encode(server, "a", mode=m.LONG_CONTEXT_MODE_CHUNK)  # its plan's measurement
    calls = [stream(server, "a " * 200_000, **options) for _ in range(16)]
    for event in calls[0]:
        if event.WhichOneof("event") == "progress" and event.progress.done > 0:
            break
    waiting = server.stub("InferenceService").LongContextEncode.future(request("a", mode=m.LONG_CONTEXT_MODE_CHUNK))
    assert not waiting.done()
    start = time.monotonic()
    for call in calls:
        call.cancel()
    assert waiting.result(timeout=60).tokens == 1
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("options, field", [
    (dict(mode=5, aggregation=2, pooling=2), "aggregation"), (dict(mode=5, aggregation=9), "aggregation"), (dict(mode=5, pooling=9), "pooling"), (dict(mode=5, aggregation=4), "query"),
    (dict(mode=5, query="a"), "query"), (dict(mode=5, temperature=1.0), "temperature"), (dict(mode=5, aggregation=4, query="a", temperature=0.0), "temperature"),
    (dict(mode=5, positions=1), "positions"), (dict(mode=7, positions=9), "positions"), (dict(mode=5, chunk_tokens=65), "chunk_tokens"), (dict(mode=6, window_tokens=65), "window_tokens"),
    (dict(mode=6, pooling=2), "pooling"), (dict(mode=7, aggregation=1), "aggregation"), (dict(mode=1, aggregation=1), "aggregation"), (dict(pooling=1), "pooling"),
    (dict(aggregation=1), "aggregation"), (dict(window_tokens=8), "window_tokens"), (dict(mode=5, plan_tokens=8), "plan_tokens"), (dict(mode=7, text="a " * (TRAINED * TRAINED)), "positions"),
    (dict(mode=6, text=""), "text"), (dict(mode=7, text=" "), "text"), (dict(mode=5, prompt_name="query"), "prompt_name"), (dict(mode=4), "mode")])
def test_refusals(server, options, field):
    with pytest.raises(grpc.RpcError) as refused:
        encode(server, **options)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == [field], refused.value.details()
    with pytest.raises(grpc.RpcError) as refused:
        list(stream(server, **options))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and error_info(refused.value)[1] == [field]


def test_the_command_line(server, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    said = server.engram("encode", "long", "--file", path, "--whole-file", "--mode", "full", "--out", tmp_path / "v.npy", "--chunks-out", tmp_path / "c.npy", "--chunk-tokens", "50")
    answer = encode(server, mode=messages().LONG_CONTEXT_MODE_FULL, chunk_tokens=50, chunk_vectors=True)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), array(answer.vector))
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), array(answer.chunk_vectors))
    assert "trained with" in said.stderr
    refused = server.engram("encode", "long", "--file", path, "--mode", "chunk", check=False)
    assert refused.returncode == 2


def test_an_encode_that_others_would_keep_beyond_its_deadline_is_refused_at_once(server):
    """Two threads, both at work for seconds, and one more encode in front: waiting would end in DEADLINE_EXCEEDED."""
    long = "river mountain " * 400_000
    running = [stream(server, long, mode=messages().LONG_CONTEXT_MODE_CHUNK) for _ in range(3)]
    try:
        for encoding in running[:2]:
            assert any(message.HasField("progress") for message in encoding)
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            encode(server, long, timeout=1.0, mode=messages().LONG_CONTEXT_MODE_CHUNK)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and time.monotonic() - began < 0.9
        assert error_info(refused.value)[0].reason == "QUEUE_FULL"
    finally:
        for encoding in running:
            encoding.cancel()
