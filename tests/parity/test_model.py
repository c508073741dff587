"""Encoders, heads, gradients and importance against transformers and torch autograd, for every family and head kind.

Bars: hidden states <= 2e-5, loss <= 1e-5, every gradient <= 1e-4 of the tensor's largest entry, Fisher <= 1e-5 of it against a loop over
single texts.
"""
import json
import os
import pathlib
import subprocess

import pytest
import torch
import transformers
from safetensors.torch import load_file

BUILD = pathlib.Path(os.environ["ENGRAM_BUILD"])
BASE_MODEL = pathlib.Path(__file__).resolve().parents[2] / ".deps" / "base-model"
LENGTHS = [7, 1, 33, 12, 18]  # unequal, odd, one single token
transformers.logging.set_verbosity_error()

SMALL = dict(vocab_size=97, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=80, max_position_embeddings=64)
FAMILIES = {
    "bert": (transformers.BertConfig, SMALL, "Bert"),
    "roberta": (transformers.RobertaConfig, {**SMALL, "type_vocab_size": 1, "pad_token_id": 1, "max_position_embeddings": 66}, "Roberta"),
    "distilbert": (transformers.DistilBertConfig, dict(vocab_size=97, dim=48, n_layers=3, n_heads=4, hidden_dim=80, max_position_embeddings=64), "DistilBert"),
}
CLASSES = {"sequence": "ForSequenceClassification", "token": "ForTokenClassification", "mlm": "ForMaskedLM"}
LABELS = 5


def make_model(family: str, kind: str, folder: pathlib.Path):
    config_class, numbers, prefix = FAMILIES[family]
    torch.manual_seed(3)
    config = config_class(**numbers, num_labels=LABELS, initializer_range=0.2)
    config._attn_implementation = "eager"
    model = getattr(transformers, prefix + CLASSES[kind])(config).eval()
    with torch.no_grad():  # biases and gains away from 0 and 1, where mistakes hide
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def make_batch(vocabulary: int, types: bool, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    sequences = []
    for length in LENGTHS:
        sequence = {"ids": torch.randint(4, vocabulary, (length,), generator=generator).tolist()}
        sequence["ids"][-1] = sequence["ids"][0]  # repeated ids within one text
        if types:
            sequence["type_ids"] = [int(i > length // 2) for i in range(length)]
        sequences.append(sequence)
    return sequences


def run_probe(folder: pathlib.Path, **spec) -> dict:
    (folder / "spec.json").write_text(json.dumps({"directory": str(folder), "precision": "fp32", "head": None, **spec}))
    answer = subprocess.run([BUILD / "bin" / "parity_model", folder / "spec.json", folder / "out.safetensors"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return load_file(folder / "out.safetensors")


def forward_one(model, sequence, **arguments):
    inputs = {"input_ids": torch.tensor([sequence["ids"]]), **arguments}
    if "type_ids" in sequence and not isinstance(model.config, transformers.DistilBertConfig):
        inputs["token_type_ids"] = torch.tensor([sequence["type_ids"]])
    return model(**inputs)


def make_targets(kind: str, sequences):
    """(targets laid out like the packed logits, chosen rows for mlm or None, targets of each text)"""
    generator = torch.Generator().manual_seed(1)
    if kind == "sequence":
        targets = torch.randint(0, LABELS, (len(sequences),), generator=generator).tolist()
        return targets, None, [[t] for t in targets]
    rows, flat, by_text, first = [], [], [], 0
    for sequence in sequences:
        length = len(sequence["ids"])
        counted = [i % 3 != 1 for i in range(length)]
        highest = LABELS if kind == "token" else 97
        tags = [int(torch.randint(0, highest, (1,), generator=generator)) if c else -100 for c in counted]
        rows += [first + i for i, c in enumerate(counted) if c]
        flat += tags
        by_text.append(tags)
        first += length
    return ([t for t in flat if t != -100], rows, by_text) if kind == "mlm" else (flat, None, by_text)


def log_likelihoods(model, kind, sequences, by_text):
    """Sum of log p(target) of each text, with gradients."""
    sums = []
    for sequence, targets in zip(sequences, by_text):
        logits = forward_one(model, sequence).logits
        logits = logits if kind == "sequence" else logits[0]
        sums.append(-torch.nn.functional.cross_entropy(logits, torch.tensor(targets), ignore_index=-100, reduction="sum"))
    return sums


def our_name(name: str, kind: str) -> str:
    """transformers' parameter name -> the name in our buffer."""
    for prefix in ("bert.", "roberta.", "distilbert."):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return "heads.task." + name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", CLASSES)
def test_forward_gradients_and_fisher(family, kind, tmp_path):
    model = make_model(family, kind, tmp_path)
    sequences = make_batch(97, types=family == "bert")
    targets, rows, by_text = make_targets(kind, sequences)
    spec = {"rows": rows} if rows is not None else {}
    got = run_probe(tmp_path, head={"kind": kind, "labels": LABELS, "pooling": "standard"}, sequences=sequences, targets=targets,
                    importance="empirical", **spec)
    with torch.no_grad():
        hidden = torch.cat([forward_one(model.base_model, s).last_hidden_state[0] for s in sequences])
    assert (got["hidden"] - hidden).abs().max() <= 2e-5
    assert torch.equal(got["hidden"], got["hidden_inference"])

    counted = sum(t != -100 for tags in by_text for t in tags)
    loss = -sum(log_likelihoods(model, kind, sequences, by_text)) / counted
    assert abs(got["loss"].item() - loss.item()) <= 1e-5
    loss.backward()
    checked = 0
    for name, parameter in model.named_parameters():
        ours = got.get("gradient." + our_name(name, kind))
        if name.endswith("decoder.bias"):
            continue  # transformers' alias of the bias
        assert ours is not None, name
        if parameter.grad is None:
            assert ours.abs().max() == 0, name
            continue
        scale = parameter.grad.abs().max().clamp_min(1e-12)
        # Softmax is blind to a shift of the keys' bias: its gradient is rounding noise on both sides.
        if "key.bias" not in name and "k_lin.bias" not in name:
            assert (ours - parameter.grad).abs().max() / scale <= 1e-4, name
        checked += 1
    assert checked > 40

    fisher = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for text in range(len(sequences)):
        model.zero_grad()
        log_likelihoods(model, kind, sequences[text:text + 1], by_text[text:text + 1])[0].backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                fisher[name] += parameter.grad ** 2 / len(sequences)
    for name, expected in fisher.items():
        ours = got.get("fisher." + our_name(name, kind))
        if ours is None or "key.bias" in name or "k_lin.bias" in name:
            continue
        assert (ours - expected).abs().max() / expected.abs().max().clamp_min(1e-12) <= 1e-5, name


@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_adamw_steps(family, tmp_path):
    """AdamW, decay on matrices alone, linear schedule with warm-up, clipping: weights as torch's after 20 steps, <= 1e-4 of the largest."""
    model = make_model(family, "sequence", tmp_path)
    sequences = make_batch(97, types=False)
    targets, _, by_text = make_targets("sequence", sequences)
    got = run_probe(tmp_path, head={"kind": "sequence", "labels": LABELS, "pooling": "standard"}, sequences=sequences, targets=targets,
                    steps=20, lr=1e-3)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=1e-3)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 4, 20)
    for _ in range(20):
        optimizer.zero_grad()
        (-sum(log_likelihoods(model, "sequence", sequences, by_text)) / len(sequences)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    for name, parameter in model.named_parameters():
        # Adam divides by the size of the gradient: where that is rounding noise (the keys' bias), so is the step.
        if "key.bias" in name or "k_lin.bias" in name:
            continue
        ours = got["weight." + our_name(name, "sequence")]
        assert (ours - parameter).abs().max() / parameter.abs().max() <= 1e-4, name


def test_exact_fisher_equals_the_expectation_over_labels(tmp_path):
    model = make_model("bert", "sequence", tmp_path)
    sequences = make_batch(97, types=True)
    got = run_probe(tmp_path, head={"kind": "sequence", "labels": LABELS, "pooling": "standard"}, sequences=sequences,
                    targets=[0] * len(sequences), importance="exact")
    fisher = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for sequence in sequences:
        for label in range(LABELS):
            model.zero_grad()
            log_p = torch.log_softmax(forward_one(model, sequence).logits[0], 0)
            log_p[label].backward()
            for name, parameter in model.named_parameters():
                fisher[name] += log_p[label].exp().detach() * parameter.grad ** 2 / len(sequences)
    for name, expected in fisher.items():
        ours = got.get("fisher." + our_name(name, "sequence"))
        if ours is not None and "key.bias" not in name:
            assert (ours - expected).abs().max() / expected.abs().max().clamp_min(1e-12) <= 1e-5, name


def test_minilm_mean_pooled(tmp_path):
    """The default base model: hidden states in both precisions, and texts in one batch as each alone."""
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).symlink_to(BASE_MODEL / file)
    model = transformers.AutoModel.from_pretrained(BASE_MODEL, add_pooling_layer=False, attn_implementation="eager").eval()
    sequences = make_batch(30000, types=False, seed=5)
    with torch.no_grad():
        hidden = torch.cat([forward_one(model, s).last_hidden_state[0] for s in sequences])
    got = run_probe(tmp_path, sequences=sequences)["hidden"]
    assert (got - hidden).abs().max() <= 2e-5
    alone = torch.cat([run_probe(tmp_path, sequences=[s])["hidden"] for s in sequences])
    assert (got - alone).abs().max() <= 1e-6 * hidden.abs().max()
    half = run_probe(tmp_path, sequences=sequences, precision="bf16")["hidden"]
    # bf16 is as near to fp32 as transformers' own bf16 is.
    peer = transformers.AutoModel.from_pretrained(BASE_MODEL, add_pooling_layer=False, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        theirs = torch.cat([forward_one(peer, s).last_hidden_state[0] for s in sequences]).float()
    cosine = lambda x: torch.nn.functional.cosine_similarity(x, hidden, dim=1)
    assert cosine(half).mean() >= 0.9999 and cosine(half).min() >= cosine(theirs).min() - 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", CLASSES)
def test_saved_version_loads_in_transformers(family, kind, tmp_path):
    make_model(family, kind, tmp_path)
    sequences = make_batch(97, types=False)
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
    sequences = make_batch(97, types=False)
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
