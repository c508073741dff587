"""Do the tests notice a wrong formula? Puts one mutation of scripts/mutations/ at a time into a scratch copy of this checkout, builds the tests
that must notice, and runs them. A mutation that they pass is a survivor: a missing test.

    mutate.py [--only REGEX] [--list] [--check] [--fresh] [--jobs N]       exits 1 if there is a survivor or a mutation that does not apply

  --only REGEX   those whose name matches
  --list         names and tests, nothing is run
  --check        whether each pattern is found exactly once; nothing is built (part of `make lint`)
  --fresh        forget earlier results. Otherwise a mutation is run again only if it, the file that it changes, or its tests have changed, so
                 that a run which was interrupted goes on where it stopped
The copy, its build and the results lie in build-mutate/; the checkout itself is never written to.
"""
import argparse
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRATCH = ROOT / "build-mutate"
TREE, RESULTS = SCRATCH / "tree", SCRATCH / "results.json"
BUILD = TREE / "build"  # where the checkout's own build lies, too, so that a compiler cache knows most objects already
PYTHON = ROOT / ".deps" / "oracle" / "bin" / "python"
BASELINE_SECONDS = 1800


class Mutation:
    """`old` is found whatever the white space, in exactly one place of the files under `scope` (a folder or a file)."""

    def __init__(self, scope: str, tests: list[str], name: str, old: str, new: str):
        self.scope, self.tests, self.name, self.old, self.new = scope, tests, name, old, new
        self.pattern = re.compile(r"\s+".join(re.escape(word) for word in old.split()))

    def find(self, root: pathlib.Path) -> tuple[pathlib.Path, str]:
        """The file, relative to `root`, and its mutated text; ValueError if the pattern is not there exactly once."""
        scope = root / self.scope
        if not scope.exists():
            raise ValueError(f"there is no {self.scope}")
        files = [scope] if scope.is_file() else sorted(p for p in scope.rglob("*") if p.suffix in (".cc", ".h", ".cu"))
        found = [(path, match) for path in files for match in self.pattern.finditer(path.read_text())]
        if len(found) != 1:
            places = ", ".join(str(path.relative_to(root)) for path, _ in found)
            raise ValueError(f"found {len(found)} times under {self.scope} ({places}): {self.old}")
        path, match = found[0]
        text = path.read_text()
        return path.relative_to(root), text[:match.start()] + self.new + text[match.end():]


def load_table() -> list[Mutation]:
    """GROUPS of each file of scripts/mutations: (scope, tests, [(name, old, new), ...])."""
    table = []
    for path in sorted((ROOT / "scripts" / "mutations").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for scope, tests, rows in module.GROUPS:
            table += [Mutation(scope, tests.split(), *row) for row in rows]
    names = [m.name for m in table]
    if len(set(names)) != len(names):
        sys.exit(f"two mutations have one name: {sorted(n for n in set(names) if names.count(n) > 1)}")
    return table


def check(table: list[Mutation]) -> int:
    wrong = 0
    for mutation in table:
        try:
            mutation.find(ROOT)
        except ValueError as error:
            wrong += 1
            print(f"{mutation.name}: {error}")
    print(f"{len(table)} mutations, {wrong} that do not apply")
    return 1 if wrong else 0


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def write_if_other(path: pathlib.Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def copy_checkout() -> None:
    """The checkout as it is, what is not committed included; files that did not change keep their time stamps."""
    names = {n for n in run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard").stdout.splitlines() if (ROOT / n).is_file()}
    TREE.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_if_other(TREE / name, (ROOT / name).read_bytes())
        shutil.copymode(ROOT / name, TREE / name)
    for folder, folders, files in os.walk(TREE):  # follows no link
        if pathlib.Path(folder) == TREE:
            folders[:] = [name for name in folders if name not in ("build", ".deps")]
        for file in files:
            path = pathlib.Path(folder) / file
            if str(path.relative_to(TREE)) not in names:
                path.unlink()
    if not (TREE / ".deps").exists():
        (TREE / ".deps").symlink_to((ROOT / ".deps").resolve())


def build(targets: list[str], jobs: int) -> tuple[bool, str]:
    environment = {**os.environ, "CCACHE_BASEDIR": str(TREE), "CCACHE_NOHASHDIR": "1"}
    answer = run("ninja", "-C", BUILD, "-j", jobs, *targets, env=environment)
    return answer.returncode == 0, answer.stdout


def targets_of(test: str) -> list[str]:
    """What a test needs to have built."""
    if not test.startswith("tests/"):
        return [test.split(":")[0]]
    text = (ROOT / test.split("::")[0]).read_text()
    probes = sorted(set(re.findall(r"\bparity_[a-z_]+\b", text)))
    return probes if "/parity/" in test else probes + ["engramd", "engram-worker", "engram"]


def passes(test: str, seconds: float) -> bool:
    """Whether the test ends well within `seconds`: a mutation that makes it run for ever has been noticed."""
    try:
        if test.startswith("tests/"):
            environment = {**os.environ, "ENGRAM_BUILD": str(BUILD), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
            command = [PYTHON, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
            return run(*command, cwd=TREE, env=environment, timeout=seconds).returncode == 0
        program, _, cases = test.partition(":")
        command = [BUILD / "bin" / program, "--gtest_brief=1", "--gtest_fail_fast", f"--gtest_filter={cases or '*'}"]
        return run(*command, timeout=seconds).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def key_of(mutation: Mutation) -> str:
    """What the result depends on, as far as it is told apart: the mutation, the file that it changes, the tests' own files."""
    digest = hashlib.sha256("\0".join((*mutation.tests, mutation.new, mutation.find(ROOT)[1])).encode())
    for test in mutation.tests:
        place = ROOT / test.split("::")[0] if test.startswith("tests/") else ROOT / "tests/unit" / test.split(":")[0].removeprefix("test_")
        for path in [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def judge(mutation: Mutation, seconds: dict[str, float], jobs: int) -> str:
    """"killed by TEST", "SURVIVED" or "DOES NOT COMPILE"; leaves the scratch copy as it was."""
    place, mutated = mutation.find(TREE)
    whole = (TREE / place).read_text()
    try:
        (TREE / place).write_text(mutated)
        for test in mutation.tests:
            built, log = build(targets_of(test), jobs)
            if not built:
                return "DOES NOT COMPILE\n" + "\n".join(line for line in log.splitlines() if "error" in line)[:2000]
            if not passes(test, 30 + 10 * seconds[test]):
                return f"killed by {test}"
        return "SURVIVED"
    finally:
        (TREE / place).write_text(whole)


def prepare(table: list[Mutation], jobs: int) -> dict[str, float]:
    """Builds the unchanged copy and sees its tests pass: else every mutation would look noticed. The seconds that each test takes."""
    copy_checkout()
    if not (BUILD / "build.ninja").exists():
        configured = run("cmake", "-S", TREE, "-B", BUILD, "-G", "Ninja", "-DENGRAM_BENCH=OFF")
        if configured.returncode != 0:
            sys.exit(configured.stdout)
    tests = sorted({test for mutation in table for test in mutation.tests})
    built, log = build(sorted({target for test in tests for target in targets_of(test)}), jobs)
    if not built:
        sys.exit(log)
    seconds = {}
    for test in tests:
        started = time.monotonic()
        if not passes(test, BASELINE_SECONDS):
            sys.exit(f"fails without any mutation: {test}")
        seconds[test] = time.monotonic() - started
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    table = [m for m in load_table() if re.search(options.only, m.name)]
    if options.list:
        print("\n".join(f"{m.name}  [{' '.join(m.tests)}]" for m in table))
        return 0
    if options.check or check(table) != 0:
        return check(table)
    SCRATCH.mkdir(exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.fresh else {}
    known = {m.name: results[m.name]["said"] for m in table if results.get(m.name, {}).get("key") == key_of(m)}
    left = [m for m in table if not known.get(m.name, "").startswith("killed")]
    print(f"{len(table) - len(left)} known to be killed, {len(left)} to run", flush=True)
    seconds = prepare(left, options.jobs) if left else {}
    said = dict(known)
    for number, mutation in enumerate(left, 1):
        started = time.monotonic()
        said[mutation.name] = judge(mutation, seconds, options.jobs)
        results[mutation.name] = {"key": key_of(mutation), "said": said[mutation.name]}
        RESULTS.write_text(json.dumps(results, indent=1))
        print(f"[{number}/{len(left)}] {time.monotonic() - started:5.1f} s  {mutation.name}: {said[mutation.name]}", flush=True)
    bad = [m.name for m in table if not said[m.name].startswith("killed")]
    print(f"{len(table)} mutations, {len(table) - len(bad)} killed" + "".join(f"\nnot killed: {name}: {said[name]}" for name in bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
