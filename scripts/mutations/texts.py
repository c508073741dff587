"""Tokenizers and long texts."""
GROUPS = [
    ("core/tokenize/bert_tokenizer.cc", "test_tokenize tests/parity/test_tokenizer.py", [
        ("tokenizer: a word with an unknown end keeps its known pieces", "Resize(out, before);", "(void)before;"),
        ("tokenizer: pieces inside a word are looked up as beginnings", "LongestPrefix(std::string_view(word.text).substr(at), at > 0, length)",
         "LongestPrefix(std::string_view(word.text).substr(at), false, length)"),
        ("tokenizer: longest words are not unknown", "bool known = word.characters <= options_.max_characters_per_word;", "bool known = true;"),
        ("tokenizer: of a pair the first text gives way", "const bool swapped = first > second;", "const bool swapped = first < second;"),
        ("tokenizer: half of an odd room goes to the shorter text", "longer = shorter + room % 2;", "longer = shorter;"),
        ("tokenizer: the second text has type 0", "append(*second, keep_second, 1);", "append(*second, keep_second, 0);"),
        ("tokenizer: the number of tokens is that after the cut", "out.full_tokens = full;", "out.full_tokens = full - full + keep_first + keep_second + added;"),
        ("tokenizer: a pair has one separator",
         "append(*second, keep_second, 1); if (options.add_special_tokens) special(special_.sep, 1);", "append(*second, keep_second, 1);"),
        ("tokenizer: special tokens in a text are letters", "special_tokens_in_text && at < text.size(); ++at)", "special_tokens_in_text && text.empty() && at < text.size(); ++at)"),
        ("tokenizer: places are counted from the last special token", "code_points += characters;", ""),
    ]),
    ("core/tokenize/bert_normalizer.h", "test_tokenize tests/parity/test_tokenizer.py", [
        ("normalizer: Chinese characters are no words", "const bool isolate = options_.chinese_chars && (flags & kFlagChinese) != 0;", "const bool isolate = false;"),
        ("normalizer: control characters stay", "if (options_.clean_text && (flags & kFlagRemoved) != 0) continue;", ""),
        ("normalizer: accents stay", "if ((FlagsOf(c) & kFlagDropped) == 0) Lower(c, source);", "Lower(c, source);"),
        ("normalizer: marks stay in the order of the text", "return a.combining_class < b.combining_class;", "return a.combining_class < 0 * b.combining_class;"),
    ]),
    ("core/longcontext/chunk_encode.cc", "test_longcontext", [
        ("long texts: the mean is of chunks", "value_ / static_cast<double>(count_)", "value_ / static_cast<double>(count_ + 1)"),
        ("long texts: [CLS] counts", "batch.host_cu_seqlens[i] + static_cast<int64_t>(frame.before.size())", "batch.host_cu_seqlens[i] + 0 * static_cast<int64_t>(frame.before.size())"),
        ("long texts: tokens of an overlap count twice",
         "document.Add(rows.narrow(0, window.first_owned - window.begin, window.end_owned - window.first_owned));", "document.Add(rows);"),
        ("long texts: chunks end inside words",
         "if (window.end < tokens) window.end = WordBoundary(words, begin + std::max(budget / 2, overlap), window.end);", ""),
        ("long texts: the maximum starts at 0", "at::full({width}, -std::numeric_limits<double>::infinity(), at::kDouble)", "at::zeros({width}, at::kDouble)"),
        ("long texts: vectors keep their length", "vector = UnitLength(vector);", ""),
        ("long texts: the left chunk owns the overlap", "(windows[i].end + windows[i + 1].begin + 1) / 2", "windows[i].end"),
    ]),
]
