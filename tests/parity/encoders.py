"""Models of every family made with transformers, batches for them, and the probe that runs the same in Engram."""
import json
import os
import pathlib
import subprocess
import types

import torch
import transformers
from safetensors.torch import load_file, save_file

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
BERT_FAMILIES = dict(FAMILIES)  # those with BERT's block
ROTARY = {**SMALL, "pad_token_id": 3}  # heads of 12 dimensions
GROUPED = {**ROTARY, "num_key_value_heads": 2}
FAMILIES |= {
    # Layers 0 and 3 see all, the others 5 tokens on each side.
    "modernbert": (transformers.ModernBertConfig, {**ROTARY, "num_hidden_layers": 4, "local_attention": 10}, "ModernBert"),
    "llama": (transformers.LlamaConfig, {**GROUPED, "head_dim": 16}, "Llama"),
    "mistral": (transformers.MistralConfig, {**GROUPED, "sliding_window": 6}, "Mistral"),
    "qwen2": (transformers.Qwen2Config, {**GROUPED, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}, "Qwen2"),
    "qwen3": (transformers.Qwen3Config, {**GROUPED, "head_dim": 16}, "Qwen3"),
    "mpnet": (transformers.MPNetConfig, {**SMALL, "max_position_embeddings": 66, "pad_token_id": 1}, "MPNet"),
    "nomic_bert": (transformers.NomicBertConfig, SMALL, "NomicBert"),
}
DECODERS = ("llama", "mistral", "qwen2", "qwen3")  # they have no masked language model
CLASSES = {"sequence": "ForSequenceClassification", "token": "ForTokenClassification", "mlm": "ForMaskedLM"}
LABELS = 5


def make_model(family: str, kind: str, folder: pathlib.Path, **changes):
    """A random model, also written into `folder`; `changes`: config.json's keys that differ from the family's defaults."""
    config_class, numbers, prefix = FAMILIES[family]
    torch.manual_seed(3)
    config = config_class(**{**numbers, **changes}, num_labels=LABELS, initializer_range=0.2)
    config._attn_implementation = "eager"
    model = getattr(transformers, prefix + CLASSES[kind])(config).eval()
    with torch.no_grad():  # biases and gains away from 0 and 1, where mistakes hide
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def make_batch(vocabulary: int, with_types: bool, seed: int = 0, lengths=LENGTHS):
    generator = torch.Generator().manual_seed(seed)
    sequences = []
    for length in lengths:
        sequence = {"ids": torch.randint(4, vocabulary, (length,), generator=generator).tolist()}
        sequence["ids"][-1] = sequence["ids"][0]  # repeated ids within one text
        if with_types:
            sequence["type_ids"] = [int(i > length // 2) for i in range(length)]
        sequences.append(sequence)
    return sequences


class MeanPooled(torch.nn.Module):
    """A bare encoder with Engram's mean-pooled head: the mean over a text's tokens, then one linear layer."""

    def __init__(self, encoder, labels: int):
        super().__init__()
        self.bert, self.config = encoder, encoder.config
        self.classifier = torch.nn.Linear(encoder.config.hidden_size, labels)

    def forward(self, **inputs):
        pooled = self.bert(**inputs).last_hidden_state.mean(1)
        return types.SimpleNamespace(logits=self.classifier(pooled))

    @property
    def base_model(self):
        return self.bert


def make_minilm(folder: pathlib.Path) -> MeanPooled:
    """The default base model with a mean-pooled head of LABELS classes, also written into `folder`."""
    torch.manual_seed(3)
    encoder = transformers.AutoModel.from_pretrained(BASE_MODEL, add_pooling_layer=False, attn_implementation="eager")
    model = MeanPooled(encoder, LABELS).eval()
    (folder / "config.json").write_bytes((BASE_MODEL / "config.json").read_bytes())
    save_file({name: value.contiguous() for name, value in model.state_dict().items() if "position_ids" not in name},
              folder / "model.safetensors")
    return model


def run_probe(folder: pathlib.Path, **spec) -> dict:
    (folder / "spec.json").write_text(json.dumps({"directory": str(folder), "precision": "fp32", "head": None, **spec}))
    answer = subprocess.run([BUILD / "bin" / "parity_model", folder / "spec.json", folder / "out.safetensors"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return as_transformers_names(load_file(folder / "out.safetensors"))


# What transformers 5 calls in its modules what NomicBERT's files and our buffer call by their first names.
NOMIC_NAMES = {"encoder.layers": "layers", "emb_ln": "embeddings.LayerNorm", "attn.out_proj": "self_attn.o_proj", "fc11": "up_proj", "fc12": "gate_proj",
               "fc2": "down_proj", "norm1": "post_attention_layernorm", "norm2": "post_mlp_layernorm"}


def as_transformers_names(tensors: dict) -> dict:
    if not any("mlp.fc11" in name for name in tensors):
        return tensors
    renamed = {}
    for name, value in tensors.items():
        for ours, theirs in NOMIC_NAMES.items():
            name = name.replace(ours, theirs)
        if "attn.Wqkv" in name:
            for part, piece in zip("qkv", value.chunk(3)):
                renamed[name.replace("attn.Wqkv", f"self_attn.{part}_proj")] = piece
        else:
            renamed[name] = value
    return renamed


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


def our_name(name: str) -> str:
    """transformers' parameter name -> the name in our buffer."""
    for prefix in ("bert.", "roberta.", "distilbert.", "mpnet.", "nomic_bert.", "model."):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return "heads.task." + name


def blind_to(name: str) -> bool:
    """The keys' bias: softmax does not see a shift of all scores of a query, so its true gradient is 0 and what both sides have is noise."""
    return "key.bias" in name or "k_lin.bias" in name or "attn.k.bias" in name


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, relative to the tensor's largest entry."""
    return ((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max().clamp_min(1e-12)).item()
