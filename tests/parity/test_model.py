"""Encoders, heads, losses, gradients and optimizer steps against transformers and torch autograd: MiniLM, and every family and head kind
with random weights.

Bars in fp32: hidden states <= 2e-5, loss <= 1e-5, every gradient <= 1e-4 of the tensor's largest entry, weights after 20 AdamW steps <= 1e-4
of it. bf16 has test_bf16.py, importance test_importance.py.
"""
import json
import subprocess

import pytest
import torch
import transformers
from safetensors.torch import load_file

from encoders import (BUILD, CLASSES, DECODERS, FAMILIES, LABELS, LENGTHS, blind_to, distance, forward_one, log_likelihoods, make_batch, make_minilm,
                      make_model, make_targets, our_name, run_probe)

MODELS = [(family, kind) for family in FAMILIES for kind in CLASSES if not (kind == "mlm" and family in DECODERS)] + [("minilm", "sequence")]
LONG = [7, 1, 130, 12, 257]  # MiniLM: several blocks of any blocked kernel


def make_case(family: str, kind: str, folder, **changes):
    """(model, sequences, (targets, rows, targets of each text), the probe's head)"""
    if family == "minilm":
        model, sequences, pooling = make_minilm(folder), make_batch(30000, with_types=False, seed=5, lengths=LONG), "mean"
    else:
        model, sequences, pooling = make_model(family, kind, folder, **changes), make_batch(97, with_types=family in ("bert", "nomic_bert")), "standard"
    return model, sequences, make_targets(kind, sequences), {"kind": kind, "labels": LABELS, "pooling": pooling}


def check_gradients(got: dict, model) -> None:
    checked = 0
    for name, parameter in model.named_parameters():
        if name.endswith("decoder.bias"):
            continue  # transformers' alias of the bias
        ours = got["gradient." + our_name(name)]
        if parameter.grad is None:
            assert ours.abs().max() == 0, name
        elif blind_to(name):
            query = name.replace("key", "query").replace("k_lin", "q_lin").replace("attn.k", "attn.q")
            assert ours.abs().max() <= 1e-4 * got["gradient." + our_name(query)].abs().max(), name
        else:
            assert distance(ours, parameter.grad) <= 1e-4, name
            checked += 1
    assert checked > 25


def check_forward_loss_and_gradients(family, kind, folder, **changes):
    model, sequences, (targets, rows, by_text), head = make_case(family, kind, folder, **changes)
    got = run_probe(folder, head=head, sequences=sequences, targets=targets, **({"rows": rows} if rows is not None else {}))
    with torch.no_grad():
        hidden = torch.cat([forward_one(model.base_model, s).last_hidden_state[0] for s in sequences])
    assert (got["hidden"] - hidden).abs().max() <= 2e-5
    assert torch.equal(got["hidden"], got["hidden_inference"])

    counted = sum(t != -100 for tags in by_text for t in tags)
    loss = -sum(log_likelihoods(model, kind, sequences, by_text)) / counted
    assert abs(got["loss"].item() - loss.item()) <= 1e-5
    loss.backward()
    check_gradients(got, model)


@pytest.mark.parametrize("family,kind", MODELS)
def test_forward_loss_and_gradients(family, kind, tmp_path):
    check_forward_loss_and_gradients(family, kind, tmp_path)


@pytest.mark.parametrize("name", ["relu", "silu", "gelu_new", "gelu_pytorch_tanh"])  # "gelu" is every other test's
@pytest.mark.parametrize("family,kind", [("bert", "sequence"), ("roberta", "mlm"), ("distilbert", "token")])
def test_every_activation_that_a_config_may_name(family, kind, name, tmp_path):
    """The hidden layers' activation, and that of a masked language model's head."""
    check_forward_loss_and_gradients(family, kind, tmp_path, **{"activation" if family == "distilbert" else "hidden_act": name})


SCALED = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8},
    "yarn-mscale": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8, "mscale": 0.7, "mscale_all_dim": 1.0, "beta_fast": 4,
                    "beta_slow": 0.5},
    "longrope": {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0 + 0.5 * i for i in range(8)],
                 "original_max_position_embeddings": 16},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
}


@pytest.mark.parametrize("scaling", SCALED)
def test_scaled_rotary_positions(scaling, tmp_path):
    """Texts of up to 33 tokens where the training ended at 16: each text alone in transformers, all in one batch here."""
    rope = {"rope_theta": 100.0, **SCALED[scaling]}
    check_forward_loss_and_gradients("llama", "token", tmp_path, max_position_embeddings=16, rope_parameters=rope)


def test_each_type_of_layer_scales_its_own_positions(tmp_path):
    rope = {"full_attention": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8, "rope_theta": 200.0},
            "sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 50.0}}
    check_forward_loss_and_gradients("modernbert", "token", tmp_path, rope_parameters=rope)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_modernbert_classifies_by_the_pooling_of_its_config_and_with_biases(pooling, tmp_path):
    check_forward_loss_and_gradients("modernbert", "sequence", tmp_path, classifier_pooling=pooling, attention_bias=True, mlp_bias=True, norm_bias=True,
                                     classifier_bias=True)


def test_llama_with_biases(tmp_path):
    check_forward_loss_and_gradients("llama", "sequence", tmp_path, attention_bias=True, mlp_bias=True)


@pytest.mark.parametrize("family,kind", MODELS)
def test_twenty_adamw_steps(family, kind, tmp_path):
    """AdamW, decay on matrices alone, linear schedule with warm-up, clipping: every loss on the way and the weights at the end are torch's."""
    model, sequences, (targets, rows, by_text), head = make_case(family, kind, tmp_path)
    lr = 2e-4 if family == "minilm" else 1e-3
    got = run_probe(tmp_path, head=head, sequences=sequences, targets=targets, steps=20, lr=lr, **({"rows": rows} if rows is not None else {}))
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=lr)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 4, 20)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    counted = sum(t != -100 for tags in by_text for t in tags)
    for step in range(20):
        optimizer.zero_grad()
        loss = -sum(log_likelihoods(model, kind, sequences, by_text)) / counted
        assert abs(got["losses"][step].item() - loss.item()) <= 1e-5 * max(1.0, loss.item()), step
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    moved = 0
    for name, parameter in model.named_parameters():
        # Adam divides by the size of the gradient: where that is noise (the keys' bias), so is the step.
        if blind_to(name) or name.endswith("decoder.bias"):
            continue
        assert distance(got["weight." + our_name(name)], parameter) <= 1e-4, name
        moved += not torch.equal(parameter, before[name])
    assert moved > 25


def test_a_text_has_the_same_hidden_states_in_a_batch_and_alone(tmp_path):
    make_minilm(tmp_path)
    sequences = make_batch(30000, with_types=False, seed=5, lengths=LONG)
    head = {"kind": "sequence", "labels": LABELS, "pooling": "mean"}
    run = lambda chosen: run_probe(tmp_path, head=head, sequences=chosen, targets=[0] * len(chosen))["hidden"]
    together = run(sequences)
    assert (together - torch.cat([run([s]) for s in sequences])).abs().max() <= 1e-6 * together.abs().max()


@pytest.mark.parametrize("family,kind", MODELS[:-1])
def test_saved_version_loads_in_transformers(family, kind, tmp_path):
    make_model(family, kind, tmp_path)
    sequences = make_batch(97, with_types=False)
    targets, _, _ = make_targets(kind, sequences)
    if kind == "mlm":
        targets = [-100] * sum(LENGTHS)
        targets[0] = 5
    saved = tmp_path / "saved"
    saved.mkdir()
    got = run_probe(tmp_path, head={"kind": kind, "labels": LABELS, "pooling": "standard"}, sequences=sequences, targets=targets,
                    save=str(saved))
    auto = {"sequence": transformers.AutoModelForSequenceClassification, "token": transformers.AutoModelForTokenClassification,
            "mlm": transformers.AutoModelForMaskedLM}[kind]
    model, info = auto.from_pretrained(saved, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    with torch.no_grad():
        logits = [forward_one(model.eval(), s).logits for s in sequences]
    logits = torch.cat(logits) if kind == "sequence" else torch.cat([l[0] for l in logits])
    assert (got["logits"] - logits).abs().max() <= 2e-5
    if kind != "mlm":
        assert model.config.id2label[2] == "label-2"


def test_mean_pooled_version_is_the_bare_encoder_and_a_linear_layer(tmp_path):
    make_model("bert", "sequence", tmp_path)
    # The classifier of the file becomes the mean-pooled head's; saving gives BertModel and heads.safetensors.
    sequences = make_batch(97, with_types=False)
    saved = tmp_path / "saved"
    saved.mkdir()
    got = run_probe(tmp_path, head={"kind": "sequence", "labels": LABELS, "pooling": "mean"}, sequences=sequences,
                    targets=[0] * len(sequences), save=str(saved))
    model = transformers.AutoModel.from_pretrained(saved).eval()
    assert type(model).__name__ == "BertModel"
    head = load_file(saved / "heads.safetensors")
    with torch.no_grad():
        pooled = torch.stack([forward_one(model, s).last_hidden_state[0].mean(0) for s in sequences])
        logits = pooled @ head["heads.task.classifier.weight"].T + head["heads.task.classifier.bias"]
    assert (got["logits"] - logits).abs().max() <= 2e-5


def test_missing_and_unexpected_tensors_are_listed(tmp_path):
    model = make_model("bert", "sequence", tmp_path)
    from safetensors.torch import save_file
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    state["bert.encoder.layer.9.strange"] = torch.zeros(2)
    del state["bert.embeddings.LayerNorm.bias"]
    state["bert.encoder.layer.0.output.dense.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "spec.json").write_text(json.dumps({"directory": str(tmp_path), "precision": "fp32", "head": None, "sequences": []}))
    answer = subprocess.run([BUILD / "bin" / "parity_model", tmp_path / "spec.json", tmp_path / "out"], capture_output=True, text=True)
    assert answer.returncode == 1
    for word in ("embeddings.LayerNorm.bias", "encoder.layer.9.strange", "encoder.layer.0.output.dense.bias [3] instead of [48]"):
        assert word in answer.stderr
