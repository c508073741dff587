"""What a strategy costs: steps of the trainer with it against naive steps, and the importance of 1,000 texts against one epoch over them.

    bench/continual_speed.py [--repeats 3] [--steps 6] [--only REGEX]

Everything is ours on both sides, so the peer is naive training in the same process, in turn. bench/results/continual/speed.json gets a list of
{"name", "value", "unit", "peer", "peer_value", "ratio", "bar", "met", "raw"}: ratio is what it takes over what naive training takes (lower is
better), bar the most that the project asks of it (none: the figure is stated for itself). MiniLM, fp32, AG News, batches of 32.
On two quiet cores the whole takes less than five minutes; it needs the machine to itself.
"""
import argparse
import importlib.metadata
import json
import pathlib
import re
import statistics
import sys
import tempfile

import transformers

import peers
from run import machine, revision

RESULT = peers.REPOSITORY / "bench" / "results" / "continual" / "speed.json"
# Strategy, consolidated tasks, bar.
STEPS = (("ewc", 1, 1.10), ("online_ewc", 4, 1.10), ("l2sp", 1, 1.10), ("permuted_ewc", 1, 1.10), ("si", 0, 1.10), ("mas", 0, 1.10), ("kfac_ewc", 0, 1.5),
         ("ewc", 4, None), ("er", 0, None), ("derpp", 0, None), ("agem", 0, None), ("lwf", 0, None), ("reptile", 0, None), ("fomaml", 0, None),
         ("maml", 0, None), ("lora", 0, None), ("ewc_lora", 0, None))
IMPORTANCE_TEXTS, IMPORTANCE_BAR = 1000, 2.0


def row(name: str, ours: list[float], theirs: list[float], peer: str, bar: float | None) -> dict:
    """ratio: the median of the ratios of repeats taken side by side, so that it holds when the machine's speed drifts."""
    ratio = round(statistics.median(o / t for o, t in zip(ours, theirs, strict=True)), 3)
    return {"name": name, "value": round(statistics.median(ours), 4), "unit": "s", "peer": peer, "peer_value": round(statistics.median(theirs), 4),
            "ratio": ratio, "bar": bar, "met": None if bar is None else ratio <= bar, "raw": {"ours": ours, "peer": theirs}}


def rows(program: peers.Program, options: argparse.Namespace):
    if re.search(options.only, "importance"):
        program.ask(f"epoch {4 * 32}"), program.ask(f"importance {4 * 32}")
        pairs = [(program.ask(f"importance {IMPORTANCE_TEXTS}")["seconds"], program.ask(f"epoch {IMPORTANCE_TEXTS}")["seconds"]) for _ in range(options.repeats)]
        yield row("importance_1000_texts", [o for o, _ in pairs], [t for _, t in pairs], "one epoch over them", IMPORTANCE_BAR)
    for strategy, tasks, bar in STEPS:
        name = f"step.{strategy}" + (f".{tasks}_tasks" if tasks > 1 else "")
        if not re.search(options.only, name):
            continue
        program.ask(f"steps {strategy} {tasks} 1")
        answers = [program.ask(f"steps {strategy} {tasks} {options.steps}") for _ in range(options.repeats)]
        yield row(name, [a["strategy"] / options.steps for a in answers], [a["naive"] / options.steps for a in answers], "naive step", bar)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="of a repeat, after one that is not timed")
    parser.add_argument("--only", default="", help="a regular expression that the row's name matches")
    parser.add_argument("--data", type=pathlib.Path, default=peers.default_data())
    options = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(peers.BASE_MODEL)
    ids = tokenizer(peers.texts(options.data, IMPORTANCE_TEXTS), truncation=True, max_length=128)["input_ids"]
    about = {"machine": machine(), "torch": importlib.metadata.version("torch"), "revision": revision(), "threads": peers.THREADS, "data": peers.data_name(options.data)}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ids.json"
        path.write_text(json.dumps(ids))
        program = peers.Program("bench_strategies", "--model", peers.BASE_MODEL, "--ids", path, "--threads", str(peers.THREADS))
        for made in rows(program, options):
            found.append({**made, **about})
            bar = "" if made["bar"] is None else f"  bar {made['bar']:.2f} {'met' if made['met'] else 'NOT MET'}"
            print(f"{made['name']:<24} {made['value']:>9.4f} s  {made['peer']:<20} {made['peer_value']:>9.4f} s  x{made['ratio']:<6}{bar}", flush=True)
        program.close()
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else []
    names = {r["name"] for r in found}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps([r for r in kept if r["name"] not in names or r["machine"] != about["machine"]] + found, indent=1) + "\n")
    print(f"wrote {RESULT.relative_to(peers.REPOSITORY)}")


if __name__ == "__main__":
    sys.exit(main())
