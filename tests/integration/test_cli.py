"""The command line as people and programs use it: the progress line on a terminal, Ctrl-C, JSON of every verb, help."""
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios

import pytest

from conftest import BUILD
from small_models import make

ENGRAM = BUILD / "bin" / "engram"
REDRAW = "\r\x1b[K"


@pytest.fixture(scope="module")
def stream(shared_server):
    """A version that has learned and consolidated a task: what is trained on top of it pays a penalty."""
    s = shared_server
    s.engram("start-task", "base@1", "cli", "--dataset", "banking77", "--epochs", "1", "--label", "cli", "--wait")
    s.engram("consolidate-task", "base@cli", "cli", "--samples", "16", "--label", "cli", "--wait")
    return s


def run_on_terminal(command: list, columns: int) -> tuple[int, str]:
    """Runs a command whose standard error is a terminal of that width; its exit status and what it drew there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux tells that the other side was closed
            break
        if not part:
            break
        drawn += part
    os.close(ours)
    return process.wait(timeout=60), drawn.decode()


@pytest.mark.parametrize("columns", [140, 50])
def test_a_terminal_shows_a_bar_that_is_redrawn_in_place(stream, columns):
    job = stream.json("start-task", "base@cli", "second", "--dataset", "banking77", "--epochs", "10")["name"]
    code, drawn = run_on_terminal([ENGRAM, "--address", stream.grpc, "jobs", "watch", job], columns)
    assert code == 0
    lines = [line for line in drawn.split(REDRAW)[:-1] if line]  # after the last one come warnings, if any
    assert lines and all(len(line) < columns and "\n" not in line for line in lines), lines
    training = [line for line in lines if line.startswith("training")]
    assert training
    if columns == 140:
        full = re.compile(r"training  epoch \d+/10  \[#*\.*\] +\d+%  \d+/20  \d+ tok/s  loss \d+\.\d+  penalty [\d.e-]+  \d+:\d\d left")
        assert any(full.fullmatch(line) for line in training), training


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(stream):
    job = stream.json("start-task", "base@1", "long", "--dataset", "banking77", "--epochs", "500")["name"]
    with subprocess.Popen([ENGRAM, "--address", stream.grpc, "jobs", "watch", job], stderr=subprocess.PIPE, text=True) as watching:
        assert any(line.startswith("training") for line in watching.stderr)
        watching.send_signal(signal.SIGINT)
        said = watching.stderr.read()
    assert watching.returncode == 1 and "The job goes on" in said and "jobs cancel" in said
    assert stream.json("jobs", "show", job)["state"] == "JOB_STATE_RUNNING"
    stream.engram("jobs", "cancel", job)
    answer = stream.engram("jobs", "watch", job, check=False)
    assert answer.returncode == 1 and "was cancelled" in answer.stderr


def test_every_verb_answers_in_json(stream, tmp_path):
    s = stream
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    version = s.json("start-task", "base@1", "json", "--dataset", "banking77", "--epochs", "1", "--wait")["result"]["version"]
    number = version.split("/")[-1]
    queued = s.json("start-task", "base@1", "json", "--dataset", "banking77", "--epochs", "500")
    answers = {
        "datasets upload": s.json("datasets", "upload", "jsonrows", rows)["training_rows"] == 2,
        "datasets list": any(d["name"] == "datasets/jsonrows" for d in s.json("datasets", "list")["datasets"]),
        "datasets show": s.json("datasets", "show", "jsonrows")["labels"] == ["x", "y"],
        "datasets delete": s.json("datasets", "delete", "jsonrows", "--yes") == {"versions_with_texts": [], "served_tasks": []},
        "models list": any(m["name"] == "models/base" for m in s.json("models", "list")["models"]),
        "models show": any(v["name"] == version for v in s.json("models", "show", "base")["versions"]),
        "models promote": s.json("models", "promote", "base", number, "--label", "json")["labels"]["json"] == int(number),
        "models rollback": s.json("models", "promote", "base", "1", "--label", "json")["labels"]["json"] == 1
                           and s.json("models", "rollback", "base", "--label", "json")["labels"]["json"] == int(number),
        "models export": int(s.json("models", "export", f"base@{number}", tmp_path / "export")["bytes"]) > 80_000_000,
        "jobs list": s.json("jobs", "list", "--state", "queued", "--limit", "1")["jobs"] is not None,
        "jobs show": s.json("jobs", "show", queued["name"])["name"] == queued["name"],
        "jobs pause": s.json("jobs", "pause", queued["name"])["name"] == queued["name"],
        "jobs cancel": s.json("jobs", "cancel", queued["name"])["name"] == queued["name"],
        "evaluate": s.json("evaluate", f"base@{number}", "--validate-only")["kind"] == "JOB_KIND_EVALUATE",
        "consolidate-task": s.json("consolidate-task", f"base@{number}", "json", "--validate-only")["kind"] == "JOB_KIND_CONSOLIDATE",
        "classify": len(s.json("classify", f"base@{number}", "some text")["results"]) == 1,
        "tokenize": len(s.json("tokenize", "base@1", "some text")["results"][0]["tokens"]) == 4,
        "encode": s.json("encode", "base@1", "some text")["vector"]["shape"] == [384],
        "strategies": {"naive", "ewc"} <= {x["name"] for x in s.json("strategies")["strategies"]},
        "strategies ewc": [o["name"] for o in s.json("strategies", "ewc")["options"]] == ["lambda", "penalty_mode", "centre"],
        "status": s.json("status")["models"] >= 1,
    }
    assert all(answers.values()), [verb for verb, holds in answers.items() if not holds]


def test_status_counts_every_page_and_export_takes_a_trailing_slash(new_server, tmp_path):
    s = new_server()
    tiny = make("bert", "Model", tmp_path / "tiny", num_hidden_layers=1, hidden_size=8, intermediate_size=8, num_attention_heads=1)
    for number in range(51):  # more than the server puts into a page if it is not told
        s.engram("models", "import", f"tiny{number}", tiny)
    assert s.json("status") == {"address": s.grpc, "models": 51, "queued": 0, "running": 0}
    s.engram("models", "export", "tiny0", f"{tmp_path}/out//")
    assert (tmp_path / "out" / "model.safetensors").exists() and not (tmp_path / "out.partial").exists()


def test_strategies_and_options_are_described_by_the_server(stream):
    s = stream
    described = s.json("strategies")
    shown = s.engram("strategies").stdout
    assert all(strategy["name"] in shown and strategy["summary"] in shown for strategy in described["strategies"])
    online = s.engram("strategies", "online_ewc").stdout
    assert re.search(r"^gamma +1 +\(0, 1\] ", online, re.MULTILINE) and re.search(r"^lambda +1000 +\[0, 1e9\] ", online, re.MULTILINE)
    assert "with 10 consolidated tasks: 2 copies" in online and "with 10 consolidated tasks: 20 copies" in s.engram("strategies", "ewc").stdout
    # One default for a version with consolidated tasks, one for a version without: those that StartTask takes.
    for flag, base in ("default_if_nothing_is_consolidated", "base@1"), ("default_if_consolidated", "base@cli"):
        [default] = [strategy["name"] for strategy in described["strategies"] if strategy[flag]]
        planned = s.json("start-task", base, "planned", "--dataset", "banking77", "--validate-only")["options"]
        assert planned["strategy"] == default
        [strategy] = [strategy for strategy in described["strategies"] if strategy["name"] == default]
        # The description is what holds where nothing is set, option by option (but for those that follow from the version).
        for option in strategy["options"] + described["training_options"]:
            if option["name"] not in ("pooling", "progress_every", "measure_earlier", "lambda_grid", "checkpoint_every_steps", "max_length"):
                assert planned[option["name"]] == option["default_value"], option
        assert ("lambda" in planned) == (default == "ewc")
    # A version shows the options that its training had, written as the description writes them; naive has none of its own.
    [learned] = [version for version in s.json("models", "show", "base")["versions"] if "cli" in version["labels"]]
    assert learned["strategy"] == "naive" and learned["strategy_options"] == {}
    shown_options = {option["name"]: option["default_value"] for option in described["training_options"]}
    assert all(learned["training_options"][name] == shown_options[name] for name in ("lr", "warmup_ratio", "epsilon", "beta1", "order"))
    [row] = re.findall(rf"^ *{learned['name'].split('/')[-1]} .*$", s.engram("models", "show", "base").stdout.split("\n\n")[0], re.MULTILINE)
    assert " naive " in row and "=" not in row
    help_text = s.engram("start-task", "--help").stdout
    for option in described["training_options"] + [o for strategy in described["strategies"] for o in strategy["options"]]:
        assert re.search(rf"^{option['name']} +{re.escape(option['default_value'])} +{re.escape(option['allowed'])} ", help_text, re.MULTILINE), option
    unknown = s.engram("strategies", "ewk", check=False)
    assert unknown.returncode == 2 and "online_ewc" in unknown.stderr
    refused = s.engram("start-task", "base@cli", "x", "--dataset", "banking77", "--set", "gamma=0.5", check=False)
    assert refused.returncode == 1 and re.search("online_ewc ha(s|ve) it", refused.stderr)


def test_every_verb_has_help():
    listed = subprocess.run([ENGRAM, "--help"], capture_output=True, text=True, check=True).stdout
    verbs = re.findall(r"^  ([a-z-]+)  ", listed.split("Subcommands:")[1], re.MULTILINE)
    assert {"datasets", "models", "start-task", "strategies", "consolidate-task", "evaluate", "cross-validate", "jobs", "classify", "tag-entities", "encode",
            "tokenize", "collect", "pages", "annotate", "status", "help", "completion"} == set(verbs)
    for verb in verbs:
        shown = subprocess.run([ENGRAM, verb, "--help"], capture_output=True, text=True, timeout=60)
        assert shown.returncode == 0 and "Usage" in shown.stdout


def bare(*words, environment=None) -> subprocess.CompletedProcess:
    """The CLI without a server's address."""
    return subprocess.run([ENGRAM, *words], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})


def test_version_help_and_mistyped_verbs():
    assert re.fullmatch(r"engram \d+\.\d+\.\d+\n", bare("--version").stdout)
    every = bare("help").stdout
    assert every == bare("--help").stdout and "start-task" in every and "completion" in every
    assert bare("help", "models").stdout == bare("models", "--help").stdout
    assert bare("help", "models", "import").stdout == bare("models", "import", "--help").stdout != ""
    for words, meant in (("clasify",), "engram classify"), (("models", "lst"), "engram models list"), (("dataset", "list"), "engram datasets"), (("help", "statsu"), "status"):
        answer = bare(*words)
        assert answer.returncode == 2 and meant in answer.stderr, (words, answer.stderr)
    assert "did you mean" not in bare("xyzzy").stderr


@pytest.mark.parametrize("address, said", [("http://127.0.0.1:7860", "--address 127.0.0.1:7860"), ("https://gpu/", "--address gpu:7860"), ("gpu", "has no port"), ("gpu:0", "no port")])
def test_an_address_that_is_none_is_told(address, said):
    answer = bare("--address", address, "status")
    assert answer.returncode == 2 and said in answer.stderr
    error = json.loads(bare("--json", "--address", address, "status").stderr)["error"]
    assert said in error["message"]


def test_errors_are_json_where_answers_are(stream):
    s = stream
    for words, code, reason in (("models", "show", "nobody"), 1, "MODEL_NOT_FOUND"), (("models", "show", "Bad Name"), 1, ""), (("strategies", "none"), 2, ""), (("classify",), 2, ""), (("modles",), 2, ""), \
            (("start-task", "base@1", "x", "--dataset", "banking77", "--epochs", "many"), 2, ""), (("models", "delete", "base"), 2, ""), (("models", "delete", "base@stable", "--yes"), 2, ""):
        answer = s.engram("--json", *words, check=False)
        assert answer.returncode == code and answer.stdout == "", words
        error = json.loads(answer.stderr)["error"]
        assert set(error) == {"code", "reason", "message", "field"} and error["message"], words
        assert not reason or error["reason"] == reason


def test_the_admin_address_and_a_proxy_are_named(stream):
    answer = bare("--address", stream.admin, "status")
    assert answer.returncode == 3 and "admin address" in answer.stderr, answer.stderr
    proxy = {"http_proxy": "http://someone:secret@127.0.0.1:9", "no_proxy": "", "no_grpc_proxy": ""}
    # Loopback goes past the proxy.
    assert bare("--address", stream.grpc, "status", environment=proxy).returncode == 0
    answer = bare("--address", "gpu.invalid:7860", "--timeout", "5", "status", environment=proxy)
    assert answer.returncode == 3 and "proxy http://127.0.0.1:9" in answer.stderr and "secret" not in answer.stderr, answer.stderr


def completed(line: str, folder) -> set[str]:
    """What a real bash offers behind `line`."""
    script = 'source <("$0" completion bash); COMP_LINE="$1"; read -ra COMP_WORDS <<< "$1"; [[ "$1" == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _engram; printf "%s\n" "${COMPREPLY[@]}"'
    answer = subprocess.run(["bash", "--norc", "-c", script, str(ENGRAM), line], capture_output=True, text=True, timeout=60, cwd=folder, check=True)
    assert not answer.stderr, answer.stderr
    return set(answer.stdout.split())


def test_a_real_bash_completes_verbs_options_and_files(tmp_path):
    (tmp_path / "texts.csv").write_text("text\n")
    assert {"datasets", "models", "classify", "completion"} <= completed("engram ", tmp_path)
    assert completed("engram mod", tmp_path) == {"models"}
    assert completed("engram models imp", tmp_path) == {"import"}
    assert completed("engram --json models delete-", tmp_path) == {"delete-label"}
    assert {"--text-column", "--top-k", "--json", "--address"} <= completed("engram classify news --", tmp_path)
    assert "--top-k" not in completed("engram datasets upload x --", tmp_path)
    assert completed("engram classify news --file te", tmp_path) == {"texts.csv"}
    for shell in "zsh", "fish":
        assert "delete-label" in bare("completion", shell).stdout
    assert bare("completion", "tcsh").returncode == 2


def test_deletion_asks_and_says_what_is_lost(new_server, tmp_path):
    s = new_server()
    tiny = make("bert", "Model", tmp_path / "tiny", num_hidden_layers=1, hidden_size=8, intermediate_size=8, num_attention_heads=1)
    s.engram("models", "import", "m", tiny)
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"{a} {b},{a}\n" for a in "xy" for b in "abcdefgh"))
    s.engram("datasets", "upload", "d", rows)
    first = s.engram("start-task", "m", "t", "--dataset", "d", "--epochs", "1", "--strategy", "er", "--wait").stdout
    assert "ask it as m@2" in first and "engram models promote m 2" in first
    s.engram("models", "promote", "m", "2")

    refused = s.engram("datasets", "delete", "d", "--yes", check=False)
    assert refused.returncode == 1 and "models/m/versions/2: t (label stable)" in refused.stderr and "--force" in refused.stderr
    unasked = s.engram("datasets", "delete", "d", "--force", check=False)
    assert unasked.returncode == 2 and "--yes" in unasked.stderr and "nothing was deleted" in unasked.stderr
    assert s.json("datasets", "show", "d")["training_rows"] == 16
    answer = s.json("datasets", "delete", "d", "--force", "--yes")
    assert answer == {"versions_with_texts": ["models/m/versions/2"], "served_tasks": ["models/m/versions/2: t (label stable)"]}
    gone = s.engram("evaluate", "m", check=False)
    assert gone.returncode == 1 and "DATASET_GONE" in gone.stderr

    assert s.engram("models", "delete", "m@2", "--yes", check=False).returncode == 1  # the label holds it
    assert s.engram("models", "delete-label", "m", "stable", check=False).returncode == 2
    assert s.json("models", "delete-label", "m", "stable", "--yes")["labels"] == {}
    assert "LABEL_NOT_FOUND" in s.engram("models", "delete-label", "m", "stable", "--yes", check=False).stderr
    assert s.engram("models", "delete", "m@2", check=False).returncode == 2
    s.engram("models", "delete", "m@2", "--yes")
    s.engram("models", "promote", "m", "1", "--label", "kept")
    assert s.engram("models", "delete", "m", check=False).returncode == 2
    assert s.json("models", "delete", "m", "--yes") == {"versions": 1}
    assert s.json("models", "list")["models"] == []
    assert not any((s.folder / "data" / "models" / "m" / "versions").iterdir())
    s.engram("models", "import", "m", tiny)  # the name is free; numbers are not given out again
    assert [v["name"] for v in s.json("models", "show", "m")["versions"]] == ["models/m/versions/3"]


def test_short_and_full_task_names_are_both_taken(stream):
    s = stream
    full = "models/base/tasks/cli"
    assert s.json("evaluate", "base@cli", "--validate-only", "--task", full)["options"] == s.json("evaluate", "base@cli", "--validate-only", "--task", "cli")["options"]
    assert s.json("classify", "base@cli", "some text", "--task", full)["results"][0]["tasks"][0]["task"] == full
    assert s.json("consolidate-task", "base@cli", full, "--validate-only")["task"] == "cli"
    assert s.json("start-task", "base@cli", full, "--dataset", "banking77", "--validate-only")["task"] == "cli"
    assert s.engram("evaluate", "base@cli", "--validate-only", "--task", "models/other/tasks/cli", check=False).returncode == 1
