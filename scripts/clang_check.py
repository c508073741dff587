"""Runs clang over the files of a compilation database, several at a time; prints what it says and exits 1 if any file has a finding.

    clang_check.py compile_commands.json syntax JOBS             clang++ -fsyntax-only with -Wthread-safety, all files of the checkout
    clang_check.py compile_commands.json tidy JOBS FOLDERS_FILE  clang-tidy on the files that lie directly in one of the listed folders
"""
import concurrent.futures
import json
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Flags of the compiler that made the database which clang does not know or which only matter for code generation.
DROP = {"-fopenmp", "-O2"}


def clang_command(entry: dict) -> list[str]:
    words = shlex.split(entry["command"])
    start = next(i for i, word in enumerate(words) if word.endswith(("c++", "g++", "clang++")))
    kept, skip = [], False
    for word in words[start + 1:]:
        if skip:
            skip = False
        elif word in ("-o", "-c"):
            skip = word == "-o"
        elif word not in DROP and word != entry["file"]:
            kept.append(word)
    return ["clang++", "-fsyntax-only", "-Wthread-safety", "-Wno-unknown-pragmas", "-Wno-unknown-warning-option", *kept, entry["file"]]


def run(command: list[str], directory: str) -> tuple[int, str]:
    answer = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return answer.returncode, answer.stdout


def main() -> int:
    database, mode, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tracked = set(subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split())
    entries = {}
    for entry in json.load(open(database)):
        path = pathlib.Path(entry["file"])
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
        if name in tracked:
            entries[name] = entry
    if mode == "tidy":
        folders = set(pathlib.Path(sys.argv[4]).read_text().split())
        entries = {name: e for name, e in entries.items() if str(pathlib.Path(name).parent) in folders}
        commands = {name: ["clang-tidy", "--quiet", "-p", str(pathlib.Path(database).parent), "--warnings-as-errors=*",
                           "--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-unknown-pragmas", e["file"]]
                    for name, e in entries.items()}
    else:
        commands = {name: clang_command(e) for name, e in entries.items()}
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        answers = {name: pool.submit(run, command, entries[name]["directory"]) for name, command in commands.items()}
        for name, answer in answers.items():
            code, text = answer.result()
            if code != 0:
                failed += 1
                print(f"--- {name}\n{text}", flush=True)
    print(f"{len(commands)} files, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
