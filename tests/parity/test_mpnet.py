"""MPNet: every sort of distance, and all-mpnet-base-v2 itself where it is (.deps/all-mpnet-base-v2, or ENGRAM_MPNET)."""
import os
import pathlib

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from encoders import LABELS, make_batch, make_model, run_probe

REAL = pathlib.Path(os.environ.get("ENGRAM_MPNET", pathlib.Path(__file__).resolve().parents[2] / ".deps" / "all-mpnet-base-v2"))
HEAD = {"kind": "sequence", "labels": LABELS, "pooling": "mean"}


def hidden(model, sequences):
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([s["ids"]])).last_hidden_state[0] for s in sequences])


def test_distances_of_every_sort(tmp_path):
    """Texts of more tokens than there are sorts of distances, whose borders lie at 8, 10, 12, 14, 16, 20, ... 108."""
    model = make_model("mpnet", "sequence", tmp_path, max_position_embeddings=300)
    sequences = make_batch(97, with_types=False, lengths=[290, 5, 130])
    got = run_probe(tmp_path, head={**HEAD, "pooling": "standard"}, sequences=sequences, targets=[0, 1, 2])
    assert (got["hidden"] - hidden(model.base_model, sequences)).abs().max() <= 2e-5


@pytest.mark.skipif(not (REAL / "config.json").exists(), reason="all-mpnet-base-v2 is not here")
def test_all_mpnet_base_v2(tmp_path):
    weights = load_file(REAL / "model.safetensors")
    weights |= {"classifier.weight": torch.zeros(LABELS, 768), "classifier.bias": torch.zeros(LABELS)}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").symlink_to(REAL / "config.json")
    model = transformers.AutoModel.from_pretrained(REAL, add_pooling_layer=False).eval()
    sequences = make_batch(30000, with_types=False, lengths=[384, 7, 50])
    got = run_probe(tmp_path, head=HEAD, sequences=sequences, targets=[0, 1, 2])
    expected = hidden(model, sequences)
    assert (got["hidden"] - expected).abs().max() <= 2e-5 * max(1.0, expected.abs().max().item())
