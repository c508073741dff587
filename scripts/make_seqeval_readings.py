"""tests/data/seqeval_readings.tsv: random tags of mixed schemes, and the entities that seqeval's default mode reads in them.

Run with the oracle's Python. One sentence per line: its tags, a tab, its entities as type:first word:last word.
"""
import pathlib
import random

from seqeval.metrics.sequence_labeling import get_entities

random.seed(11)
lines = []
for i in range(400):
    prefixes = ["OBI", "OI", "OBIES", "BIES"][i % 4]
    tags = []
    for _ in range(random.randint(1, 12)):
        prefix = random.choice(prefixes)
        tags.append("O" if prefix == "O" else f"{prefix}-{random.choice(['per', 'loc', 'O-x'])}")
    entities = [f"{kind}:{first}:{last}" for kind, first, last in get_entities(tags)]
    lines.append(" ".join(tags) + "\t" + " ".join(entities) + "\n")
path = pathlib.Path(__file__).resolve().parents[1] / "tests" / "data" / "seqeval_readings.tsv"
path.write_text("".join(lines), encoding="utf-8")
