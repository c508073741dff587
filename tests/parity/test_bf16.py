"""bf16 against fp32, with tolerances that follow from bf16's rounding and from what transformers' own bf16 does on the same batch.

bf16 keeps 8 bits: a rounding has a relative error of at most U = 2^-9, uniform, so U / sqrt(3) in the mean square. A layer of ours rounds 8
activations on the longest way through it (query, key and value; attention; projection; norm; pre-activation; activation; projection; norm)
and multiplies with 4 rounded matrices: 12 roundings. Independent errors add in squares, so a value behind R roundings is off by
U sqrt(R / 3) where no step magnifies what came in. LayerNorm, softmax and the residual sum do, by a factor that depends on the model: MAGNIFIED
bounds it in the forward pass. In the backward pass of random weights it can be far larger, so gradients are held to what transformers' own
bf16, which has the same factor, loses on the same batch.
"""
import math

import pytest
import torch
import transformers

from encoders import BERT_FAMILIES, LABELS, blind_to, forward_one, log_likelihoods, make_batch, make_minilm, make_model, make_targets, our_name, run_probe

U = 2.0 ** -9
ROUNDINGS_A_LAYER = 12
MAGNIFIED = 3.0
PEER_MARGIN = 1.25  # two random errors of one size differ by less, over tensors this large


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The error's norm over the norm of what it should be."""
    return ((ours.double() - theirs.double()).norm() / theirs.double().norm()).item()


def bound(layers: int, passes: int) -> float:
    """passes: 1 for the forward pass, 2 for a gradient, behind which lie both."""
    return MAGNIFIED * U * math.sqrt((passes * ROUNDINGS_A_LAYER * layers + 2) / 3)


def make_case(family: str, folder):
    if family == "minilm":
        return make_minilm(folder), make_batch(30000, with_types=False, seed=5, lengths=[7, 1, 130, 12, 65]), "mean", 6
    return make_model(family, "sequence", folder), make_batch(97, with_types=family == "bert"), "standard", 3


def gradients(model, sequences, by_text, dtype) -> dict:
    """{our name: gradient} of the mean loss, computed in `dtype`; the keys' bias, whose gradient is noise, left out."""
    model = model.to(dtype)
    model.zero_grad()
    (-sum(log_likelihoods(model, "sequence", sequences, by_text)) / len(sequences)).backward()
    found = {our_name(n): p.grad.float() for n, p in model.named_parameters() if p.grad is not None and not blind_to(n)}
    model.float()
    return found


@pytest.mark.parametrize("family", [*BERT_FAMILIES, "minilm"])
def test_forward_loss_and_gradients(family, tmp_path):
    model, sequences, pooling, layers = make_case(family, tmp_path)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    targets, _, by_text = make_targets("sequence", sequences)
    got = run_probe(tmp_path, precision="bf16", head={"kind": "sequence", "labels": LABELS, "pooling": pooling}, sequences=sequences,
                    targets=targets)

    def forward(dtype):
        model.to(dtype)
        with torch.no_grad():
            hidden = torch.cat([forward_one(model.base_model, s).last_hidden_state[0] for s in sequences]).float()
            logits = torch.cat([forward_one(model, s).logits for s in sequences]).float()
        model.float().load_state_dict(weights)
        return hidden, logits

    (hidden, logits), (peer_hidden, _) = forward(torch.float32), forward(torch.bfloat16)
    assert 1e-4 < relative(got["hidden"], hidden) <= min(bound(layers, 1), PEER_MARGIN * relative(peer_hidden, hidden))
    # Cross-entropy moves by at most twice the largest change of a logit.
    off = (got["logits"] - logits).abs().max().item()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets)).item()
    assert abs(got["loss"].item() - loss) <= 2 * off and off <= bound(layers, 1) * logits.abs().max().item()

    exact = gradients(model, sequences, by_text, torch.float32)
    model.load_state_dict(weights)
    peer = gradients(model, sequences, by_text, torch.bfloat16)
    ours = {name: got["gradient." + name] for name in exact}
    everything = lambda found: torch.cat([found[name].flatten() for name in exact])
    assert relative(everything(ours), everything(exact)) <= PEER_MARGIN * relative(everything(peer), everything(exact))
    for name in exact:  # and no single tensor is lost in the sum
        assert relative(ours[name], exact[name]) <= 2 * max(bound(layers, 2), relative(peer[name], exact[name])), name


@pytest.mark.parametrize("family", [*BERT_FAMILIES, "minilm"])
def test_twenty_adamw_steps(family, tmp_path):
    """The way that the weights go stays as near to fp32's as with gradients of transformers in bf16 and fp32 master weights, which is the same scheme."""
    model, sequences, pooling, _ = make_case(family, tmp_path)
    targets, _, by_text = make_targets("sequence", sequences)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    lr = 2e-4 if family == "minilm" else 1e-3
    got = run_probe(tmp_path, precision="bf16", head={"kind": "sequence", "labels": LABELS, "pooling": pooling}, sequences=sequences,
                    targets=targets, steps=20, lr=lr)

    def way(dtype) -> torch.Tensor:
        model.float().load_state_dict(start)
        masters = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
        decayed = [p for p in masters.values() if p.dim() > 1]
        plain = [p for p in masters.values() if p.dim() == 1]
        optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=lr)
        schedule = transformers.get_linear_schedule_with_warmup(optimizer, 4, 20)
        for _ in range(20):
            with torch.no_grad():
                for name, parameter in model.float().named_parameters():
                    parameter.copy_(masters[name])
            found = gradients(model, sequences, by_text, dtype)
            for name, master in masters.items():
                master.grad = found.get(our_name(name))
            torch.nn.utils.clip_grad_norm_(list(masters.values()), 1.0)
            optimizer.step()
            schedule.step()
        return torch.cat([(p.detach() - start[n]).flatten() for n, p in masters.items() if not blind_to(n)])

    exact, peer = way(torch.float32), way(torch.bfloat16)
    ours = torch.cat([(got["weight." + our_name(n)] - start[n]).flatten() for n, _ in model.named_parameters() if not blind_to(n)])
    assert 1e-4 < relative(ours, exact) <= PEER_MARGIN * relative(peer, exact)
