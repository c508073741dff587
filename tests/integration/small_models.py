"""Random models of every family that import and train in seconds, and the oracles that answer for them: transformers in fp64, and loops."""
import json
import pathlib
import shutil

import numpy as np
import torch
import transformers

from conftest import BASE_MODEL

TYPES = ["person", "place", "creative-work"]
TAGS = ["O"] + [f"{prefix}-{name}" for name in TYPES for prefix in "BI"]
SMALL = dict(vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=64)
CONFIGS = {
    "bert": (transformers.BertConfig, SMALL, "Bert"),
    "roberta": (transformers.RobertaConfig, {**SMALL, "type_vocab_size": 1, "pad_token_id": 1, "max_position_embeddings": 66}, "Roberta"),
    "distilbert": (transformers.DistilBertConfig, dict(vocab_size=30522, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=64), "DistilBert"),
    "llama": (transformers.LlamaConfig, {**SMALL, "num_key_value_heads": 2}, "Llama"),
}


def make(family: str, architecture: str, folder: pathlib.Path, labels: list[str] | None = None, mean_pooled: bool = False, **numbers) -> pathlib.Path:
    """A model directory as transformers saves it: `architecture` is "Model", "ForSequenceClassification", ..."""
    config_class, sizes, prefix = CONFIGS[family]
    named = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}} if labels else {}
    torch.manual_seed(len(family))
    model = getattr(transformers, prefix + architecture)(config_class(**{**sizes, **numbers}, **named, initializer_range=0.3))
    with torch.no_grad():  # words differ more than places do, so that the answers differ from word to word
        model.base_model.get_input_embeddings().weight.mul_(6)
        if architecture == "ForTokenClassification":  # no tag is the most probable one everywhere
            model.classifier.bias.sub_(model.eval()(torch.randint(2000, 30000, (8, 40))).logits.mean((0, 1)))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copyfile(BASE_MODEL / name, folder / name)
    if mean_pooled:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}))
    return folder


def tokenizer(directory) -> transformers.PreTrainedTokenizerBase:
    made = transformers.AutoTokenizer.from_pretrained(directory)
    made.backend_tokenizer.no_truncation()
    made.backend_tokenizer.no_padding()
    return made


def content_ids(made, words: list[str]) -> list[list[int]]:
    """Token ids of each word, special tokens left out."""
    return [made(word, add_special_tokens=False)["input_ids"] for word in words]


def hidden_states(encoder, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return encoder(torch.tensor([ids])).last_hidden_state[0].numpy()


def plan_windows(counts: list[int], budget: int, overlap: int) -> list[tuple[int, int]]:
    """Windows of whole words: as many as fit, then back by `overlap` tokens; the last one reaches back as far as it can."""
    windows, first, words = [], 0, len(counts)
    total = lambda a, b: sum(counts[a:b])
    while True:
        end = first
        while end < words and total(first, end + 1) <= budget:
            end += 1
        assert end > first, "a word is longer than the window"
        if end == words:
            earliest = windows[-1][0] + 1 if windows else 0
            while first > earliest and total(first - 1, end) <= budget:
                first -= 1
        windows.append((first, end))
        if end == words:
            return windows
        previous, first = first, end
        while first - 1 > previous and total(first, end) < overlap:
            first -= 1
        while total(first, end + 1) > budget:
            first += 1


def owner(word: int, windows: list[tuple[int, int]], counts: list[int]) -> int:
    """The window in which the word is farthest from a border; the ends of the text are none."""
    def distance(window):
        first, end = windows[window]
        left = float("inf") if first == 0 else sum(counts[first:word])
        right = float("inf") if end == len(counts) else sum(counts[word + 1:end])
        return min(left, right)
    return max((w for w, (first, end) in enumerate(windows) if first <= word < end), key=lambda w: (distance(w), -w))


def word_rows(model, made, words: list[str], max_tokens: int) -> tuple[list[torch.Tensor], int]:
    """The tags' logits of each word, from the window that owns it, at its first token; and the number of windows."""
    ids = content_ids(made, words)
    counts = [len(i) for i in ids]
    budget = max_tokens - 2
    windows = plan_windows(counts, budget, min(128, budget // 4))
    rows: list = [None] * len(words)
    for number, (first, end) in enumerate(windows):
        flat = [made.cls_token_id, *(i for word in ids[first:end] for i in word), made.sep_token_id]
        logits = model(torch.tensor([flat])).logits[0]
        at = 1
        for word in range(first, end):
            if owner(word, windows, counts) == number:
                rows[word] = logits[at]
            at += counts[word]
    return rows, len(windows)


def word_logits(model, made, words: list[str], max_tokens: int) -> tuple[np.ndarray, int]:
    """word_rows as [words, tags] in fp64."""
    with torch.no_grad():
        rows, windows = word_rows(model, made, words, max_tokens)
    return torch.stack(rows).double().numpy(), windows


def decode(logits: np.ndarray, tags: list[str]):
    """(first word, end word, type, probability) of the entities of the most probable legal tag sequence, by dynamic programs over all tag pairs."""
    log_p = logits - logits.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    legal = np.array([[tag[0] != "I" or before[0] != "O" and before[2:] == tag[2:] for tag in tags] for before in tags])
    step = np.where(legal, 0.0, -np.inf)
    start = np.array([-np.inf if tag[0] == "I" else 0.0 for tag in tags])
    words = len(logits)
    best, back, alpha = [start + log_p[0]], [], [start + log_p[0]]
    add = lambda matrix, axis: np.logaddexp.reduce(matrix, axis=axis)
    for t in range(1, words):
        scores = best[-1][:, None] + step
        back.append(scores.argmax(0))
        best.append(scores.max(0) + log_p[t])
        alpha.append(add(alpha[-1][:, None] + step, 0) + log_p[t])
    beta = [np.zeros(len(tags))]
    for t in range(words - 1, 0, -1):
        beta.insert(0, add(step + (log_p[t] + beta[0])[None, :], 1))
    path = [int(best[-1].argmax())]
    for pointers in reversed(back):
        path.insert(0, int(pointers[path[0]]))
    entities = []
    for t, tag in enumerate(path):
        if tags[tag][0] == "B":
            entities.append([t, t + 1, tags[tag][2:]])
        elif tags[tag][0] == "I":
            entities[-1][1] = t + 1
    total = add(alpha[-1], 0)
    scored = []
    for first, end, name in entities:
        inside = tags.index(f"I-{name}") if f"I-{name}" in tags else None
        score = alpha[first][tags.index(f"B-{name}")] + sum(log_p[t][inside] for t in range(first + 1, end))
        if end < words:
            score += add(np.array([log_p[end][k] + beta[end][k] for k, tag in enumerate(tags) if tag[0] != "I"]), 0)
        scored.append((first, end, name, float(np.exp(score - total))))
    return scored
