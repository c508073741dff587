"""Special tokens around texts, pieces, byte pair encoding, Unigram, and weights out of torch.save."""
PIECES = "tests/parity/test_piece_tokenizers.py"
GROUPS = [
    ("core/tokenize/unigram_model.cc", "tests/parity/test_piece_tokenizers.py", [
        ("unigram: every token of the vocabulary is a piece by itself", "model->whole_[id] = best.size() == 1 && best[0].id == static_cast<int32_t>(id);", "model->whole_[id] = true;"),
    ]),
    ("core/tokenize/framed_tokenizer.cc", "test_tokenize tests/parity/test_tokenizer.py", [
        ("tokenizer: of a pair the first text gives way", "const bool swapped = first > second;", "const bool swapped = first < second;"),
        ("tokenizer: half of an odd room goes to the shorter text", "longer = shorter + room % 2;", "longer = shorter;"),
        ("tokenizer: the second text has type 0", "append(*second, keep_second, part.type);", "append(*second, keep_second, 0);"),
        ("tokenizer: the number of tokens is that after the cut", "out.full_tokens = keep_first + keep_second + added;", "out.full_tokens = added;"),
        ("tokenizer: BERT's pair has one separator", "{Part::kSecond, -1, 1}, {Part::kSpecial, sep, 1}}};", "{Part::kSecond, -1, 1}}};"),
    ]),
    ("core/tokenize/splitter.cc", PIECES, [
        ("splitter: a run of spaces keeps its last one", "return last > at ? last : end;", "return end;"),
        ("splitter: numbers are not cut by three", "kLlama3 ? 3 : 1);", "kLlama3 ? 4 : 1);"),
        ("splitter: lines end at the first line end", "if (IsLineEnd(text[i])) end = next.end;", "if (IsLineEnd(text[i])) return next.end;"),
    ]),
    ("core/tokenize/bpe_model.cc", PIECES, [
        ("BPE: of the best pairs the last is merged", "merge->rank < merges[static_cast<size_t>(best)]->rank", "merge->rank <= merges[static_cast<size_t>(best)]->rank"),
        ("BPE: a merge that is gone is made", "if (merge == nullptr || merge->whole != wholes_[rank]) continue;", "if (merge == nullptr) continue;"),
    ]),
    ("core/tokenize/unigram_model.cc", PIECES, [
        ("Unigram: of two equal cuts the last is taken", "score > node.score", "score >= node.score"),
        ("Unigram: the unknown costs less", "constexpr double kUnknownPenalty = 10;", "constexpr double kUnknownPenalty = 1;"),
        ("Unigram: unknown neighbours are tokens of their own", "if (fuses) {", "if (false && fuses) {"),
    ]),
    ("core/tokenize/normalizers.cc", PIECES, [
        ("NFC: a mark is composed past one of its class", "marks_.back().combining_class >= next.combining_class;", "marks_.back().combining_class > next.combining_class;"),
        ("NFC: places of composed characters slip", "starter_->change += next.change - 1;", "starter_->change += next.change;"),
    ]),
    ("core/checkpoint/torch_file.cc", "test_checkpoint", [
        ("torch.save: strided tensors are taken as they lie", "if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;", ""),
        ("torch.save: a part begins where its storage does", "found->second.subspan(tensor.offset * element, count * element);", "found->second.subspan(0, count * element);"),
    ]),
]
