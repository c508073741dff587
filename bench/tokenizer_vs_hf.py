"""Single-thread tokenization with offsets against huggingface/tokenizers on the same texts, in one run; the ids are compared first."""
import argparse
import json
import os
import pathlib
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

import peers


def byte_bpe() -> tuple:
    """As GPT-2, RoBERTa and Qwen have it."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made, trainers.BpeTrainer(vocab_size=32000, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)


def marked_bpe() -> tuple:
    """As Llama 2 has it: spaces are marks, and bytes stand in for characters that have no token."""
    made = tokenizers.Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)  # for the training alone
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    return made, trainers.BpeTrainer(vocab_size=32000, special_tokens=special, show_progress=False)


def unigram() -> tuple:
    """As XLM-RoBERTa has it, but for its table of normalizations."""
    made = tokenizers.Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made, trainers.UnigramTrainer(vocab_size=32000, special_tokens=["<s>", "<unk>", "</s>"], unk_token="<unk>", show_progress=False)


KINDS = {"byte_bpe": byte_bpe, "marked_bpe": marked_bpe, "unigram": unigram}


def trained(kind: str, texts: list[str], folder: pathlib.Path) -> pathlib.Path:
    """A tokenizer of that kind, learned from the texts that are measured."""
    made, trainer = KINDS[kind]()
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B </s>",
                                                        special_tokens=[(t, made.token_to_id(t)) for t in ("<s>", "</s>")])
    saved = json.loads(made.to_str())
    if kind == "marked_bpe":
        saved["pre_tokenizer"] = None
        saved["added_tokens"] = [token for token in saved["added_tokens"] if not token["content"].startswith("<0x")]
    (folder / "tokenizer.json").write_text(json.dumps(saved))
    return folder


def measure(name: str, directory: pathlib.Path, texts: list[str], options) -> dict:
    theirs_tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    theirs_tokenizer.no_truncation()
    theirs_tokenizer.no_padding()
    encode = lambda: [theirs_tokenizer.encode(text) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "texts.json"
        path.write_text(json.dumps(texts))
        ours = peers.Program("bench_tokenizer", "--model", directory, "--texts", path)
        tokens = sum(len(e.ids) for e in encode())
        assert ours.ask("run")["tokens"] == tokens, "the tokenizers disagree: run the parity tests"
        mine, theirs = [], []
        for _ in range(options.repeats):
            mine.append(tokens / ours.ask("run")["seconds"])
            theirs.append(tokens / peers.timed(encode))
        ours.close()
    return peers.row(name, mine, f"tokenizers {tokenizers.__version__}", theirs, "tokens/s", data=peers.data_name(options.data), texts=len(texts), threads=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, default=peers.default_data())
    parser.add_argument("--texts", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS), help="beside the base model's WordPiece")
    options = parser.parse_args()
    texts = peers.texts(options.data, options.texts)
    rows = [measure("tokenizer_vs_hf", peers.BASE_MODEL, texts, options)]
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(f"tokenizer_vs_hf.{kind}", trained(kind, texts, pathlib.Path(folder)), texts, options))
    peers.emit(rows)


if __name__ == "__main__":
    main()
