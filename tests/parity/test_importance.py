"""Every kind of importance against loops over single texts through torch autograd in fp64; ours in fp32 and with its own choice of batches.

Bar: <= 1e-5 of each tensor's largest entry. The oracle is in fp64 because autograd in fp32 is up to 1.1e-5 away from it by itself. The models
hold every kind of layer: linear, embeddings with repeated ids, LayerNorm, tied embeddings (masked LM); the texts are of unequal length.
"""
import collections
import itertools

import pytest
import torch

from encoders import BERT_FAMILIES, FAMILIES, LABELS, blind_to, distance, forward_one, log_likelihoods, make_batch, make_minilm, make_model, make_targets, our_name, run_probe

KINDS = ["sequence", "token"]


def make_oracle(family: str, kind: str, folder):
    return make_model(family, kind, folder).double()


def squared_gradient(model, value: torch.Tensor) -> dict:
    """{our name: (d value / d theta)^2} of every parameter that has a gradient."""
    model.zero_grad()
    value.backward()
    return {our_name(name): p.grad.detach() ** 2 for name, p in model.named_parameters() if p.grad is not None}


def mean(squares: list) -> dict:
    return {name: sum(s[name] for s in squares) / len(squares) for name in squares[0]}


def importances(folder, kind: str, sequences, targets, requests, pooling="standard", **spec) -> list:
    """The answers to `requests`, each {our name: F}."""
    got = run_probe(folder, head={"kind": kind, "labels": LABELS, "pooling": pooling}, sequences=sequences, targets=targets,
                    importance=requests, **spec)
    answers = []
    for i in range(len(requests)):
        prefix = f"fisher.{i}."
        answers.append({name.removeprefix(prefix): value for name, value in got.items() if name.startswith(prefix)})
    return answers


def worst(ours: dict, expected: dict) -> float:
    """The largest distance over all encoder tensors; heads are not covered by importance, the keys' bias is noise."""
    names = [n for n in ours if not blind_to(n)]
    assert len(names) > 20 and not any(n.startswith("heads.") for n in names)
    zero = [n for n in names if n not in expected]  # without a gradient: the pooler of a tagger
    assert all(ours[n].abs().max() == 0 for n in zero)
    return max(distance(ours[n], expected[n]) for n in names if n not in zero)


def candidates(model, kind: str, windows, tags) -> dict:
    """{labels that could be drawn: (probability, squared gradient)} of one text; one label each counted word of all windows."""
    counted = [i for i, t in enumerate(tags) if t != -100]
    result = {}
    for drawn in itertools.product(range(LABELS), repeat=len(counted)):
        logits = torch.cat([forward_one(model, window).logits for window in windows], 1)[0]
        log_p = torch.log_softmax(logits if kind == "token" else logits[None], 1)
        value = sum(log_p[place, label] for place, label in zip(counted, drawn))
        result[drawn] = (value.exp().item(), squared_gradient(model, value))
    return result


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_empirical_is_the_mean_of_squared_gradients_of_single_texts(family, kind, tmp_path):
    model = make_oracle(family, kind, tmp_path)
    sequences = make_batch(97, with_types=family == "bert")
    targets, _, by_text = make_targets(kind, sequences)
    expected = mean([squared_gradient(model, value) for value in log_likelihoods(model, kind, sequences, by_text)])
    # All texts in one packed batch, and cut into several.
    for ours in importances(tmp_path, kind, sequences, targets, [{"kind": "empirical", "batch_tokens": t} for t in (4096, 20)]):
        assert worst(ours, expected) <= 1e-5


def test_the_windows_of_a_sentence_are_one_text(tmp_path):
    """Two sentences of three and two windows and one of a single one: gradients are summed over the windows, then squared."""
    model = make_oracle("bert", "token", tmp_path)
    sequences = make_batch(97, with_types=True, lengths=[7, 33, 12, 18, 9, 21])
    targets, _, by_text = make_targets("token", sequences)
    of_window = log_likelihoods(model, "token", sequences, by_text)
    sentences = [range(0, 3), range(3, 4), range(4, 6)]
    squares = [squared_gradient(model, sum(of_window[i] for i in sentence)) for sentence in sentences]
    whole, part = importances(tmp_path, "token", sequences, targets, [{"kind": "empirical"}, {"kind": "empirical", "samples": 2, "seed": 1}],
                              continues=[1, 2, 5])
    assert worst(whole, mean(squares)) <= 1e-5
    # `samples` counts sentences.
    assert sum(worst(part, mean(list(pair))) <= 1e-5 for pair in itertools.combinations(squares, 2)) == 1


def test_empirical_of_minilm_mean_pooled(tmp_path):
    model = make_minilm(tmp_path).double()
    sequences = make_batch(30000, with_types=False, seed=5, lengths=[7, 1, 130, 12, 65])
    targets, _, by_text = make_targets("sequence", sequences)
    expected = mean([squared_gradient(model, value) for value in log_likelihoods(model, "sequence", sequences, by_text)])
    ours, = importances(tmp_path, "sequence", sequences, targets, [{"kind": "empirical"}], pooling="mean")
    assert worst(ours, expected) <= 1e-5


@pytest.mark.parametrize("family", BERT_FAMILIES)
def test_tied_embeddings_are_summed_over_their_uses_before_they_are_squared(family, tmp_path):
    model = make_oracle(family, "mlm", tmp_path)
    sequences = make_batch(97, with_types=family == "bert")
    targets, rows, by_text = make_targets("mlm", sequences)
    texts = [i for i, tags in enumerate(by_text) if any(t != -100 for t in tags)]
    assert texts == list(range(len(sequences)))
    expected = mean([squared_gradient(model, value) for value in log_likelihoods(model, "mlm", sequences, by_text)])
    ours, = importances(tmp_path, "mlm", sequences, targets, [{"kind": "empirical"}], rows=rows)
    assert worst(ours, expected) <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_is_the_expectation_over_labels(family, tmp_path):
    model = make_oracle(family, "sequence", tmp_path)
    sequences = make_batch(97, with_types=family == "bert")
    texts = []
    for sequence in sequences:
        drawn = candidates(model, "sequence", [sequence], [0]).values()
        texts.append({name: sum(p * s[name] for p, s in drawn) for name in next(iter(drawn))[1]})
    whole, subset, again, other = importances(
        tmp_path, "sequence", sequences, [0] * len(sequences),
        [{"kind": "exact"}, {"kind": "exact", "samples": 2, "seed": 7}, {"kind": "exact", "samples": 2, "seed": 7},
         {"kind": "exact", "samples": 9}])
    assert worst(whole, mean(texts)) <= 1e-5
    # exact(n): the same over n of the texts, drawn without replacement; all of them if there are not as many.
    fits = [pair for pair in itertools.combinations(range(len(texts)), 2) if worst(subset, mean([texts[i] for i in pair])) <= 1e-5]
    assert len(fits) == 1
    assert all(torch.equal(subset[n], again[n]) for n in subset)
    assert all(torch.equal(whole[n], other[n]) for n in whole)


@pytest.mark.parametrize("kind, windows", [("sequence", 1), ("token", 1), ("token", 2)])
def test_sampled_draws_labels_from_the_model_itself(kind, windows, tmp_path):
    """With two texts (or two tagged words of one, in one window or two) every draw is one of 25; each F must be that of one of them, as often as the
    model says."""
    model = make_model("bert", kind, tmp_path)
    with torch.no_grad():  # probabilities away from 0 and 1, so that every label is drawn
        model.classifier.weight.mul_(0.3)
    model.save_pretrained(tmp_path)
    model.double()
    if kind == "sequence":
        # Not the first text, whose F alone is up to 9.9e-6 away by the rounding of the fp32 encoder (1.05e-5 in PyTorch), which leaves no margin.
        sequences = make_batch(97, with_types=True)[2:4]
        texts = [candidates(model, kind, [s], [0]) for s in sequences]
        table = {a + b: (pa * pb, mean([sa, sb])) for (a, (pa, sa)), (b, (pb, sb)) in itertools.product(texts[0].items(), texts[1].items())}
        targets = [0, 0]
    else:
        sequences, places = (make_batch(97, with_types=True)[2:4], (4, 40)) if windows == 2 else (make_batch(97, with_types=True)[:1], (1, 4))
        targets = [0 if i in places else -100 for i in range(sum(len(s["ids"]) for s in sequences))]
        table = candidates(model, kind, sequences, targets)
    assert len(table) == 25 and abs(sum(p for p, _ in table.values()) - 1) < 1e-5
    draws = 200
    counts = collections.Counter()
    requests = [{"kind": "sampled", "seed": seed} for seed in range(draws)]
    for ours in importances(tmp_path, kind, sequences, targets, requests, continues=[1] if windows == 2 else []):
        fits = [drawn for drawn, (_, squares) in table.items() if worst(ours, squares) <= 1e-5]
        assert len(fits) == 1
        counts[fits[0]] += 1
    # Each label's count is binomial; 5 standard deviations and one for the grid. The seeds are fixed: this passes always or never.
    for place in range(2):
        for label in range(LABELS):
            p = sum(chance for drawn, (chance, _) in table.items() if drawn[place] == label)
            seen = sum(count for drawn, count in counts.items() if drawn[place] == label)
            assert abs(seen - draws * p) <= 5 * (draws * p * (1 - p)) ** 0.5 + 1, (place, label)
    # Two draws are independent: they agree as often as the product of their distributions says.
    same = sum(chance for drawn, (chance, _) in table.items() if drawn[0] == drawn[1])
    seen = sum(count for drawn, count in counts.items() if drawn[0] == drawn[1])
    assert abs(seen - draws * same) <= 5 * (draws * same * (1 - same)) ** 0.5 + 1


@pytest.mark.parametrize("kind", KINDS)
def test_batched_squares_the_gradient_of_a_batch_s_mean_loss(kind, tmp_path):
    """The seed's formula, kept as a control: batches in the order of the texts, the last one short and counted like the others."""
    model = make_oracle("bert", kind, tmp_path)
    sequences = make_batch(97, with_types=True)
    targets, _, by_text = make_targets(kind, sequences)
    squares = []
    for first in range(0, len(sequences), 2):
        part, tags = sequences[first:first + 2], by_text[first:first + 2]
        counted = sum(t != -100 for text in tags for t in text)
        squares.append(squared_gradient(model, -sum(log_likelihoods(model, kind, part, tags)) / counted))
    ours, = importances(tmp_path, kind, sequences, targets, [{"kind": "batched", "batch_size": 2}])
    assert worst(ours, mean(squares)) <= 1e-5
