"""Texts that are read in windows, against transformers and torch autograd over the windows: a text's logits are those of its windows, each by
its share of the text's tokens, and the gradient goes through every window.

Bars in fp32: logits, loss and weights after three AdamW steps <= 2e-5, gradients <= 1e-4 of the tensor's largest entry; importance <= 1e-5.
"""
import pytest
import torch
import transformers

from encoders import LABELS, MeanPooled, blind_to, distance, forward_one, make_batch, make_minilm, make_model, make_targets, our_name, run_probe
from test_importance import importances, mean, squared_gradient, worst
from test_model import check_gradients

# Tokens and what counts of each window; the text without windows lies in the middle.
WINDOWS = [[[7, 5], [9, 6], [1, 0], [12, 3]], None, [[20, 1], [13, 9]]]


def long_texts(vocabulary: int):
    sequences = make_batch(vocabulary, with_types=False, lengths=[sum(t for t, _ in windows) if windows else 11 for windows in WINDOWS])
    for sequence, windows in zip(sequences, WINDOWS):
        if windows:
            sequence["windows"] = windows
    return sequences


def text_logits(model, sequence):
    windows = sequence.get("windows", [[len(sequence["ids"]), 1]])
    counted, begin, logits = sum(c for _, c in windows), 0, 0
    for tokens, own in windows:
        logits = logits + own / counted * forward_one(model, {"ids": sequence["ids"][begin:begin + tokens]}).logits
        begin += tokens
    return logits


def likelihoods(model, sequences, targets):
    return [-torch.nn.functional.cross_entropy(text_logits(model, s), torch.tensor([t]), reduction="sum") for s, t in zip(sequences, targets)]


def case(family: str, folder):
    if family == "minilm":
        return make_minilm(folder), long_texts(30000), "mean"
    return make_model(family, "sequence", folder), long_texts(97), "standard"


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "mpnet", "minilm"])
def test_loss_gradients_and_three_steps(family, tmp_path):
    model, sequences, pooling = case(family, tmp_path)
    targets = make_targets("sequence", sequences)[0]
    lr = 2e-4 if family == "minilm" else 1e-3
    spec = {"head": {"kind": "sequence", "labels": LABELS, "pooling": pooling}, "sequences": sequences, "targets": targets}
    got, trained = run_probe(tmp_path, **spec), run_probe(tmp_path, **spec, steps=4, lr=lr)
    with torch.no_grad():
        logits = torch.cat([text_logits(model, s) for s in sequences])
        beginnings = torch.cat([forward_one(model, {"ids": s["ids"][:s.get("windows", [[11]])[0][0]]}).logits for s in sequences])
    assert got["logits"].shape == logits.shape and (got["logits"] - logits).abs().max() <= 2e-5 * max(1, logits.abs().max())
    assert (logits - beginnings).abs().max() > 1e-2  # the first windows alone say something else
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=lr)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 4, 4)
    for step in range(4):  # the first one is of length 0
        optimizer.zero_grad()
        loss = -sum(likelihoods(model, sequences, targets)) / len(targets)
        assert abs(trained["losses"][step].item() - loss.item()) <= 2e-5 * max(1, loss.item()), step
        loss.backward()
        if step == 0:
            assert abs(got["loss"].item() - loss.item()) <= 2e-5 * max(1, loss.item())
            check_gradients(got, model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    for name, parameter in model.named_parameters():
        if not blind_to(name):
            assert distance(trained["weight." + our_name(name)], parameter) <= 2e-5, name


@pytest.mark.parametrize("pooling", ["standard", "mean"])
def test_importance_is_of_whole_texts(pooling, tmp_path):
    """The gradient of a text is summed over its windows before it is squared; `exact` weighs it by every label's probability."""
    model = make_model("bert", "sequence", tmp_path).double()
    if pooling == "mean":
        pooled = MeanPooled(model.bert, LABELS).double()
        pooled.classifier.load_state_dict(model.classifier.state_dict())
        model = pooled
    sequences = long_texts(97)
    targets = make_targets("sequence", sequences)[0]
    empirical = mean([squared_gradient(model, value) for value in likelihoods(model, sequences, targets)])
    exact = []
    for sequence in sequences:
        squares = [squared_gradient(model, torch.log_softmax(text_logits(model, sequence), 1)[0, label]) for label in range(LABELS)]
        weights = torch.softmax(text_logits(model, sequence), 1)[0].tolist()
        exact.append({name: sum(w * s[name] for w, s in zip(weights, squares)) for name in squares[0]})
    ours = importances(tmp_path, "sequence", sequences, targets, [{"kind": "empirical"}, {"kind": "exact"}], pooling=pooling)
    assert worst(ours[0], empirical) <= 1e-5
    assert worst(ours[1], mean(exact)) <= 1e-5
