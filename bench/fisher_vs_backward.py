"""The empirical Fisher against a plain forward and backward pass over the same packed batches, and an EWC step against a naive one."""
import argparse
import json
import pathlib
import tempfile

import transformers

import peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, default=peers.default_data())
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(peers.BASE_MODEL)
    ids = tokenizer(peers.texts(options.data, options.texts), truncation=True, max_length=512)["input_ids"]
    extra = {"data": peers.data_name(options.data), "threads": peers.THREADS, "texts": len(ids), "seed": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ids.json"
        path.write_text(json.dumps(ids))
        ours = peers.Program("bench_train", "--model", peers.BASE_MODEL, "--ids", path, "--threads", str(peers.THREADS))
        ours.ask(f"fisher {len(ids)}"), ours.ask(f"backward {len(ids)}")
        fisher, backward = [], []
        for _ in range(options.repeats):
            fisher.append(ours.ask(f"fisher {len(ids)}")["seconds"])
            backward.append(ours.ask(f"backward {len(ids)}")["seconds"])
        peers.emit([peers.row("fisher_vs_backward", fisher, "forward and backward", backward, "s", lower_is_better=True, **extra)])
        for precision in peers.precisions():
            ours.ask(f"ewc {precision} 2")
            answers = [ours.ask(f"ewc {precision} 8") for _ in range(options.repeats)]
            peers.emit([peers.row(f"ewc_step_vs_naive.{precision}", [a["ewc"] for a in answers], "naive step", [a["naive"] for a in answers], "s",
                                  lower_is_better=True, **extra)])
        ours.close()


if __name__ == "__main__":
    main()
