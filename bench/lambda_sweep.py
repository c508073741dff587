"""How strong should EWC pull? The demo's stream at several strengths, through a real server: bench/results/lambda_sweep.json.

    bench/lambda_sweep.py [--lambdas 300,1000,3000] [--controls 1000] [--seed 0] [--home DIR]

Task A (Banking77) is trained and consolidated once; every row trains task B (DBpedia) on top of that one version and measures both. Rows
are written as they come, and a row that is in the file already (same seed, same build) is not measured again; --home keeps the server's
data so that the version of A is made once. docs/ewc.md quotes the file.
"""
import argparse
import importlib.metadata
import json
import pathlib
import tempfile
import time

import peers
from engram_server import Server
from run import machine, revision

RESULTS = peers.REPOSITORY / "bench" / "results" / "lambda_sweep.json"
DATA = peers.REPOSITORY / "tests" / "data"
MODEL, A, B, AFTER_A = "minilm", "banking", "dbpedia", "after-a"


class SweepServer(Server):
    def accuracies(self, label: str) -> dict:
        metrics = self.engram("evaluate", f"{MODEL}@{label}", "--wait")["result"]["metrics"]
        return {m["task"].split("/")[-1]: round(100 * m["value"], 2) for m in metrics if m["metric"] == "accuracy"}


def learn_a(server: SweepServer, seed: int) -> None:
    """The version that every row starts from, if it is not there yet."""
    models = server.engram("models", "list").get("models", [])
    if any(AFTER_A in model.get("labels", {}) for model in models):
        return
    server.engram("models", "import", MODEL, peers.BASE_MODEL, "--label", "base")
    for name in ("banking77", "dbpedia14"):
        server.engram("datasets", "upload", name, DATA / f"{name}.train.jsonl.gz", "--test", DATA / f"{name}.test.jsonl.gz")
    server.engram("start-task", MODEL, A, "--dataset", "banking77", "--label", "learned-a", "--set", f"seed={seed}", "--wait")
    server.engram("consolidate-task", f"{MODEL}@learned-a", A, "--fisher", "sampled", "--samples", "1000", "--label", AFTER_A, "--wait")


def measure(server: SweepServer, strategy: str, strength: float, seed: int) -> dict:
    label = f"{strategy}-{strength:g}".replace("_", "-")
    start = time.monotonic()
    pull = [] if strategy == "naive" else ["--lambda", strength]
    job = server.engram("start-task", f"{MODEL}@{AFTER_A}", B, "--dataset", "dbpedia14", "--strategy", strategy, *pull,
                        "--set", f"seed={seed}", "--label", label, "--wait")
    found = server.accuracies(label)
    return {"strategy": strategy, "lambda": strength, "seed": seed, "accuracy_a": found[A], "accuracy_b": found[B],
            "steps": int(job["result"]["steps"]), "warnings": job["result"].get("warnings", []), "seconds": round(time.monotonic() - start, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [float(x) for x in text.split(",") if x]
    parser.add_argument("--lambdas", type=numbers, default=[300.0, 1000.0, 3000.0], help="strengths of EWC in Bayes units")
    parser.add_argument("--controls", type=numbers, default=[1000.0], help="strengths of l2sp and permuted_ewc")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=pathlib.Path, help="where the server's data stays; default: nowhere")
    options = parser.parse_args()
    wanted = [("naive", 0.0)] + [("ewc", x) for x in options.lambdas] + [(c, x) for x in options.controls for c in ("l2sp", "permuted_ewc")]
    about = {"stream": "Banking77 (2,000 texts), then DBpedia (2,000 texts); MiniLM mean-pooled, 3 epochs, b32, lr 2e-4, precision auto; "
                       "sampled Fisher on 1,000 texts; accuracy in per cent on 1,000 test texts each",
             "machine": machine(), "torch": importlib.metadata.version("torch"), "revision": revision()}
    with tempfile.TemporaryDirectory() as temporary:
        server = SweepServer(options.home or pathlib.Path(temporary))
        try:
            learn_a(server, options.seed)
            earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            same = {key: earlier.get(key) for key in about} == about and earlier.get("seed") == options.seed
            rows = earlier["rows"] if same else []
            after_a = earlier["after_a"] if same else server.accuracies(AFTER_A)[A]
            for strategy, strength in wanted:
                if any((row["strategy"], row["lambda"]) == (strategy, strength) for row in rows):
                    continue
                rows.append(measure(server, strategy, strength, options.seed))
                print(json.dumps(rows[-1]), flush=True)
                RESULTS.parent.mkdir(parents=True, exist_ok=True)
                RESULTS.write_text(json.dumps({**about, "seed": options.seed, "after_a": after_a, "rows": rows}, indent=1) + "\n")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
