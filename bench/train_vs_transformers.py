"""Training: real tokens per second against transformers on the same batches (b32, AdamW, clipping, dropout 0.1), in one run.

"dynamic_padding": batches in random order, which transformers pads to their longest text. "length_grouped": batches of like length. Engram
packs the same texts in the same kind of order; bf16 is autocast there and bf16 compute over fp32 weights here.
"""
import argparse
import json
import pathlib
import random
import tempfile

import torch
import transformers

import peers

BATCH, LABELS = 32, 4


class Transformers:
    name = f"transformers {transformers.__version__}"

    def __init__(self, ids, precision: str, order: str):
        self.model = transformers.AutoModel.from_pretrained(peers.BASE_MODEL, add_pooling_layer=False).train()
        self.head = torch.nn.Linear(self.model.config.hidden_size, LABELS)
        self.parameters = [*self.model.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=2e-5, weight_decay=0.01, fused=True)
        self.precision = precision
        rng = random.Random(0)
        index = list(range(len(ids)))
        rng.shuffle(index)
        if order == "length_grouped":
            index.sort(key=lambda i: len(ids[i]))
        groups = [index[i:i + BATCH] for i in range(0, len(index), BATCH)]
        rng.shuffle(groups)
        self.batches, self.at = [], 0
        for group in groups:
            width = max(len(ids[i]) for i in group)
            rows, mask = torch.zeros(len(group), width, dtype=torch.long), torch.zeros(len(group), width, dtype=torch.long)
            for r, i in enumerate(group):
                rows[r, :len(ids[i])], mask[r, :len(ids[i])] = torch.tensor(ids[i]), 1
            self.batches.append((rows, mask, torch.tensor([i % LABELS for i in group])))

    def run(self, steps: int) -> int:
        tokens = 0
        for _ in range(steps):
            rows, mask, labels = self.batches[self.at % len(self.batches)]
            self.at += 1
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
                hidden = self.model(input_ids=rows, attention_mask=mask).last_hidden_state
                weights = mask[..., None].to(hidden.dtype)
                logits = self.head((hidden * weights).sum(1) / weights.sum(1))
            torch.nn.functional.cross_entropy(logits.float(), labels).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            tokens += int(mask.sum())
        return tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=peers.default_data())
    parser.add_argument("--texts", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(peers.THREADS)
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(peers.BASE_MODEL)
    ids = tokenizer(peers.texts(options.data, options.texts), truncation=True, max_length=512)["input_ids"]
    extra = {"data": peers.data_name(options.data), "batch": BATCH, "threads": peers.THREADS, "steps": options.steps, "seed": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ids.json"
        path.write_text(json.dumps(ids))
        for precision in peers.precisions():
            for name, order in (("dynamic_padding", "random"), ("length_grouped", "length_grouped")):
                ours = peers.Program("bench_train", "--model", peers.BASE_MODEL, "--ids", path, "--threads", str(peers.THREADS))
                peer = Transformers(ids, precision, order)
                ours.ask(f"train {precision} {order} 4"), peer.run(4)  # warm both up
                mine, theirs = [], []
                for _ in range(options.repeats):
                    answer = ours.ask(f"train {precision} {order} {options.steps}")
                    mine.append(answer["tokens"] / answer["seconds"])
                    tokens = [0]
                    seconds = peers.timed(lambda: tokens.__setitem__(0, peer.run(options.steps)))
                    theirs.append(tokens[0] / seconds)
                ours.close()
                peers.emit([peers.row(f"train_vs_transformers.{name}.{precision}", mine, peer.name, theirs, "real tokens/s", **extra)])


if __name__ == "__main__":
    main()
