"""Makes the samples in tests/data out of full copies of the data sets (run once by a maintainer; the results are committed).

    make_samples.py DATA_DIR     DATA_DIR/classification/NAME/{train,test}.jsonl.gz, DATA_DIR/ner/wnut17/{train,validation,test}.conll.gz

Classification: the first 2,000 training and 1,000 test rows after a seeded shuffle. WNUT17: whole. Sources and licences: NOTICE.
"""
import gzip
import json
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"


def write(path: pathlib.Path, content: bytes) -> None:
    with open(path, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as out:
        out.write(content)
    print(f"{path.name}: {path.stat().st_size} bytes")


def sample(source: pathlib.Path, count: int) -> list[dict]:
    rows = [json.loads(line) for line in gzip.open(source, "rt", encoding="utf-8")]
    random.Random(1).shuffle(rows)
    return rows[:count]


def main() -> None:
    data = pathlib.Path(sys.argv[1])
    ROOT.mkdir(parents=True, exist_ok=True)
    for source, name in (("banking77", "banking77"), ("dbpedia14", "dbpedia14")):
        for split, count in (("train", 2000), ("test", 1000)):
            rows = sample(data / "classification" / source / f"{split}.jsonl.gz", count)
            text = "".join(json.dumps({"text": r["text"], "label": r["label"]}, ensure_ascii=False) + "\n" for r in rows)
            write(ROOT / f"{name}.{split}.jsonl.gz", text.encode())
    for split in ("train", "validation", "test"):
        write(ROOT / f"wnut17.{split}.conll.gz", gzip.open(data / "ner" / "wnut17" / f"{split}.conll.gz").read())


if __name__ == "__main__":
    main()
