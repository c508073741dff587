"""A real engramd for benchmarks, on free ports, and its CLI."""
import json
import pathlib
import signal
import subprocess

import peers


class Refused(Exception):
    """The server would not do it; the message says why."""


class Server:
    """Keeps its data in `home`/data; `more`: further lines of its configuration."""

    def __init__(self, home: pathlib.Path, more: str = ""):
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        config = home / "engramd.yaml"
        config.write_text(f"data_dir: {home / 'data'}\ngrpc_address: 127.0.0.1:0\nadmin_address: 127.0.0.1:0\n{more}")
        self.log = open(home / "engramd.log", "a")
        self.process = subprocess.Popen([peers.BUILD / "bin" / "engramd", "--config", config], stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = self.process.stdout.readline()
        if not ready:
            raise SystemExit(f"engramd did not start; see {home / 'engramd.log'}")
        self.address = json.loads(ready)["grpc_address"]

    def engram(self, *words) -> dict:
        """What the CLI answers, parsed; Refused if it failed."""
        answer = subprocess.run([peers.BUILD / "bin" / "engram", "--address", self.address, "--json", *map(str, words)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if answer.returncode != 0:
            raise Refused(f"engram {' '.join(map(str, words[:2]))}: {(answer.stderr or answer.stdout).strip()[-500:]}")
        return json.loads(answer.stdout.splitlines()[-1]) if answer.stdout.strip() else {}

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)
