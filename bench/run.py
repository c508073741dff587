"""Runs every benchmark, prints one table and writes bench/results/latest.json (`make bench`; `make bench ONLY=infer` for some).

latest.json is a list of {"name", "value", "unit", "peer", "peer_value", "ratio", ...}; each row carries the machine, the versions and the
raw repeats. A run replaces what it measured on a machine of the same kind; rows of other machines stay. `bar` and `met` come from BARS below: what the project asks of itself.
"""
import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys

import peers

RESULTS = peers.REPOSITORY / "bench" / "results"
PROGRAMS = {  # name: command that prints one JSON row per line
    "tokenizer": ["bench/tokenizer_vs_hf.py"],
    "infer": ["bench/infer_vs_peers.py"],
    "embed": ["bench/embed_vs_sentence_transformers.py"],
    "train": ["bench/train_vs_transformers.py"],
    "fisher": ["bench/fisher_vs_backward.py"],
    "memory": ["bench/worker_memory.py"],
    "terms": ["bench/terms_vs_ahocorasick.py"],
}
BARS = {  # prefix of a row's name: smallest ratio (Engram over peer) that meets the bar
    "tokenizer_vs_hf": 5.0,
    "train_vs_transformers.dynamic_padding": 2.0,
    "train_vs_transformers.length_grouped": 1.2,
    "infer_vs_transformers.fp32.arrival": 1.8,
    "infer_vs_transformers.bf16.arrival": 1.8,
    "infer_vs_transformers.fp32.sorted": 1.15,
    "infer_vs_transformers.bf16.sorted": 1.15,
    "infer_vs_openvino.fp32.arrival": 1.8,
    "infer_vs_openvino.bf16.arrival": 1.8,
    "fisher_vs_backward": 0.5,       # our Fisher pass takes at most 2.0x a plain forward and backward
    "ewc_step_vs_naive": 1 / 1.05,   # our EWC step takes at most 1.05x a naive step
    "worker_memory": 1.0,            # measured bytes stay within the stated formula
}


def machine() -> str:
    model = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    flags = next((l for l in open("/proc/cpuinfo") if l.startswith("flags")), "")
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {gib:.0f} GiB, {' '.join(units)}"


def versions() -> dict:
    names = ("torch", "transformers", "tokenizers", "openvino", "onnxruntime")
    return {name: importlib.metadata.version(name) for name in names}


def revision() -> str:
    answer = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=peers.REPOSITORY, capture_output=True, text=True)
    return answer.stdout.strip() or "unknown"


def bar_for(name: str) -> float | None:
    return next((bar for prefix, bar in BARS.items() if name.startswith(prefix)), None)


def run(command: list[str]):
    """Yields the program's rows as it prints them, so that a long comparison shows its progress."""
    with subprocess.Popen([sys.executable, *command], cwd=peers.REPOSITORY, stdout=subprocess.PIPE, text=True) as program:
        for line in program.stdout:
            if line.startswith("{"):
                yield json.loads(line)
    if program.returncode != 0:
        raise SystemExit(f"{command[0]} failed with exit {program.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="comma-separated names out of: " + ", ".join(PROGRAMS))
    parser.add_argument("--repeats", default="", help="repeats of each comparison (default: each program's own)")
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name] or list(PROGRAMS)
    latest = RESULTS / "latest.json"
    kept = json.loads(latest.read_text()) if latest.exists() else []
    fresh = []
    if peers.precisions() == ["fp32"]:
        print("in fp32 alone: this processor has no bf16 of its own")
    common = {"machine": machine(), "versions": versions(), "revision": revision()}
    for name in chosen:
        repeats = ["--repeats", options.repeats] if options.repeats and name != "memory" else []
        for result in run([*PROGRAMS[name], *repeats]):
            bar = bar_for(result["name"])
            fresh.append({**result, "bar": bar, "met": None if bar is None else result["ratio"] >= bar, "program": name, **common})
            print(f"{result['name']:<52} {result['value']:>12} {result['unit']:<14} {result['peer']:<26} {result['peer_value']:>12}"
                  f"  x{result['ratio']:<7}" + ("" if bar is None else f" bar {bar:.2f} {'met' if result['ratio'] >= bar else 'NOT MET'}"),
                  flush=True)
    rows = [r for r in kept if r["machine"] != common["machine"] or r["program"] not in chosen] + fresh
    RESULTS.mkdir(parents=True, exist_ok=True)
    latest.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"wrote {latest.relative_to(peers.REPOSITORY)}: {len(rows)} rows")


if __name__ == "__main__":
    main()
