"""scripts/mutate.py: patterns are found once or not at all, a copy is left as it was, survivors are named; the table fits this checkout."""
import importlib.util
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("mutate", ROOT / "scripts/mutate.py")
mutate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutate)

SOURCE = "int Twice(int x) {\n  return 2 *\n      x;\n}\nint Half(int x) { return x / 2; }\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    (tmp_path / "core").mkdir()
    (tmp_path / "core/math.cc").write_text(SOURCE)
    monkeypatch.setattr(mutate, "TREE", tmp_path)
    return tmp_path


def mutation(old="return 2 * x;", new="return 3 * x;", tests=("test_math", "test_more")):
    return mutate.Mutation("core", list(tests), "twice", old, new)


def test_a_pattern_is_found_across_line_breaks(tree):
    place, text = mutation().find(tree)
    assert str(place) == "core/math.cc"
    assert text == SOURCE.replace("return 2 *\n      x;", "return 3 * x;")


@pytest.mark.parametrize("old, count", [("return 4 * x;", 0), ("int x", 2)])
def test_a_pattern_that_is_not_there_exactly_once_is_an_error(tree, old, count):
    with pytest.raises(ValueError, match=f"found {count} times"):
        mutation(old).find(tree)


def judged(monkeypatch, tree, built, passed):
    """What judge says of a mutation when the builds and tests end as given; the text that each test saw."""
    seen = []

    def passes(test, seconds):
        seen.append((test, (tree / "core/math.cc").read_text(), seconds))
        return passed[test]

    monkeypatch.setattr(mutate, "build", lambda targets, jobs: (built, "math.cc:1: error: no"))
    monkeypatch.setattr(mutate, "passes", passes)
    said = mutate.judge(mutation(), {"test_math": 1, "test_more": 2}, 1)
    assert (tree / "core/math.cc").read_text() == SOURCE
    assert all("return 3 * x;" in text for _, text, _ in seen)
    return said, [(test, seconds) for test, _, seconds in seen]


def test_a_mutation_is_killed_by_the_first_test_that_fails(monkeypatch, tree):
    assert judged(monkeypatch, tree, True, {"test_math": False}) == ("killed by test_math", [("test_math", 40)])
    assert judged(monkeypatch, tree, True, {"test_math": True, "test_more": False})[0] == "killed by test_more"


def test_one_that_all_tests_pass_survives(monkeypatch, tree):
    assert judged(monkeypatch, tree, True, {"test_math": True, "test_more": True}) == ("SURVIVED", [("test_math", 40), ("test_more", 50)])


def test_one_that_does_not_compile_is_no_success(monkeypatch, tree):
    said, seen = judged(monkeypatch, tree, False, {})
    assert said.startswith("DOES NOT COMPILE") and "error: no" in said and not seen


def test_the_key_of_a_result_changes_with_the_mutation_and_with_the_file(monkeypatch, tree):
    monkeypatch.setattr(mutate, "ROOT", tree)
    keys = {mutate.key_of(m) for m in (mutation(), mutation(new="return 4 * x;"), mutation(tests=["test_math"]))}
    (tree / "tests/unit/math").mkdir(parents=True)
    (tree / "tests/unit/math/math_test.cc").write_text("")
    keys.add(mutate.key_of(mutation()))
    (tree / "core/math.cc").write_text(SOURCE + "\n")
    keys.add(mutate.key_of(mutation()))
    assert len(keys) == 5


def test_the_table_fits_this_checkout():
    answer = subprocess.run([sys.executable, ROOT / "scripts/mutate.py", "--check"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout
