"""Single-thread tokenization with offsets against huggingface/tokenizers on the same texts, in one run; the ids are compared first."""
import argparse
import json
import os
import pathlib
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers

import peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, default=peers.default_data())
    parser.add_argument("--texts", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    texts = peers.texts(options.data, options.texts)
    theirs_tokenizer = tokenizers.Tokenizer.from_file(str(peers.BASE_MODEL / "tokenizer.json"))
    theirs_tokenizer.no_truncation()
    theirs_tokenizer.no_padding()
    encode = lambda: [theirs_tokenizer.encode(text) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "texts.json"
        path.write_text(json.dumps(texts))
        ours = peers.Program("bench_tokenizer", "--model", peers.BASE_MODEL, "--texts", path)
        tokens = sum(len(e.ids) for e in encode())
        assert ours.ask("run")["tokens"] == tokens, "the tokenizers disagree: run the parity tests"
        mine, theirs = [], []
        for _ in range(options.repeats):
            mine.append(tokens / ours.ask("run")["seconds"])
            theirs.append(tokens / peers.timed(encode))
        ours.close()
    peers.emit([peers.row("tokenizer_vs_hf", mine, f"tokenizers {tokenizers.__version__}", theirs, "tokens/s", data=peers.data_name(options.data),
                          texts=len(texts), threads=1)])


if __name__ == "__main__":
    main()
