"""all-mpnet-base-v2 as it is published, where it is (.deps/all-mpnet-base-v2, or ENGRAM_MPNET): imported, and its vectors those of sentence-transformers."""
import os
import pathlib

import numpy as np
import pytest

from conftest import Server, messages

REAL = pathlib.Path(os.environ.get("ENGRAM_MPNET", pathlib.Path(__file__).resolve().parents[2] / ".deps" / "all-mpnet-base-v2"))
pytestmark = pytest.mark.skipif(not (REAL / "config.json").exists(), reason="all-mpnet-base-v2 is not here")
TEXTS = ["Hi", "Where is my card?", "The river runs to the sea. " * 70, "caf\u00e9 \U0001F600 \u2014 na\u00efve"]


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path, {"inference_precision": "fp32"}).start()
    yield made
    made.stop()


def test_vectors_are_those_of_sentence_transformers(server):
    from sentence_transformers import SentenceTransformer
    server.engram("models", "import", "mpnet", REAL)
    m = messages()
    answer = server.stub("InferenceService").Embed(m.EmbedRequest(model="mpnet", texts=TEXTS, truncate=True))
    expected = SentenceTransformer(str(REAL), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(np.array([r.vector for r in answer.results]), expected, atol=2e-5)
    assert answer.results[2].truncated and answer.dimension == 768
