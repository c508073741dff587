"""The demo: one real encoder learns two tasks, forgets without EWC and remembers with it, and answers through gRPC.

    make demo               everything below
    make demo CONTROLS=1    also L2-SP and permuted Fisher of the same trace, which EWC must beat on A

Nothing here is a fixed figure: every number printed was measured in this run, and the demo fails if what it must show did not happen.
"""
import gzip
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("ENGRAM_BUILD", ROOT / "build")).resolve()
DATA = ROOT / "tests" / "data"
HOME = BUILD / "demo"
CONTROLS = os.environ.get("CONTROLS", "") not in ("", "0")
MODEL, A, B = "minilm", "banking", "dbpedia"


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


class Server:
    """engramd on free ports, with a data directory of its own."""

    def __init__(self, config: str = ""):
        shutil.rmtree(HOME, ignore_errors=True)
        HOME.mkdir(parents=True)
        (HOME / "engramd.yaml").write_text(
            f"data_dir: {HOME / 'data'}\ngrpc_address: 127.0.0.1:0\nadmin_address: 127.0.0.1:0\n{config}")
        self.log = open(HOME / "engramd.log", "w")
        self.process = subprocess.Popen([BUILD / "bin" / "engramd", "--config", HOME / "engramd.yaml"],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = self.process.stdout.readline()
        if not ready:
            raise SystemExit(f"engramd did not start; see {HOME / 'engramd.log'}")
        addresses = json.loads(ready)
        self.grpc, self.admin = addresses["grpc_address"], addresses["admin_address"]

    def engram(self, *words, show: bool = True):
        """Runs the CLI. With show, as a user would see it; else the parsed JSON answer."""
        command = [str(BUILD / "bin" / "engram"), "--address", self.grpc]
        if show:
            print("$ engram " + shlex.join(map(str, words)), flush=True)
            subprocess.run([*command, *map(str, words)], check=True)
            return None
        answer = subprocess.run([*command, "--json", *map(str, words)], check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(answer.stdout)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


def learn(server: Server, strategy: str, base: str, options: list[str]) -> dict:
    """Task B on top of `base` with one strategy; the accuracy on A and B of the version that it made."""
    server.engram("start-task", MODEL, B, "--dataset", "dbpedia14", "--strategy", strategy, "--from", base, "--label", strategy,
                  *options, "--wait")
    return accuracies(server, strategy)


def accuracies(server: Server, label: str) -> dict:
    job = server.engram("evaluate", f"{MODEL}@{label}", "--wait", show=False)
    return {entry["task"].split("/")[-1]: 100 * entry["value"] for entry in job["result"]["metrics"] if entry["metric"] == "accuracy"}


def long_text() -> pathlib.Path:
    """One long text out of all DBpedia samples."""
    path = HOME / "long.txt"
    rows = [json.loads(line)["text"] for part in ("train", "test") for line in gzip.open(DATA / f"dbpedia14.{part}.jsonl.gz", "rt")]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def matrix(rows: list[tuple[str, dict]]) -> None:
    print(f"{'':<28}{'accuracy on A (' + A + ')':>26}{'on B (' + B + ')':>20}")
    for name, values in rows:
        print(f"{name:<28}" + f"{values[A]:>26.1f}" + (f"{values[B]:>20.1f}" if B in values else f"{'-':>20}"))


def check(what: str, holds: bool, detail: str) -> bool:
    print(f"[{'ok' if holds else 'NOT SHOWN'}] {what}: {detail}")
    return holds


def show_forgetting(server: Server) -> bool:
    say("2. Task A: Banking77 (intents of bank customers), then consolidate it")
    server.engram("start-task", MODEL, A, "--dataset", "banking77", "--label", "after-a", "--wait")
    server.engram("consolidate-task", f"{MODEL}@after-a", A, "--fisher", "sampled", "--samples", "1000", "--label", "after-a", "--wait")
    after_a = accuracies(server, "after-a")
    say("3. Task B: DBpedia (kinds of things) on top of it, once naively and once with EWC")
    results = {"naive": learn(server, "naive", "after-a", []), "ewc": learn(server, "ewc", "after-a", [])}
    if CONTROLS:
        for control in ("l2sp", "permuted_ewc"):
            results[control] = learn(server, control, "after-a", [])
    say("4. What was forgotten (per cent correct on the test parts)")
    matrix([("after A", after_a)] + [(f"after B, {name}", values) for name, values in results.items()])
    naive, ewc = results["naive"], results["ewc"]
    lost, won = after_a[A] - naive[A], ewc[A] - naive[A]
    shown = [check("naive training forgets A", lost >= 5, f"{lost:.1f} points lost (at least 5)"),
             check("EWC wins it back", lost > 0 and won >= lost * 2 / 3, f"{won:.1f} of {lost:.1f} points (at least two thirds)"),
             check("and still learns B", ewc[B] >= naive[B] - 1, f"{ewc[B]:.1f} against {naive[B]:.1f} (within one point)")]
    for control in ("l2sp", "permuted_ewc") if CONTROLS else ():
        shown.append(check(f"EWC beats {control} on A", ewc[A] > results[control][A], f"{ewc[A]:.1f} against {results[control][A]:.1f}"))
    return all(shown)


def show_answers(server: Server) -> None:
    say("5. One version answers for both tasks")
    for text in ("I am still waiting on my card, when will it arrive?", "The Hudson River flows through eastern New York."):
        server.engram("classify", f"{MODEL}@ewc", text, "--top-k", "2")
    say("6. Named entities: WNUT17")
    server.engram("datasets", "upload", "wnut17", DATA / "wnut17.train.conll.gz", "--test", DATA / "wnut17.test.conll.gz")
    server.engram("start-task", MODEL, "entities", "--dataset", "wnut17", "--kind", "ner", "--from", "base", "--label", "ner",
                  "--epochs", "2", "--wait")
    server.engram("tag-entities", f"{MODEL}@ner", "Angela Merkel met Barack Obama in Berlin, and Google opened an office in Paris.")
    say("7. One vector for a text far longer than the model's window")
    server.engram("encode", f"{MODEL}@ewc", "--file", long_text(), "--out", HOME / "long.npy")


def main() -> int:
    started = time.time()
    server = Server()
    try:
        say("1. A server, a base model and two data sets")
        print(f"engramd listens on {server.grpc}; metrics: http://{server.admin}/metrics")
        server.engram("models", "import", MODEL, ROOT / ".deps" / "base-model", "--label", "base")
        for name in ("banking77", "dbpedia14"):
            server.engram("datasets", "upload", name, DATA / f"{name}.train.jsonl.gz", "--test", DATA / f"{name}.test.jsonl.gz")
        shown = show_forgetting(server)
        show_answers(server)
        with urllib.request.urlopen(f"http://{server.admin}/metrics", timeout=10) as answer:
            lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        say(f"Done in {time.time() - started:.0f} s. http://{server.admin}/metrics served {len(lines)} series; the server stops now.")
        return 0 if shown else 1
    except subprocess.CalledProcessError as error:
        print(f"\nThe demo ends here: `engram {shlex.join(map(str, error.cmd[3:]))}` failed (see above); the server's log is {HOME / 'engramd.log'}.")
        return 1
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
