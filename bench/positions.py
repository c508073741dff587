#!/usr/bin/env python3
"""What rotary positions beyond the trained ones are worth: a small encoder of our own, learned at 512 tokens, read at 1,024 to 16,384.

  1  a NomicBERT of 4 layers with random weights and a WordPiece vocabulary of the essays is imported
  2  it learns masked words at 512 tokens, for --minutes of work, round by round
  3  it is read at each length with each scaling of its positions: masked perplexity of words that it never saw, by their places
  4  copies whose config.json has the scaling built in learn at --train-length for --extension-minutes each, and are read again

Everything is done by a real server: import, start-task, export, and StreamLongContextEncode with the mode full. What is left to Python is the masked
head on the vectors of the masked tokens. The work lies in --work; a run that was stopped goes on where it was. Results: bench/results/positions.json and .svg.

example: bench/positions.py --essays ../shared/data/long/essays_112k_words.tar.gz --minutes 30
"""
import argparse
import json
import math
import pathlib
import random
import shutil
import sys
import tarfile

import grpc
import numpy as np
import peers
from engram_server import Server

sys.path.append(str(peers.REPOSITORY / "tests" / "integration"))
from conftest import messages, stubs  # noqa: E402

TRAINED = 512
RESULTS = peers.REPOSITORY / "bench" / "results"
# How the model as it was learned is read: name -> what the request says. "none": its own rotations at any place.
READ_WITH = {"none": {"positions": "LINEAR", "position_factor": 1.0}, **{name: {"positions": name.upper()} for name in
             ("linear", "ntk_aware", "dynamic", "yarn", "dynamic_yarn")}}
# What is built into a copy that learns at length: name -> config.json's rope_parameters beside the factor.
BUILT_IN = {"none": {"rope_type": "default"}, "linear": {"rope_type": "linear"}, "ntk_aware": {"rope_type": "ntk_aware"},
            "yarn": {"rope_type": "yarn", "original_max_position_embeddings": TRAINED}}
COLOURS = {"none": "#888888", "linear": "#d1495b", "ntk_aware": "#1d3a5f", "dynamic": "#5b8e7d", "yarn": "#edae49", "dynamic_yarn": "#7a5195"}


def essays(path: pathlib.Path) -> list[str]:
    if not tarfile.is_tarfile(path):
        return [path.read_text(encoding="utf-8")]
    with tarfile.open(path) as archive:
        members = sorted((m for m in archive if m.isfile() and m.name.endswith(".txt") and "LICENSE" not in m.name.upper()), key=lambda m: m.name)
        return [" ".join(archive.extractfile(m).read().decode("utf-8", "replace").split()) for m in members]


class State:
    """What is done so far, in a file of its own."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.data = json.loads(path.read_text()) if path.exists() else {"seconds": 0.0, "rounds": [], "readings": [], "extended": {}}

    def save(self) -> None:
        self.path.write_text(json.dumps(self.data, indent=1) + "\n")


def tokenizer_of(folder: pathlib.Path):
    from tokenizers.implementations import BertWordPieceTokenizer
    return BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)


def make_model(folder: pathlib.Path, texts: list[str], options) -> None:
    """A directory as transformers saves it: random weights, and a vocabulary learned from the essays."""
    import torch
    import transformers
    from tokenizers.implementations import BertWordPieceTokenizer
    learner = BertWordPieceTokenizer(lowercase=True)
    learner.train_from_iterator(texts, vocab_size=options.vocabulary, show_progress=False)
    torch.manual_seed(0)
    width = options.width
    config = transformers.NomicBertConfig(vocab_size=learner.get_vocab_size(), hidden_size=width, num_hidden_layers=options.layers,
                                          num_attention_heads=width // 32, intermediate_size=3 * width, max_position_embeddings=TRAINED,
                                          rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    transformers.NomicBertForMaskedLM(config).save_pretrained(folder)
    learner.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True}))


def learn(server: Server, model: str, length: int, minutes: float, done: dict, save, options) -> None:
    """Trains on in rounds until `done` has so many seconds of work: the first round measures how fast it goes."""
    rounds = done.setdefault("rounds", [])
    while done["seconds"] < 60 * minutes - 1:
        left, last = 60 * minutes - done["seconds"], rounds[-1] if rounds else None
        epochs = 1 if last is None else max(1, min(1000, int(min(left, 15 * minutes) / (last["seconds"] / last["epochs"]))))
        job = server.engram("start-task", f"{model}@{len(rounds) + 1}", "words", "--dataset", "essays", "--kind", "mlm", "--epochs", epochs,
                            "--set", f"max_length={length}", "--set", "batch_size=0", "--set", f"batch_tokens={options.batch_tokens}",
                            "--set", f"lr={options.lr}", "--set", "schedule=constant", "--set", f"warmup_ratio={0.1 if last is None else 0}",
                            "--set", f"seed={len(rounds)}", "--set", "validation_fraction=0.05", "--wait")
        result = job["result"]
        seconds = max(0.01, float(result["work_seconds"]))
        rounds.append({"epochs": epochs, "seconds": seconds, "tokens": int(result["tokens"]),
                       "loss": next(float(m["value"]) for m in result["metrics"] if m["metric"] == "loss")})
        done["seconds"] += seconds
        save()
        print(f"{model}: {length} tokens, {epochs} epochs, {seconds:.0f} s, loss {rounds[-1]['loss']:.3f}", flush=True)


def masked(tokenizer, text: str, tokens: int, rng: random.Random):
    """(a text of so many tokens with about 15 % of its words masked, {place: id that stood there})"""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    words = encoding.word_ids[:tokens]
    whole = [i for i in range(1, len(words) - 1) if words[i - 1] != words[i] != words[i + 1] and encoding.tokens[i].isalpha()]
    hidden = {i: encoding.ids[i] for i in whole if rng.random() < 0.15}
    pieces, at = [], 0
    for i in sorted(hidden):
        begin, end = encoding.offsets[i]
        pieces += [text[at:begin], "[MASK]"]
        at = end
    made = "".join([*pieces, text[at:encoding.offsets[tokens - 1][1]]])
    again = tokenizer.encode(made, add_special_tokens=False).ids
    assert len(again) == tokens and all(again[i] == (tokenizer.token_to_id("[MASK]") if i in hidden else encoding.ids[i]) for i in range(tokens))
    return made, hidden


def token_vectors(server: Server, version: str, text: str, asked: dict):
    """(the vectors of all tokens, the answer)"""
    m = messages()
    model, number = version.split("@")
    asked = {key: getattr(m, f"POSITION_EXTENSION_{value}") if key == "positions" else value for key, value in asked.items()}
    request = m.LongContextEncodeRequest(model=model, version=number, text=text, mode=m.LONG_CONTEXT_MODE_FULL, **asked)
    with grpc.insecure_channel(server.address, options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]) as channel:
        events = stubs()["InferenceService"](channel).StreamLongContextEncode(m.StreamLongContextEncodeRequest(encode=request, token_vectors=True))
        rows, answer = [], None
        for event in events:
            if event.WhichOneof("event") == "tokens":
                rows.append(np.frombuffer(event.tokens.vectors.data, "<f4").reshape(tuple(event.tokens.vectors.shape)))
            elif event.WhichOneof("event") == "result":
                answer = event.result
    return np.concatenate(rows), answer


def read(server: Server, model: str, head, text: str, tokens: int, hidden: dict, asked: dict) -> dict:
    """Masked perplexity, in all and by the places of the masked words: up to 512, 1,024, 2,048, ..."""
    import torch
    rows, answer = token_vectors(server, model, text, asked)
    places = sorted(hidden)
    assert len(rows) == tokens, "the tokenizers disagree"
    with torch.no_grad():
        logits = head(torch.from_numpy(rows[places]))
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor([hidden[p] for p in places]), reduction="none").numpy()
    by_place, low, high = {}, 0, TRAINED
    while low < places[-1]:
        chosen = [loss for place, loss in zip(places, losses) if low <= place < high]
        if chosen:
            by_place[high] = {"perplexity": math.exp(float(np.mean(chosen, dtype=np.float64))), "words": len(chosen)}
        low, high = high, 2 * high
    return {"perplexity": math.exp(float(losses.mean(dtype=np.float64))), "words": len(places), "by_place": by_place, "factor": answer.position_factor,
            "seconds": answer.timings.compute_seconds}


def read_all(server, state: State, when: str, scaling: str, model: str, exported: pathlib.Path, asked: dict, text: str, options) -> None:
    import transformers
    settings = json.loads((exported / "config.json").read_text())
    plain = {"rope_type": "default", "rope_theta": settings["rope_parameters"]["rope_theta"]}  # the head turns nothing, and not every kind is known there
    config = transformers.NomicBertConfig(**{**settings, "rope_parameters": plain})
    tokenizer, head = tokenizer_of(exported), transformers.NomicBertForMaskedLM.from_pretrained(exported, config=config).eval().cls
    known = {(r["when"], r["scaling"], r["tokens"]) for r in state.data["readings"]}
    for tokens in options.lengths:
        if (when, scaling, tokens) in known:
            continue
        made, hidden = masked(tokenizer, text, tokens - 2, random.Random(tokens))
        reading = {"when": when, "scaling": scaling, "tokens": tokens, **read(server, model, head, made, tokens - 2, hidden, asked)}
        state.data["readings"].append(reading)
        state.save()
        print(f"{when:6} {scaling:13} {tokens:6} tokens: perplexity {reading['perplexity']:9.1f}", flush=True)


def extend(server: Server, state: State, scaling: str, exported: pathlib.Path, options) -> str:
    """The model with the scaling built in, imported; its name."""
    name = f"at-length-{scaling.replace('_', '-')}"
    folder = options.work / name
    if not folder.exists():
        made = options.work / "being-made"
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(exported, made, ignore=shutil.ignore_patterns("engram.json", "*.bin", "continual.safetensors", "memory"))
        config = json.loads((made / "config.json").read_text())
        factor = {} if scaling == "none" else {"factor": max(options.lengths) / TRAINED}
        config["rope_parameters"] = {"rope_theta": config["rope_parameters"]["rope_theta"], **BUILT_IN[scaling], **factor}
        config["max_position_embeddings"] = max(options.lengths)
        (made / "config.json").write_text(json.dumps(config))
        made.rename(folder)
    if scaling not in state.data["extended"]:
        server.engram("models", "import", name, folder, "--task", "words")
        state.data["extended"][scaling] = {"seconds": 0.0}
        state.save()
    learn(server, name, options.train_length, options.extension_minutes, state.data["extended"][scaling], state.save, options)
    return name


def plot(readings: list[dict], lengths: list[int], path: pathlib.Path) -> None:
    """Perplexity against length, both by their logarithms: dashed as learned, drawn through after the training at length."""
    left, top, width, height = 70, 40, 560, 340
    values = [r["perplexity"] for r in readings]
    low, high = math.log(min(values)), math.log(max(values) * 1.05)
    x = lambda tokens: left + (lengths.index(tokens) / max(1, len(lengths) - 1)) * width
    y = lambda value: top + height - (math.log(value) - low) / max(1e-9, high - low) * height
    body = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 170}" height="{top + height + 50}" font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{left}" y="22" font-weight="bold">Masked perplexity of a text of so many tokens (learned at {TRAINED})</text>']
    for tokens in lengths:
        body.append(f'<text x="{x(tokens):.0f}" y="{top + height + 20}" text-anchor="middle">{tokens:,}</text>')
    for step in range(5):
        value = math.exp(low + (high - low) * step / 4)
        body.append(f'<text x="{left - 8}" y="{y(value) + 4:.0f}" text-anchor="end">{value:.0f}</text>'
                    f'<line x1="{left}" x2="{left + width}" y1="{y(value):.0f}" y2="{y(value):.0f}" stroke="#dddddd"/>')
    row = 0
    for when, dash in (("before", ' stroke-dasharray="5 4"'), ("after", "")):
        for scaling, colour in COLOURS.items():
            points = sorted((r["tokens"], r["perplexity"]) for r in readings if (r["when"], r["scaling"]) == (when, scaling))
            if not points:
                continue
            line = " ".join(f"{x(tokens):.1f},{y(value):.1f}" for tokens, value in points)
            body.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
                        f'<text x="{left + width + 12}" y="{top + 14 + 18 * row}" fill="{colour}">{scaling}, {when}</text>')
            row += 1
    path.write_text("\n".join([*body, "</svg>"]) + "\n")


def table(readings: list[dict], lengths: list[int]) -> str:
    lines = ["| | " + " | ".join(f"{tokens:,}" for tokens in lengths) + " |", "| --- |" + " --- |" * len(lengths)]
    for when in ("before", "after"):
        for scaling in COLOURS:
            found = {r["tokens"]: r["perplexity"] for r in readings if (r["when"], r["scaling"]) == (when, scaling)}
            if found:
                lines.append(f"| {scaling}, {when} | " + " | ".join(f"{found[t]:.1f}" if t in found else "" for t in lengths) + " |")
    return "\n".join(lines)


def run(server: Server, texts: list[str], state: State, options) -> None:
    model, data = options.work / "model", options.work / "essays.txt"
    kept = int(len(texts) * 0.75) if len(texts) > 3 else len(texts)
    if not model.exists():
        made = options.work / "being-made"
        shutil.rmtree(made, ignore_errors=True)
        make_model(made, texts, options)
        made.rename(model)
    if "imported" not in state.data:
        data.write_text("\n".join(texts[:kept]) + "\n", encoding="utf-8")
        server.engram("datasets", "upload", "essays", data, "--kind", "text")
        server.engram("models", "import", "small", model, "--task", "words")
        state.data["imported"] = True
        state.save()
    learn(server, "small", TRAINED, options.minutes, state.data, state.save, options)
    exported = options.work / "exported"
    if not exported.exists():
        server.engram("models", "export", f"small@{len(state.data['rounds']) + 1}", options.work / "being-exported")
        (options.work / "being-exported").rename(exported)
    unseen = " ".join(texts[kept:] or texts)
    for scaling, asked in READ_WITH.items():
        read_all(server, state, "before", scaling, f"small@{len(state.data['rounds']) + 1}", exported, asked, unseen, options)
    for scaling in BUILT_IN if options.extension_minutes > 0 else {}:
        name = extend(server, state, scaling, exported, options)
        version = f"{name}@{len(state.data['extended'][scaling]['rounds']) + 1}"
        after = options.work / f"{name}-exported"
        if not after.exists():
            server.engram("models", "export", version, options.work / "being-exported")
            (options.work / "being-exported").rename(after)
        read_all(server, state, "after", scaling, version, after, {}, unseen, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--essays", type=pathlib.Path, default=peers.REPOSITORY.parent / "shared" / "data" / "long" / "essays_112k_words.tar.gz")
    parser.add_argument("--minutes", type=float, default=30, help="of learning at 512 tokens")
    parser.add_argument("--extension-minutes", type=float, default=3, help="of learning at length, for each scaling; 0: none")
    parser.add_argument("--train-length", type=int, default=4096)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=4000)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--work", type=pathlib.Path, default=peers.BUILD / "positions", help="where the work lies; another one begins anew")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS / "positions.json")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    state = State(options.work / "state.json")
    texts = essays(options.essays)
    server = Server(options.work / "server", "max_message_mb: 256\n")
    try:
        run(server, texts, state, options)
    finally:
        server.stop()
    readings = state.data["readings"]
    options.out.write_text(json.dumps({"trained_at": TRAINED, "seconds_of_learning": state.data["seconds"], "rounds": state.data["rounds"],
                                       "extended": state.data["extended"], "unseen_words": "masked, of essays that were not learned",
                                       "readings": readings}, indent=1) + "\n")
    plot(readings, options.lengths, options.out.with_suffix(".svg"))
    print(table(readings, options.lengths))


if __name__ == "__main__":
    main()
