"""Entity scores against the PyPI seqeval wheel, lenient (its default) and strict (mode="strict", scheme=IOB2)."""
import json
import os
import pathlib
import random
import subprocess
import warnings

import pytest
from seqeval.metrics import classification_report
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

BUILD = pathlib.Path(os.environ["ENGRAM_BUILD"])
TAGS = ["O", "B-person", "I-person", "B-place", "I-place", "B-thing", "I-thing"]


def sentences(rng, lengths: list[int], legal: bool):
    out = []
    for length in lengths:
        sentence = []
        for _ in range(length):
            choices = [t for t in TAGS if t[0] != "I" or not legal or (sentence and sentence[-1][2:] == t[2:])]
            sentence.append(rng.choice(choices))
        out.append(sentence)
    return out


@pytest.mark.parametrize("reading", ["lenient", "strict"])
@pytest.mark.parametrize("legal", [True, False])
def test_scores(reading, legal):
    rng = random.Random(f"{reading}{legal}")
    lengths = [rng.randint(1, 12) for _ in range(2500)]  # ten thousand pairs of sentences over the four cases
    gold, guessed = sentences(rng, lengths, legal), sentences(rng, lengths, legal)
    answer = subprocess.run([BUILD / "bin" / "parity_entity_scores", reading], input=json.dumps({"tags": TAGS, "gold": gold, "predicted": guessed}),
                            capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    ours = json.loads(answer.stdout)
    options = {"mode": "strict", "scheme": IOB2} if reading == "strict" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = classification_report(gold, guessed, output_dict=True, zero_division=0, **options)
    for key in ("person", "place", "thing", "micro avg", "macro avg", "weighted avg"):
        for name in ("precision", "recall", "f1-score", "support"):
            assert ours[key][name] == pytest.approx(theirs[key][name], abs=1e-12), (key, name)
    # Types left out: the same first and last word.
    find = (lambda s: [(e.start, e.end - 1) for e in Entities([s], IOB2).entities[0]]) if reading == "strict" else (lambda s: [e[1:] for e in get_entities(s)])
    pairs = [(set(find(g)), set(find(p))) for g, p in zip(gold, guessed)]
    right, expected, found = (sum(len(f(g, p)) for g, p in pairs) for f in (set.intersection, lambda g, p: g, lambda g, p: p))
    assert (ours["boundary"]["precision"], ours["boundary"]["recall"], ours["boundary"]["support"]) == pytest.approx((right / found, right / expected, expected))
    assert 0 < right < found


def test_nothing_to_find_and_nothing_found():
    """0/0 is 0, as seqeval has it with zero_division=0."""
    for gold, guessed in (([["O"]], [["O"]]), ([["B-person"]], [["O"]]), ([["O"]], [["B-person"]])):
        answer = subprocess.run([BUILD / "bin" / "parity_entity_scores"], input=json.dumps({"tags": TAGS, "gold": gold, "predicted": guessed}), capture_output=True, text=True)
        ours = json.loads(answer.stdout)
        assert all(ours[key][name] == 0 for key in ("micro avg", "macro avg", "weighted avg", "boundary") for name in ("precision", "recall", "f1-score"))
