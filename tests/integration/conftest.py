"""A real engramd on free ports, the real CLI, and Python stubs made from proto/: what the integration tests stand on."""
import collections
import gzip
import json
import os
import pathlib
import signal
import subprocess
import sys

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ENGRAM_BUILD", ROOT / "build"))
BASE_MODEL = ROOT / ".deps" / "base-model"
DATA = ROOT / "tests" / "data"


class Server:
    """One engramd process. `kill` is SIGKILL; `start` again recovers from the same data directory."""

    def __init__(self, folder: pathlib.Path, config: dict | None = None):
        self.folder, self.process, self.channel = folder, None, None
        self.config = {"data_dir": str(folder / "data"), "grpc_address": "127.0.0.1:0", "admin_address": "127.0.0.1:0", **(config or {})}
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> "Server":
        path = self.folder / "engramd.yaml"
        path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in self.config.items()))
        self.log = open(self.folder / "engramd.log", "a")
        self.process = subprocess.Popen([BUILD / "bin" / "engramd", "--config", path], stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = self.process.stdout.readline()
        assert ready, f"engramd ended before it was ready: {(self.folder / 'engramd.log').read_text()[-2000:]}"
        addresses = json.loads(ready)
        self.grpc, self.admin = addresses["grpc_address"], addresses["admin_address"]
        self.channel = grpc.insecure_channel(self.grpc)
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        if self.channel:
            self.channel.close()
        code = self.process.wait(timeout=timeout)
        self.log.close()
        return code

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def engram(self, *words, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess:
        """The CLI as a user runs it."""
        command = [str(BUILD / "bin" / "engram"), "--address", self.grpc, *map(str, words)]
        answer = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=300)
        if check:
            assert answer.returncode == 0, f"{' '.join(command)}\n{answer.stdout}\n{answer.stderr}"
        return answer

    def json(self, *words) -> dict:
        return json.loads(self.engram("--json", *words).stdout)

    def stub(self, service: str):
        """The stub of engram.v1.<service>."""
        return stubs()[service](self.channel)


_stubs = None


def stubs() -> dict:
    """Python stubs of every service, generated once into a folder of the build."""
    global _stubs
    if _stubs is None:
        from grpc_tools import protoc
        import importlib
        import google.rpc
        out = BUILD / "python-stubs"
        out.mkdir(exist_ok=True)
        files = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto" / "engram" / "v1").glob("*.proto"))
        common = pathlib.Path(google.rpc.__path__[0]).parents[1]
        builtin = pathlib.Path(protoc.__file__).parent / "_proto"
        code = protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{common}", f"-I{builtin}", f"--python_out={out}",
                            f"--grpc_python_out={out}", *files])
        assert code == 0, "protoc failed on proto/"
        sys.path.insert(0, str(out))
        _stubs = {}
        for file in files:
            module = importlib.import_module(file.removesuffix(".proto").replace("/", ".") + "_pb2_grpc")
            _stubs.update({name.removesuffix("Stub"): value for name, value in vars(module).items() if name.endswith("Stub")})
    return _stubs


def messages():
    """All messages of engram.v1 as attributes of one namespace."""
    stubs()
    import importlib
    names = {}
    for file in sorted((ROOT / "proto" / "engram" / "v1").glob("*.proto")):
        names.update(vars(importlib.import_module(f"engram.v1.{file.stem}_pb2")))
    return collections.namedtuple("Messages", [n for n in names if not n.startswith("_")])(**{n: v for n, v in names.items() if not n.startswith("_")})


def error_info(error: grpc.RpcError):
    """(ErrorInfo, field violations) of a failed call."""
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
    return info, [v.field for v in bad.field_violations]


def head_of(name: str, rows: int, target: pathlib.Path) -> pathlib.Path:
    """The first rows of a sample, plain text."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        target.write_text("".join(line for _, line in zip(range(rows), lines)), encoding="utf-8")
    return target


def few_classes(name: str, labels: int, per_label: int, target: pathlib.Path) -> pathlib.Path:
    """A small learnable data set: the first `per_label` rows of the `labels` most frequent labels."""
    rows = [json.loads(line) for line in gzip.open(DATA / name, "rt", encoding="utf-8")]
    frequent = [label for label, _ in collections.Counter(r["label"] for r in rows).most_common(labels)]
    kept, seen = [], collections.Counter()
    for r in rows:
        if r["label"] in frequent and seen[r["label"]] < per_label:
            seen[r["label"]] += 1
            kept.append(json.dumps(r, ensure_ascii=False))
    target.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return target


@pytest.fixture
def new_server(tmp_path):
    """A factory of servers that are killed at the end of the test."""
    servers = []

    def make(config: dict | None = None, folder: str = "server", start: bool = True) -> Server:
        server = Server(tmp_path / folder, config)
        servers.append(server)
        return server.start() if start else server

    yield make
    for server in servers:
        if server.process and server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="module")
def module_server(tmp_path_factory):
    """One empty server for the tests of a file."""
    server = Server(tmp_path_factory.mktemp("module")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """One server for the tests that only add to it: the base model imported as models/base, two small data sets uploaded."""
    folder = tmp_path_factory.mktemp("shared")
    server = Server(folder).start()
    server.engram("models", "import", "base", BASE_MODEL)
    for name in ("banking77", "dbpedia14"):
        train = few_classes(f"{name}.train.jsonl.gz", 4, 16, folder / f"{name}.train.jsonl")
        test = few_classes(f"{name}.train.jsonl.gz", 4, 24, folder / f"{name}.test.jsonl")
        server.engram("datasets", "upload", name, train, "--test", test)
    yield server
    server.stop()
