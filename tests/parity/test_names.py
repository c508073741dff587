"""Names, shapes and classes against transformers itself: what a config promises is what its class has, and what a version says it is loads as that."""
import json
import subprocess

import pytest
import torch
import transformers
from safetensors import safe_open

from encoders import BERT_FAMILIES, BUILD, CLASSES, LABELS, LENGTHS, make_batch, make_targets, run_probe

CONFIGS = {**BERT_FAMILIES, "xlm-roberta": (transformers.XLMRobertaConfig, BERT_FAMILIES["roberta"][1], "XLMRoberta")}
KINDS = {"bare": "Model", **CLASSES}
TIED = {"bert": ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"), "distilbert": ("vocab_projector.weight",),
        "roberta": ("lm_head.decoder.weight", "lm_head.decoder.bias"), "xlm-roberta": ("lm_head.decoder.weight", "lm_head.decoder.bias")}


def make(family: str, kind: str, folder):
    config_class, numbers, stem = CONFIGS[family]
    model = getattr(transformers, stem + KINDS[kind])(config_class(**numbers, num_labels=LABELS)).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_config_promises_is_what_its_class_has(family, kind, tmp_path):
    model = make(family, kind, tmp_path)
    answer = subprocess.run([BUILD / "bin" / "parity_names", tmp_path / "config.json", str(LABELS)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    promised = json.loads(answer.stdout)[kind]
    assert promised["class"] == type(model).__name__ == json.loads((tmp_path / "config.json").read_text())["architectures"][0]
    theirs = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    ours = {name: tensor["shape"] for name, tensor in promised["tensors"].items()}
    required = {name for name, tensor in promised["tensors"].items() if tensor["required"]}
    assert {name: ours.get(name) for name in theirs} == theirs
    assert required <= set(theirs)
    # What may be missing: a pooler, which not every class has, and the copies of what is tied, which state_dict shows.
    optional = set(ours) - required
    assert {name for name in optional if "pooler." not in name} == (set(TIED[family]) if kind == "mlm" else set())
    assert optional - set(theirs) <= {name for name in optional if "pooler." in name}


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("kind", CLASSES)
def test_a_head_drops_out_where_its_class_does(family, kind, tmp_path):
    config_class, numbers, stem = CONFIGS[family]
    rates = dict(dropout=0.11, seq_classif_dropout=0.31) if family == "distilbert" else dict(hidden_dropout_prob=0.11, classifier_dropout=0.31)
    model = getattr(transformers, stem + KINDS[kind])(config_class(**numbers, num_labels=LABELS, **rates)).train()
    model.save_pretrained(tmp_path)
    encoder, acted = set(model.base_model.modules()), []
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout) and module not in encoder:
            module.register_forward_hook(lambda dropout, _, __: acted.append(dropout.p))
    model(torch.tensor([[5, 6, 7]]))
    answer = subprocess.run([BUILD / "bin" / "parity_names", tmp_path / "config.json", str(LABELS)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)[kind]["dropouts"] == acted


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_version_names_the_class_that_loads_it(family, kind, tmp_path):
    model = make(family, kind, tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    sequences = make_batch(97, with_types=False)
    head, targets = None, []
    if kind != "bare":
        head = {"kind": kind, "labels": LABELS, "pooling": "standard"}
        targets = [5] + [-100] * (sum(LENGTHS) - 1) if kind == "mlm" else make_targets(kind, sequences)[0]
    run_probe(tmp_path, head=head, sequences=sequences, targets=targets, save=str(saved))
    architectures = json.loads((saved / "config.json").read_text())["architectures"]
    assert architectures == [type(model).__name__]
    with safe_open(saved / "model.safetensors", "pt") as file:
        names = set(file.keys())
    # Poolers that no head stands on are left out, and what is tied is written once.
    left_out = set(TIED[family]) if kind == "mlm" else set()
    left_out |= {name for name in model.state_dict() if "pooler." in name and family != "bert"}
    assert names == set(model.state_dict()) - left_out
    _, info = getattr(transformers, architectures[0]).from_pretrained(saved, output_loading_info=True)
    assert {name for name in info["missing_keys"] if "pooler." not in name} == set() == set(info["unexpected_keys"])
