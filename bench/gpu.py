"""Engram on one GPU: training, EWC, Fisher and inference in real tokens a second, against transformers on the same card in the same run.

    gpu.py [--device cuda:0] [--minutes 5] [--only train]

Runs from a bundle (`make gpu-bundle`) on a machine that has the torch wheel and nothing else: models are drawn from their config.json, texts are
random ids of AG News's lengths, whose quantiles stand below. transformers is compared with where it can be imported: the best of fp32 with
TF32, bf16 with flash attention, and (where --compile is given) torch.compile of it. Prints one table and writes bench/results/gpu.json.
Beyond --minutes no further row is begun; what was left out is said. `--device cpu` tries the harness on small shapes.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import platform
import random
import subprocess
import sys
import tempfile
import time

import torch

import peers

# Token counts of AG News's training texts (special tokens included), from the shortest to the longest at equal steps.
LENGTH_QUANTILES = [20, 27, 30, 33, 35, 37, 38, 39, 41, 42, 43, 43, 44, 45, 46, 47, 48, 48, 49, 50, 51, 51, 52, 53, 53, 54, 55, 56, 57, 58, 59, 60, 62, 63, 65, 67, 70, 74, 81, 98, 335]
SHAPES = {
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "vocab_size": 30522},
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 30522},
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128, "vocab_size": 30522},
}
COMMON = {"model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
          "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "initializer_range": 0.02, "pad_token_id": 0}
BARS = {  # what the project asks of itself on an H100 or H200; tokens a second, or the most of what is named in the unit
    "gpu.train.bert-base.b32": 170e3, "gpu.train.bert-base.b256": 470e3, "gpu.train.minilm.b32": 550e3, "gpu.train.minilm.b256": 1.7e6,
    "gpu.ewc_step_vs_naive": 1.05, "gpu.fisher_vs_backward": 2.2,
    "gpu.latency_1x32.bert-base": 0.6, "gpu.latency_1x32.minilm": 0.25,
    "gpu.infer.bert-base.b32": 1.4e6, "gpu.infer.bert-base.b256": 2.2e6, "gpu.infer.minilm.b32": 4e6, "gpu.infer.minilm.b256": 8e6,
}
PEER_RATIO = 2.0  # training, against transformers' best


def drawn_ids(count: int, vocabulary: int) -> list[list[int]]:
    rng = random.Random(0)
    texts = []
    for _ in range(count):
        at = rng.random() * (len(LENGTH_QUANTILES) - 1)
        low = LENGTH_QUANTILES[int(at)]
        high = LENGTH_QUANTILES[min(int(at) + 1, len(LENGTH_QUANTILES) - 1)]
        length = max(2, round(low + (high - low) * (at - int(at))))
        texts.append([rng.randrange(vocabulary // 10, vocabulary) for _ in range(length)])
    return texts


def lacks(name: str) -> bool:
    return importlib.util.find_spec(name) is None


class Transformers:
    """One way of transformers to train or to encode the same texts in padded batches."""

    def __init__(self, shape: dict, ids: list[list[int]], batch: int, way: str, device: str):
        import transformers
        self.name = f"transformers {transformers.__version__}"
        self.way, self.device = way, device
        torch.set_float32_matmul_precision("high" if way == "tf32" else "highest")
        torch.manual_seed(0)
        config = transformers.BertConfig(**{**COMMON, **shape}, attn_implementation="sdpa")
        self.model = transformers.BertModel(config, add_pooling_layer=False).to(device)
        self.head = torch.nn.Linear(shape["hidden_size"], 4).to(device)
        self.run_model = torch.compile(self.model, dynamic=True) if way == "compiled" else self.model
        self.parameters = [*self.model.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=2e-5, weight_decay=0.01, fused=True)
        self.batches, self.at = [], 0
        for begin in range(0, len(ids) - batch + 1, batch):
            group = ids[begin:begin + batch]
            width = (max(map(len, group)) + 7) // 8 * 8
            rows, mask = torch.zeros(batch, width, dtype=torch.long), torch.zeros(batch, width, dtype=torch.long)
            for r, text in enumerate(group):
                rows[r, :len(text)], mask[r, :len(text)] = torch.tensor(text), 1
            self.batches.append((rows.to(device), mask.to(device), sum(map(len, group))))

    def hidden(self, rows, mask):
        kind = "cuda" if self.device.startswith("cuda") else "cpu"
        with torch.autocast(kind, torch.bfloat16, enabled=self.way in ("bf16", "compiled")):
            return self.run_model(input_ids=rows, attention_mask=mask).last_hidden_state

    def train(self, steps: int) -> float:
        """Tokens a second."""
        self.model.train()
        tokens, start = 0, time.perf_counter()
        for _ in range(steps):
            rows, mask, real = self.batches[self.at % len(self.batches)]
            self.at += 1
            hidden = self.hidden(rows, mask)
            weights = mask[..., None].to(hidden.dtype)
            logits = self.head(((hidden * weights).sum(1) / weights.sum(1)).float())
            torch.nn.functional.cross_entropy(logits, torch.arange(len(rows), device=self.device) % 4).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            tokens += real
        self.await_device()
        return tokens / (time.perf_counter() - start)

    @torch.inference_mode()
    def encode(self, batches: int) -> float:
        self.model.eval()
        tokens, start = 0, time.perf_counter()
        for rows, mask, real in self.batches[:batches]:
            hidden = self.hidden(rows, mask)
            weights = mask[..., None].to(hidden.dtype)
            ((hidden * weights).sum(1) / weights.sum(1)).cpu()
            tokens += real
        return tokens / (time.perf_counter() - start)

    def await_device(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


class Bench:
    def __init__(self, options):
        self.options, self.rows, self.left_out = options, [], []
        self.end = time.monotonic() + 60 * options.minutes
        self.folder = tempfile.TemporaryDirectory()
        self.cpu = options.device == "cpu"
        self.ids = {}
        root = pathlib.Path(self.folder.name)
        for name, shape in SHAPES.items():
            (root / name).mkdir()
            (root / name / "config.json").write_text(json.dumps({**COMMON, **shape}))
            self.ids[name] = drawn_ids(options.texts, shape["vocab_size"])
            (root / f"{name}.json").write_text(json.dumps(self.ids[name]))
        self.root = root

    def program(self, name: str, shape: str, batch: int) -> peers.Program:
        return peers.Program(name, "--model", self.root / shape, "--ids", self.root / f"{shape}.json", "--device", self.options.device,
                             "--batch", batch, "--threads", peers.THREADS)

    def begins(self, name: str) -> bool:
        if self.options.only and not any(part in name for part in self.options.only.split(",")):
            return False
        if time.monotonic() < self.end:
            return True
        self.left_out.append(name)
        return False

    def add(self, name: str, value: float, unit: str, lower: bool = False, peer: str = "", peer_value: float | None = None, **extra) -> None:
        bar = None if self.cpu else BARS.get(name)
        ratio = None if not peer_value else round(peer_value / value if lower else value / peer_value, 3)
        met = None if bar is None else (value <= bar if lower else value >= bar)
        if met and peer_value and name.startswith("gpu.train"):
            met = ratio >= PEER_RATIO
        self.rows.append({"name": name, "value": round(value, 4), "unit": unit, "peer": peer, "peer_value": peer_value and round(peer_value, 4),
                          "ratio": ratio, "bar": bar, "met": met, **extra})
        print(f"{name:<32} {value:>14.4f} {unit:<16} {peer:<34} {'' if not peer_value else f'{peer_value:>14.4f}  x{ratio}'}"
              + ("" if bar is None else f"  bar {bar:g} {'met' if met else 'NOT MET'}"), flush=True)

    def best_of_transformers(self, shape: str, batch: int, task: str, amount: int) -> tuple[str, float | None, dict]:
        if lacks("transformers"):
            return "", None, {}
        ways = ["bf16"] if self.cpu else ["tf32", "bf16", *(["compiled"] if self.options.compile else [])]
        found = {}
        for way in ways:
            if time.monotonic() >= self.end:
                break
            peer = Transformers(SHAPES[shape], self.ids[shape], batch, way, self.options.device)
            run = peer.train if task == "train" else peer.encode
            run(2)  # warms up
            found[way] = run(amount)
            name = peer.name
            del peer, run
        if not found:
            return "", None, {}
        way = max(found, key=found.get)
        return f"{name} {way}", found[way], {"peer_ways": {k: round(v, 1) for k, v in found.items()}}

    def train(self, shape: str, batch: int, steps: int) -> None:
        name = f"gpu.train.{shape}.b{batch}"
        if not self.begins(name):
            return
        ours = self.program("bench_train", shape, batch)
        ours.ask("train bf16 random 3")
        repeats = []
        for _ in range(3):
            answer = ours.ask(f"train bf16 random {steps}")
            repeats.append(answer["tokens"] / answer["seconds"])
        ours.close()
        peer, value, extra = self.best_of_transformers(shape, batch, "train", steps)
        self.add(name, sorted(repeats)[1], "real tokens/s", peer=peer, peer_value=value, raw=[round(v, 1) for v in repeats], **extra)

    def importance(self, shape: str, batch: int, texts: int) -> None:
        if self.begins("gpu.ewc_step_vs_naive"):
            ours = self.program("bench_train", shape, 32)
            ours.ask("ewc bf16 3")
            answer = ours.ask("ewc bf16 20")
            ours.close()
            self.add("gpu.ewc_step_vs_naive", answer["ewc"] / answer["naive"], "x naive step", lower=True, shape=shape)
        if self.begins("gpu.fisher_vs_backward"):
            ours = self.program("bench_train", shape, batch)
            ours.ask(f"backward {texts} bf16"), ours.ask(f"fisher {texts} bf16")
            backward, fisher = ours.ask(f"backward {texts} bf16")["seconds"], ours.ask(f"fisher {texts} bf16")["seconds"]
            ours.close()
            self.add("gpu.fisher_vs_backward", fisher / backward, "x fwd + bwd", lower=True, shape=shape, texts=texts, seconds=[fisher, backward])

    def infer(self, shape: str) -> None:
        if self.begins(f"gpu.latency_1x32.{shape}"):
            ours = self.program("bench_infer", shape, 32)
            ours.ask("latency bf16 32")
            self.add(f"gpu.latency_1x32.{shape}", 1e3 * ours.ask("latency bf16 32")["seconds"], "ms", lower=True)
            ours.close()
        for batch in (32, 256):
            name = f"gpu.infer.{shape}.b{batch}"
            if not self.begins(name):
                continue
            ours = self.program("bench_infer", shape, batch)
            tokens = sum(map(len, self.ids[shape]))
            ours.ask("run bf16 arrival")
            repeats = [tokens / ours.ask("run bf16 arrival")["seconds"] for _ in range(3)]
            ours.close()
            peer, value, extra = self.best_of_transformers(shape, batch, "encode", 8)
            self.add(name, sorted(repeats)[1], "real tokens/s", peer=peer, peer_value=value, raw=[round(v, 1) for v in repeats], **extra)

    def run(self) -> None:
        if self.cpu:
            self.train("tiny", 32, 3)
            self.importance("tiny", 32, 64)
            self.infer("tiny")
            return
        for shape in ("bert-base", "minilm"):
            for batch in (32, 256):
                self.train(shape, batch, 30)
        self.importance("bert-base", 256, 1024)
        for shape in ("bert-base", "minilm"):
            self.infer(shape)


def card(device: str) -> dict:
    if device == "cpu":
        return {"card": platform.processor() or "cpu", "driver": ""}
    query = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True)
    return {"card": torch.cuda.get_device_name(torch.device(device)), "driver": query.stdout.strip().splitlines()[0] if query.stdout else ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--texts", type=int, default=4096)
    parser.add_argument("--only", default="", help="rows whose names hold one of these parts, separated by commas")
    parser.add_argument("--compile", action="store_true", help="torch.compile as a further peer; it takes minutes")
    parser.add_argument("--out", type=pathlib.Path, default=peers.REPOSITORY / "bench" / "results" / "gpu.json")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU: this benchmark needs one; --device cpu tries the harness alone")
    libraries = [str(peers.BUILD / "lib"), str(pathlib.Path(torch.__file__).parent / "lib")]
    os.environ["LD_LIBRARY_PATH"] = ":".join([*libraries, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    bench = Bench(options)
    bench.run()
    about = {**card(options.device), "torch": torch.__version__, "data": "random ids of AG News's lengths", "texts": options.texts, "seed": 0}
    if bench.left_out:
        print(f"left out, since {options.minutes:g} minutes were over: {', '.join(bench.left_out)}")
    if lacks("transformers"):
        print("transformers is not installed: nothing was compared with it")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([{**row, **about} for row in bench.rows], indent=1) + "\n")
    print(f"wrote {options.out}: {len(bench.rows)} rows on {about['card']}")


if __name__ == "__main__":
    main()
