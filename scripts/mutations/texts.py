"""Tokenizers and long texts."""
GROUPS = [
    ("server/inference/text_chunks.cc", "tests/integration/test_long_encode.py", [
        ("classes of documents: a sum of logits in the place of the mean", "return (sum.logits / sum.weight).to(at::kFloat);", "return sum.logits.to(at::kFloat);"),
        ("classes of documents: chunks count alike", "own.to(at::kDouble) * weight;\n    sum.logits", "own.to(at::kDouble);\n    weight = 1;\n    sum.logits"),
    ]),
    ("core/tokenize/text_windows.cc", "test_examples tests/integration/test_long_encode.py", [
        ("windows of texts: the last one is short", "/*overlap=*/0, LastWindow::kShifted))", "/*overlap=*/0, LastWindow::kShort))"),
        ("windows of texts: all tokens of a window count", "window.tokens(), window.owned());", "window.tokens(), window.tokens());"),
    ]),
    ("core/longcontext/attention_runs.cc", "test_longcontext", [
        ("plain attention under a mask: scores are not scaled", ".to(at::kFloat).mul_(scale).add_(mask);", ".to(at::kFloat).add_(mask);"),
        ("plain attention under a mask: parts are put together by no sums", "return {at::matmul(shares.to(v.scalar_type()), v), logsumexp};",
         "return {at::matmul(shares.to(v.scalar_type()), v), logsumexp * 0};"),
    ]),
    ("core/nn/text_windows.cc", "test_nn", [
        ("texts in windows: groups share their dropout", "mode->seed + kApart * group", "mode->seed"),
        ("texts in windows: a group holds one window too many", "if (groups.empty() || tokens + batch.length(i) > most_tokens)", "if (groups.empty() || tokens > most_tokens)"),
    ]),
    ("core/nn/model.cc", "test_nn", [
        ("texts in windows: every window gets the text's whole gradient", "gradient.logits = at::mm(tape.shares.t(), gradient.logits);",
         "gradient.logits = at::mm(tape.shares.t().gt(0).to(at::kFloat), gradient.logits);"),
        ("texts in windows: groups run back under other dropout", "all.queries, ModeOfGroup(all.mode, g), &tape)", "all.queries, ModeOfGroup(all.mode, g + 1), &tape)"),
        ("texts in windows: every group takes the first group's gradients", "rows[i] += logits[i].size(0);", "rows[i] += 0;"),
    ]),
    ("core/continual/importance.cc", "tests/parity/test_text_windows.py", [
        ("importance: texts in windows are squared window by window", "texts.back().in_windows = ++texts.back().windows > 1 || !examples[i].sequence.windows.empty();",
         "texts.back().in_windows = ++texts.back().windows > 1;"),
        ("importance: labels of a text in windows weigh alike", "probabilities.select(1, c).sqrt()).grad, forward, sum);", "probabilities.select(1, c)).grad, forward, sum);"),
    ]),
    ("server/inference/shape_plan.cc", "tests/integration/test_long_encode.py", [
        ("plan of a shape: a multiplication and an addition are one operation", "const double rows = 2 * nn::ProductsPerToken(config)", "const double rows = nn::ProductsPerToken(config)"),
        ("plan of a shape: the weights take no memory", "std::max<int64_t>(0, *machine.free_bytes - plan.weight_bytes())", "*machine.free_bytes"),
    ]),
    ("core/tokenize/bert_tokenizer.cc", "test_tokenize tests/parity/test_tokenizer.py", [
        ("tokenizer: a word with an unknown end keeps its known pieces", "Resize(out, before);", "Resize(out, out.ids.size());"),
        ("tokenizer: pieces inside a word are looked up as beginnings", "LongestPrefix(std::string_view(word.text).substr(at), at > 0, length)",
         "LongestPrefix(std::string_view(word.text).substr(at), false, length)"),
        ("tokenizer: longest words are not unknown", "bool known = word.characters <= options_.max_characters_per_word;", "bool known = true;"),
        ("tokenizer: special tokens in a text are letters", "value_or(options_.split_special_tokens)", "value_or(true)"),
        ("tokenizer: places are counted from the last special token", "counted = at;", ""),
    ]),
    ("core/tokenize/added_tokens.cc", "test_tokenize tests/parity/test_tokenizer.py", [
        ("added tokens: single words may touch words", "if (token.single_word && TouchesWord(text, begin, end)) continue;", ""),
        ("added tokens: special ones are found where they are split", "if (token.special && split_special) continue;", ""),
        ("added tokens: space before is left", "if (token.lstrip) begin =", "if (false) begin ="),
        ("added tokens: space that an earlier token took is taken again", "std::min(begin, from)), from);", "size_t{0}), size_t{0});"),
        ("added tokens: space behind is left", "if (token.rstrip) {", "if (false) {"),
        ("added tokens: of two that normalize alike the plain one is found", "return made.tokens_[i].special;", "return !made.tokens_[i].special;"),
        ("added tokens: they are looked for as they stand", "std::string content = normalize(token.content);", "std::string content = token.content;"),
    ]),
    ("core/tagging/readings.cc", "test_tagging", [
        ("IOB1: an entity begins inside of one", "* (1 - open);", ";"),
        ("IOB1: an entity ends before its end", "p * (1 - rows.Probability(span.end_word, inside))", "p"),
        ("BIOES: an open entity may end the text", "path.back() = best_closed(score);",
         "path.back() = static_cast<int32_t>(std::max_element(score.begin(), score.end()) - score.begin());"),
        ("BIOES: nothing follows an entity", "if (legal_end(tag) && (value > highest", "if (tag == tags.outside() && (value > highest"),
    ]),
    ("core/tokenize/bert_normalizer.h", "test_tokenize tests/parity/test_tokenizer.py", [
        ("normalizer: Chinese characters are no words", "const bool isolate = options_.chinese_chars && (flags & kFlagChinese) != 0;", "const bool isolate = false;"),
        ("normalizer: control characters stay", "if (options_.clean_text && (flags & kFlagRemoved) != 0) continue;", ""),
        ("normalizer: accents stay", "if ((FlagsOf(c) & kFlagDropped) == 0) Lower(c, source);", "Lower(c, source);"),
        ("normalizer: marks stay in the order of the text", "return a.combining_class < b.combining_class;", "return a.combining_class < 0 * b.combining_class;"),
    ]),
    ("core/tokenize/token_windows.cc", "test_tokenize test_longcontext", [
        ("long texts: chunks end inside words",
         "if (window.end < tokens) window.end = WordBoundary(words, begin + std::max(budget / 2, overlap), window.end);",
         "if (window.end < tokens) window.end = WordBoundary(words, window.end, window.end);"),
        ("long texts: the left chunk owns the overlap", "(windows[i].end + windows[i + 1].begin + 1) / 2", "windows[i].end"),
        ("long texts: the last window is short", "last.begin = std::min(last.begin, begin);", "last.begin = std::max(last.begin, begin);"),
    ]),
    ("core/longcontext/pooling.cc", "test_longcontext", [
        ("long texts: the mean is of one more", "value_ / static_cast<double>(count_)", "value_ / static_cast<double>(count_ + 1)"),
        ("long texts: the maximum starts at 0", "at::full({width}, -std::numeric_limits<double>::infinity(), at::kDouble)", "at::zeros({width}, at::kDouble)"),
        ("long texts: the last token is the first", "rows.select(0, rows.size(0) - 1)", "rows.select(0, 0)"),
        ("long texts: attention without temperature", ".sum().item<double>() / temperature_", ".sum().item<double>()"),
        ("long texts: what was summed is not scaled to the new largest score", "value_ *= scale;", ""),
        ("long texts: attention's weights do not sum to 1", "weight_ += weight;", "weight_ += 1;"),
    ]),
    ("core/longcontext/document.cc", "test_longcontext", [
        ("long texts: tokens of an overlap count twice", "if (document_.of_tokens()) document_.AddTokens(owned);", "if (document_.of_tokens()) document_.AddTokens(rows);"),
        ("long texts: vectors keep their length", "vector = nn::UnitLength(vector);", ""),
        ("late chunking: a window's first tokens count again", "before + window.first_owned - window.begin, window.owned()", "before, window.owned()"),
    ]),
    ("core/longcontext/attention_runs.cc", "test_longcontext", [
        ("streamed attention: the window is one token too wide", "own - shape.window, 0, keys)", "own - shape.window - 1, 0, keys)"),
        ("streamed attention: keys before the window are left out", "std::max<int64_t>(0, begin - window)", "begin"),
        ("streamed attention: two parts count alike", "at::exp(part.logsumexp - highest).unsqueeze(3);", "at::exp(0 * part.logsumexp).unsqueeze(3);"),
        ("streamed attention: heads that share keys follow one another by the group", "queries.narrow(0, begin, count).view({1, count, shape_.kv_heads, group, shape_.head_dim});",
         "queries.narrow(0, begin, count).view({1, count, group, shape_.kv_heads, shape_.head_dim}).transpose(2, 3);"),
    ]),
    ("core/longcontext/streamed_encoder.cc", "test_longcontext", [
        ("streamed encoder: each run turns as the first one", "rotations_->Rows(begin, count)", "rotations_->Rows(0, count)"),
        ("streamed encoder: the last norm is forgotten", "if (!encoder_.final_norm_.exists()) return true;", "return true;"),
    ]),
    ("core/longcontext/stream_cost.cc", "test_longcontext", [
        ("plan: the nearer of two windows", "return std::min(own, window);", "return std::max(own, window);"),
        ("plan: keys and values stand beside the feed-forward's runs", "std::max(tokens * 2 * keys * element + beside_all, run * row.behind * element)",
         "tokens * 2 * keys * element + beside_all + run * row.behind * element"),
    ]),
    ("core/longcontext/long_positions.cc", "test_longcontext", [
        ("positions: a static scale serves beyond the training", "return {follows ? nn::PositionMode::kTrained : nn::PositionMode::kDynamicYarn};", "return {nn::PositionMode::kTrained};"),
        ("positions: a window does not keep rotations within the training", "reach < 0 ? tokens - 1 : std::min(reach, tokens - 1)", "tokens - 1"),
    ]),
    ("core/nn/position_extension.cc", "test_nn", [
        ("hierarchical positions: another alpha", "constexpr double kAlpha = 0.4;", "constexpr double kAlpha = 0.5;"),
        ("hierarchical positions: coarse and fine change places", "Rows(table, p.floor_divide(n)) - origin", "Rows(table, p.remainder(n)) - origin"),
        ("grouped positions: a group too few", "(length + rows - 1) / rows", "length / rows"),
        ("interpolated positions: the share of the other row", "Rows(table, left) * (1 - share)", "Rows(table, left) * share"),
    ]),
]
