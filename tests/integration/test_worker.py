"""engram-worker alone, as engramd starts it: a run directory, an event pipe, exit codes. Real files, a tiny random encoder.

What must hold of whole processes: stopping (SIGTERM) or killing a run and going on ends in the same bits as never stopping; lambda 0 is
naive; the heads of other tasks are left alone; a dead penalty and a divergence are said.
"""
import fcntl
import hashlib
import importlib
import json
import pathlib
import shutil
import signal
import subprocess

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from conftest import BASE_MODEL, BUILD, ROOT, Server, few_classes, stubs
from small_models import tokenizer

RESUMABLE = 75
# A pipe of one page holds at most 50 progress messages, so a worker is never further ahead of the reader than that, however slow the machine.
PIPE_BYTES, AHEAD = 4096, 50
WEIGHTS = ("model.safetensors", "heads.safetensors")


@pytest.fixture(scope="module")
def pb():
    """The messages between engramd and its worker."""
    stubs()  # engram.v1, and the folder of the stubs on sys.path
    from grpc_tools import protoc
    out, builtin = BUILD / "python-stubs", pathlib.Path(protoc.__file__).parent / "_proto"
    assert protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{builtin}", f"--python_out={out}", "engram/worker/v1/worker.proto"]) == 0
    return importlib.import_module("engram.worker.v1.worker_pb2")


def read_exactly(pipe, size: int) -> bytes:
    """`size` bytes, less only at the end of the pipe; nothing is read ahead."""
    read = b""
    while len(read) < size and (part := pipe.read(size - len(read))):
        read += part
    return read


class Run:
    """One run directory and the processes that work on it."""

    def __init__(self, pb, folder, spec):
        self.pb, self.folder, self.spec = pb, folder, spec
        folder.mkdir()
        (folder / "spec.binpb").write_bytes(spec.SerializeToString())

    def start(self, at=None, number=signal.SIGTERM):
        """Runs a worker; sends it `number` at the first event for which at(event). Returns (exit code, events)."""
        command = ["sh", "-c", 'exec "$0" --run-directory "$1" 3>&1 1>&2', str(BUILD / "bin" / "engram-worker"), str(self.folder)]
        with open(self.folder / "log", "a") as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0)
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        events, sent = [], at is None
        while head := read_exactly(process.stdout, 4):
            event = self.pb.RunEvent.FromString(read_exactly(process.stdout, int.from_bytes(head, "little")))
            events.append(event)
            if not sent and at(event):
                process.send_signal(number)
                sent = True
        code = process.wait(timeout=60)
        process.stdin.close()
        assert sent, "the moment for the signal never came"
        return code, events

    def outcome(self):
        return self.pb.RunOutcome.FromString((self.folder / "result.binpb").read_bytes())

    def finish(self):
        """Runs to the end, which must be success; the result."""
        code, _ = self.start()
        outcome = self.outcome()
        assert code == 0 and outcome.WhichOneof("outcome") == "result", (outcome, (self.folder / "log").read_text()[-2000:])
        return outcome.result

    @property
    def output(self):
        return self.folder / "output"

    def digests(self):
        return {name: hashlib.sha256((self.output / name).read_bytes()).hexdigest() for name in WEIGHTS}


@pytest.fixture(scope="module")
def world(pb, tmp_path_factory):
    """A tiny encoder that has learned task a (version 2) and was consolidated (version 3), data for a and b, and a maker of runs."""
    folder = tmp_path_factory.mktemp("world")
    torch.manual_seed(1)
    config = transformers.BertConfig(vocab_size=30522, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
                                     max_position_embeddings=64)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder / "tiny")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(BASE_MODEL / name, folder / "tiny")
    server = Server(folder / "server").start()
    server.engram("models", "import", "tiny", folder / "tiny")
    server.stop()

    class World:
        texts = {"a": few_classes("banking77.train.jsonl.gz", 4, 16, folder / "a.jsonl"),
                 "b": few_classes("dbpedia14.train.jsonl.gz", 4, 16, folder / "b.jsonl")}
        base = folder / "server" / "data" / "models" / "tiny" / "versions" / "1"

        def spec(self, base, version):
            return pb.RunSpec(job="jobs/test", model="tiny", base_directory=str(base), version=version, base_version=version - 1, device="cpu",
                              threads=2)

        def describe(self, dataset, task):
            """Fills in a data set of training rows alone, with the digest by which the worker knows it."""
            parts = [hashlib.sha256(self.texts[task].read_bytes()).hexdigest(), hashlib.sha256(b"").hexdigest()]
            dataset.name, dataset.training_path = task, str(self.texts[task])
            dataset.digest = hashlib.sha256("".join(parts).encode()).hexdigest()

        def train(self, path, base, task, strategy="naive", penalty=1000.0, **options):
            spec = self.spec(base, 4)
            work = spec.train
            work.task, work.kind, work.pooling, work.strategy = task, "sequence_classification", "mean", strategy
            work.progress_every_steps = 1
            if strategy != "naive":
                work.strategy_options.update({"lambda": repr(float(penalty)), "penalty_mode": "auto", "centre": "own"})
            self.describe(work.dataset, task)
            work.labels.extend(sorted({json.loads(line)["label"] for line in open(self.texts[task])}))
            for key, value in {"epochs": 6, "batch_size": 8, "lr": 2e-3, "precision": "fp32", "max_length": 64, **options}.items():
                work.options[key] = str(value)
            return Run(pb, path, spec)

        def consolidate(self, path, base, task):
            spec = self.spec(base, 3)
            spec.consolidate.task, spec.consolidate.fisher = task, "exact"
            self.describe(spec.consolidate.dataset, task)
            return Run(pb, path, spec)

    world = World()
    learned = world.train(folder / "learn-a", world.base, "a")
    learned.finish()
    consolidated = world.consolidate(folder / "consolidate-a", learned.output, "a")
    assert consolidated.finish().fisher_trace > 0
    world.after_a = consolidated.output
    return world


def test_texts_that_are_cut_are_said_by_every_kind_of_run(world, pb, tmp_path):
    """The numbers are the tokenizer's; texts that lose something are counted, and how they could be spared is said only where they could."""
    made = tokenizer(world.base)
    lengths = [len(made(json.loads(line)["text"])["input_ids"]) for line in open(world.texts["b"])]

    def warning(most, which="training texts", limit="the 64 tokens that the model takes"):
        cut = sum(length > most for length in lengths)
        assert 0 < cut < len(lengths)
        return [f"TEXTS_CUT: {cut} of {len(lengths)} {which} are cut at {limit}"]

    *narrow, unmeasured = world.train(tmp_path / "narrow", world.after_a, "b", epochs=1, max_length=32).finish().warnings
    assert narrow == warning(32, limit="max_length=32 tokens; raise it to use all of them") and unmeasured.startswith("NOT_MEASURED: ")
    learned = world.train(tmp_path / "learned", world.after_a, "b", epochs=1)
    *cut, unmeasured = learned.finish().warnings
    assert cut == warning(64) and unmeasured.startswith("NOT_MEASURED: ")
    assert world.consolidate(tmp_path / "consolidated", learned.output, "b").finish().warnings == warning(64)
    evaluation = world.spec(learned.output, 0)
    item = evaluation.evaluate.items.add()
    item.task = "b"
    world.describe(item.dataset, "b")
    part, *cut = Run(pb, tmp_path / "evaluated", evaluation).finish().warnings
    assert part.startswith("TRAINING_ROWS: ") and cut == warning(64, which='texts measured for "b"')


CASES = {
    "fp32": dict(precision="fp32", epochs=10),
    "bf16, accumulation, early stopping": dict(precision="bf16", epochs=25, accumulation=2, validation_fraction=0.25, early_stopping_patience=10),
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_a_run_that_was_stopped_or_killed_ends_in_the_same_bits(world, tmp_path, options):
    whole = world.train(tmp_path / "whole", world.after_a, "b", "ewc", **options)
    result = whole.finish()
    # Some are longer than this encoder takes, and none are held out for a test.
    measured = "VALIDATION_FIGURES" if "validation_fraction" in options else "NOT_MEASURED"
    assert {warning.split(":")[0] for warning in result.warnings} == {"TEXTS_CUT", measured}
    steps = result.steps
    assert steps > 12 + AHEAD  # so that none of the signals below can come too late

    # SIGTERM at the first step and again later: two checkpoints, three processes.
    stopped = world.train(tmp_path / "stopped", world.after_a, "b", "ewc", **options)
    for step in (1, 12):
        code, _ = stopped.start(at=lambda event: event.progress.phase == "training" and event.progress.step >= step)
        assert code == RESUMABLE and not (stopped.folder / "result.binpb").exists()
    assert stopped.finish().steps == steps
    assert stopped.digests() == whole.digests()

    # SIGKILL some steps behind a periodic checkpoint.
    killed = world.train(tmp_path / "killed", world.after_a, "b", "ewc", checkpoint_every_steps=5, **options)
    code, events = killed.start(at=lambda event: event.progress.step >= 12, number=signal.SIGKILL)
    last = [e.checkpoint_step for e in events if e.checkpoint_step][-1]
    assert code == -signal.SIGKILL and last >= 10
    _, events = killed.start()
    # It goes on behind the last checkpoint that was announced, or behind one that was written and not announced any more.
    assert [e.progress.step for e in events if e.progress.phase == "training"][0] - 1 in (last, last + 5)
    assert killed.outcome().result.steps == steps
    assert killed.digests() == whole.digests()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_lambda_zero_is_naive_and_ewc_is_not(world, tmp_path, precision):
    runs = {name: world.train(tmp_path / name, world.after_a, "b", strategy, penalty, precision=precision)
            for name, strategy, penalty in (("naive", "naive", 1000.0), ("zero", "ewc", 0.0), ("ewc", "ewc", 1000.0))}
    penalties = {}
    for name, run in runs.items():
        _, events = run.start()
        # Step 1 of the warm-up moves nothing, so the penalty that step 3 starts from is the first that can be there.
        penalties[name] = {e.progress.step: e.progress.penalty for e in events if e.progress.phase == "training"}
    assert runs["zero"].digests() == runs["naive"].digests() != runs["ewc"].digests()
    assert penalties["ewc"][3] > 0 and set(penalties["naive"].values()) == {0.0} == set(penalties["zero"].values())

    before, after = load_file(world.after_a / "heads.safetensors"), load_file(runs["ewc"].output / "heads.safetensors")
    head_of_a = [name for name in before if name.startswith("heads.a.")]
    assert len(head_of_a) == 2 and len(after) == 4
    assert all(torch.equal(before[name], after[name]) for name in head_of_a)
    # What is remembered of a goes along.
    assert (world.after_a / "continual.safetensors").read_bytes() == (runs["ewc"].output / "continual.safetensors").read_bytes()


def rewritten(world, folder, file, change):
    """A copy of the consolidated version in which `change` was made to the tensors of one file, its digest with it."""
    shutil.copytree(world.after_a, folder)
    tensors = load_file(folder / file)
    with open(folder / file, "rb") as source:
        header = json.loads(source.read(int.from_bytes(source.read(8), "little")))
    change(tensors)
    save_file(tensors, folder / file, metadata=header.get("__metadata__"))
    manifest = json.loads((folder / "engram.json").read_text())
    manifest["files"][file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    (folder / "engram.json").write_text(json.dumps(manifest))
    return folder


def test_a_penalty_that_does_nothing_is_said(world, tmp_path):
    def kill_importance(tensors):
        for name, values in tensors.items():
            if name.startswith("fisher."):
                values.zero_()

    run = world.train(tmp_path / "run", rewritten(world, tmp_path / "dead", "continual.safetensors", kill_importance), "b", "ewc")
    _, events = run.start()
    assert any(w.startswith("DEAD_PENALTY") for w in run.outcome().result.warnings)
    warned = [e.progress.step for e in events if any(w.startswith("DEAD_PENALTY") for w in e.progress.warnings)]
    assert 10 <= warned[0] <= 13  # while the run goes on


def test_a_divergence_ends_the_run_with_step_and_cause(world, tmp_path):
    def poison(tensors):
        tensors["embeddings.word_embeddings.weight"].fill_(float("nan"))

    run = world.train(tmp_path / "run", rewritten(world, tmp_path / "poisoned", "model.safetensors", poison), "b")
    code, _ = run.start()
    error = run.outcome().error
    assert code == 0 and error.reason == "TRAINING_DIVERGED"
    assert "step 1: the loss is not a number" in error.message
    assert not (run.output / "engram.json").exists()


def test_a_fisher_in_fp16_is_refused(world, tmp_path):
    def halve(tensors):
        for name in list(tensors):
            if name.startswith("fisher."):
                tensors[name] = tensors[name].half()

    run = world.train(tmp_path / "run", rewritten(world, tmp_path / "half", "continual.safetensors", halve), "b", "ewc")
    run.start()
    error = run.outcome().error
    assert error.field.startswith("fisher.a.") and "F16" in error.message
