"""The fixed expansion layer on all of Banking77, seven steps of eleven intents in one head, against a linear probe on the same features.

    bench/fel_banking.py [--home DIR]

seconds: what the seven trainings took from start to end, worker's start and loading included (JobResult.seconds); processor seconds of server and
workers beside it. The probe is scikit-learn's logistic regression on the sentence vectors that the same server gives (MiniLM's mean over tokens, scaled
to length 1), trained on all labels at once, its C chosen on a tenth of the training texts. Writes bench/results/continual/fel_banking.json, a row per head.
Bars: accuracy 92.5, within 0.5 of the probe, below 10 seconds on two quiet cores.
"""
import argparse
import json
import os
import pathlib
import sys
import tempfile

import numpy
from sklearn.linear_model import LogisticRegression

import continual
import peers
from run import machine, revision

HEADS = ({"expansion": "relu", "head": "lda"}, {"expansion": "relu", "head": "ridge"}, {"expansion": "rff", "head": "lda"})


def vectors(server: continual.StudyServer, rows: list[dict]) -> numpy.ndarray:
    lines, out = server.home / "texts.txt", server.home / "vectors.npy"
    lines.write_text("".join(" ".join(row["text"].split()) + "\n" for row in rows))
    out.unlink(missing_ok=True)
    server.engram("encode", "m@1", "--file", lines, "--out", out)
    return numpy.load(out)


def probe(server: continual.StudyServer, train: list[dict], test: list[dict]) -> float:
    x, y = vectors(server, train), numpy.array([row["label"] for row in train])
    order = numpy.random.default_rng(0).permutation(len(x))
    held, kept = order[:len(x) // 10], order[len(x) // 10:]
    scores = {c: LogisticRegression(C=c, max_iter=500).fit(x[kept], y[kept]).score(x[held], y[held]) for c in (3.0, 10.0, 30.0)}
    best = max(scores, key=scores.get)
    return LogisticRegression(C=best, max_iter=500).fit(x, y).score(vectors(server, test), numpy.array([row["label"] for row in test]))


def run(server: continual.StudyServer, head: dict, test: list[dict]) -> dict:
    steps = continual.steps_of("banking_class", 0)
    server.engram("models", "import", "m", peers.BASE_MODEL, "--label", "now")
    for i, step in enumerate(steps):
        server.upload(f"step-{i}", *(continual.rows_of(step, part, None, 0) for part in ("train", "test")))
    cpu, seconds, work = server.cpu_seconds(), 0.0, 0.0
    settings = [word for key, value in head.items() for word in ("--set", f"{key}={value}")]
    for i, step in enumerate(steps):
        result = server.engram("start-task", "m@now", step.task, "--dataset", f"step-{i}", "--strategy", "fel", *settings, "--set", "measure_earlier=false",
                               "--label", "now", "--wait")["result"]
        seconds, work = seconds + result["seconds"], work + result["work_seconds"]
    cpu = server.cpu_seconds() - cpu
    server.upload("all", continual.read("banking77", "train")[:100], test)
    job = server.engram("evaluate", "m@now", "--task", steps[0].task, "--dataset", "all", "--wait")
    return {**head, "accuracy": continual.accuracy_of(job, steps[0].task), "seconds": round(seconds, 1), "work_seconds": round(work, 1), "cpu_seconds": round(cpu, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=pathlib.Path, help="folder of the server's data, emptied; default: a temporary one")
    parser.add_argument("--revision", help="of the programs that are run, where they are not this checkout's")
    options = parser.parse_args()
    about = {"cores": os.cpu_count(), "machine": machine(), "revision": options.revision or revision()}
    train, test = continual.read("banking77", "train"), continual.read("banking77", "test")
    path = continual.RESULTS / "fel_banking.json"
    rows, joint = [], None
    with tempfile.TemporaryDirectory() as temporary:
        for head in HEADS:
            server = continual.StudyServer(options.home or pathlib.Path(temporary))
            try:
                found = run(server, head, test)
                joint = probe(server, train, test) if joint is None else joint
            finally:
                server.stop()
            rows.append({**found, "joint_probe": joint, **about})
            print(json.dumps(rows[-1]), flush=True)
            path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
