#include "core/examples/examples.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/tagging/spans.h"
#include "core/tokenize/text_windows.h"

namespace engram::examples {
namespace {

std::map<std::string, int64_t> Numbers(const std::vector<std::string>& labels) {
  std::map<std::string, int64_t> numbers;
  for (size_t i = 0; i < labels.size(); ++i) numbers[labels[i]] = static_cast<int64_t>(i);
  return numbers;
}

absl::StatusOr<int64_t> Digest(std::string_view text, const tokenize::Tokenizer& tokenizer) {
  tokenize::EncodeOptions bare;
  bare.add_special_tokens = false;
  ENGRAM_ASSIGN_OR_RETURN(const tokenize::Encoding encoding, tokenizer.Encode(text, bare));
  return train::TokensDigest(encoding.ids);
}

// A text or pair up to its `max_length`th token.
absl::Status ReadBeginning(const corpus::Dataset& dataset, size_t i, int64_t max_length,
                           const tokenize::Tokenizer& tokenizer, int64_t token_types, train::TrainingExample& example) {
  const bool pairs = dataset.kind == corpus::DatasetKind::kPairs;
  tokenize::EncodeOptions options;
  options.max_length = max_length;
  options.truncation = tokenize::Truncation::kLongestFirst;
  ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding encoding,
                          pairs ? tokenizer.EncodePair(dataset.texts[i], dataset.second_texts[i], options)
                                : tokenizer.Encode(dataset.texts[i], options));
  if (encoding.truncated()) {
    ENGRAM_ASSIGN_OR_RETURN(example.whole[0], Digest(dataset.texts[i], tokenizer));
    if (pairs) {
      ENGRAM_ASSIGN_OR_RETURN(example.whole[1], Digest(dataset.second_texts[i], tokenizer));
    }
  }
  example.sequence.ids = std::move(encoding.ids);
  if (pairs && token_types > 1) example.sequence.type_ids = std::move(encoding.type_ids);
  return absl::OkStatus();
}

// All of a text, in windows where it has more than `max_length` tokens.
absl::Status ReadWhole(std::string_view text, int64_t max_length, const tokenize::Tokenizer& tokenizer,
                       train::TrainingExample& example) {
  ENGRAM_ASSIGN_OR_RETURN(tokenize::TextWindows windows, tokenize::EncodeInWindows(tokenizer, text, max_length));
  example.sequence.ids = std::move(windows.ids);
  if (windows.windows.size() == 1) return absl::OkStatus();
  for (const tokenize::TextWindows::Window& window : windows.windows)
    example.sequence.windows.push_back({window.tokens, window.counted});
  example.whole[0] = train::TokensDigest(windows.content);
  return absl::OkStatus();
}

absl::Status Classified(const corpus::Dataset& dataset, const std::vector<std::string>& labels, int64_t max_length,
                        const tokenize::Tokenizer& tokenizer, int64_t token_types, train::LongTexts long_texts,
                        ExampleSet& out) {
  const bool whole = long_texts == train::LongTexts::kChunk;
  if (whole && dataset.kind == corpus::DatasetKind::kPairs)
    return InvalidField("long_texts", "reads single texts whole; of a pair no window would hold both");
  const std::map<std::string, int64_t> numbers = Numbers(labels);
  for (size_t i = 0; i < dataset.texts.size(); ++i) {
    const auto number = numbers.find(std::string(dataset.labels[i]));
    if (number == numbers.end()) {
      return InvalidField(absl::StrCat("rows[", i, "].label"),
                          absl::StrCat("\"", AbslView(dataset.labels[i]), "\" is no label of the task"));
    }
    train::TrainingExample example;
    ENGRAM_RETURN_IF_ERROR(whole ? ReadWhole(dataset.texts[i], max_length, tokenizer, example)
                                 : ReadBeginning(dataset, i, max_length, tokenizer, token_types, example));
    out.cut += !whole && example.whole[0] != 0 ? 1 : 0;
    example.label = number->second;
    example.source = static_cast<int64_t>(i);
    out.examples.push_back(std::move(example));
  }
  return absl::OkStatus();
}

// One window of the sentence whose gold tags were added last. A window without a counted token teaches nothing. `whole`:
// of the sentence, 0 if this is its only window and has all of it.
void AddWindow(WordWindow window, int64_t whole, ExampleSet& out) {
  if (window.rows.empty()) return;
  const size_t sentence = out.places.gold.size() - 1;
  const std::vector<int32_t>& gold = out.places.gold.back();
  train::TrainingExample example;
  example.tags.assign(window.ids.size(), nn::ops::kIgnored);
  for (const auto& [token, word] : window.rows) {
    const int32_t tag = gold[static_cast<size_t>(word)];
    if (tag == tagging::TagSet::kNone) {
      example.missing.push_back(token);
    } else {
      example.tags[static_cast<size_t>(token)] = tag;
    }
  }
  example.sequence = {std::move(window.ids), {}};
  example.source = static_cast<int64_t>(sentence);
  example.whole[0] = whole;
  example.continues = !out.places.windows.empty() && out.places.windows.back().sentence == sentence;
  out.examples.push_back(std::move(example));
  out.places.windows.push_back({sentence, std::move(window.rows)});
}

// Tags that make no entities, as ids.
absl::StatusOr<std::vector<int32_t>> IdsOfWords(const tagging::TagSet& tags, const std::vector<std::string>& words) {
  std::vector<int32_t> ids;
  for (const std::string& tag : words) {
    ids.push_back(tags.Find(tag));
    if (ids.back() == tagging::TagSet::kNone)
      return InvalidField("rows", absl::StrCat("\"", tag, "\" is no tag of the task"));
  }
  return ids;
}

absl::Status Tagged(const corpus::Dataset& dataset, const std::vector<std::string>& labels, int64_t max_length,
                    const tokenize::Tokenizer& tokenizer, std::string_view tag_scheme, ExampleSet& out) {
  ENGRAM_ASSIGN_OR_RETURN(const tagging::TagSet tags, tagging::TagSet::FromTags(labels, tag_scheme));
  const bool of_words = dataset.kind == corpus::DatasetKind::kWordTags;
  if (!of_words && tags.outside() == tagging::TagSet::kNone) {
    return InvalidField("dataset", "has entities, and the task's tags have no \"O\" for the words outside of them");
  }
  if (of_words && tags.reading() != tagging::TagReading::kWords)
    return InvalidField("dataset", "has tags of words, and the task's tags make entities");
  for (const corpus::TaggedSentence& sentence : dataset.sentences) {
    ENGRAM_ASSIGN_OR_RETURN(std::vector<int32_t> gold,
                            of_words ? IdsOfWords(tags, sentence.tags) : tagging::IdsOfBio2(tags, sentence.tags));
    out.places.gold.push_back(std::move(gold));
    const std::vector<std::string_view> words(sentence.words.begin(), sentence.words.end());
    ENGRAM_ASSIGN_OR_RETURN(WordWindows windows, EncodeWordWindows(words, max_length, tokenizer));
    out.cut += windows.word_cut ? 1 : 0;
    const int64_t whole = windows.windows.size() > 1 || windows.word_cut ? train::TokensDigest(windows.ids) : 0;
    for (WordWindow& window : windows.windows) AddWindow(std::move(window), whole, out);
  }
  return absl::OkStatus();
}

absl::Status Plain(const corpus::Dataset& dataset, int64_t max_length, const tokenize::Tokenizer& tokenizer,
                   ExampleSet& out) {
  const int64_t budget = max_length - tokenizer.frame().size();
  if (budget < 1) return InvalidField("max_length", "leaves no room beside the special tokens");
  tokenize::EncodeOptions bare;
  bare.add_special_tokens = false;
  for (size_t i = 0; i < dataset.texts.size(); ++i) {
    ENGRAM_ASSIGN_OR_RETURN(const tokenize::Encoding encoding, tokenizer.Encode(dataset.texts[i], bare));
    const std::span<const int32_t> ids(encoding.ids);
    for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(budget)) {
      train::TrainingExample example;
      example.sequence.ids =
          tokenizer.frame().Around(ids.subspan(begin, std::min(ids.size() - begin, static_cast<size_t>(budget))));
      example.source = static_cast<int64_t>(i);
      out.examples.push_back(std::move(example));
    }
  }
  return absl::OkStatus();
}

}  // namespace

int64_t ExampleSet::texts() const {
  return std::count_if(examples.begin(), examples.end(), [](const auto& example) { return !example.continues; });
}

absl::StatusOr<ExampleSet> MakeExamples(const corpus::Dataset& dataset, checkpoint::TaskKind kind,
                                        const std::vector<std::string>& labels, int64_t max_length,
                                        const tokenize::Tokenizer& tokenizer, int64_t token_types,
                                        std::string_view tag_scheme, train::LongTexts long_texts) {
  ExampleSet out;
  switch (kind) {
    case checkpoint::TaskKind::kSequenceClassification:
      if (!corpus::HasLabels(dataset.kind)) return InvalidField("dataset", "has no labels");
      ENGRAM_RETURN_IF_ERROR(Classified(dataset, labels, max_length, tokenizer, token_types, long_texts, out));
      break;
    case checkpoint::TaskKind::kTokenClassification:
      if (!corpus::HasTags(dataset.kind)) return InvalidField("dataset", "has no tags");
      ENGRAM_RETURN_IF_ERROR(Tagged(dataset, labels, max_length, tokenizer, tag_scheme, out));
      break;
    case checkpoint::TaskKind::kMaskedLanguageModel:
      if (corpus::HasTags(dataset.kind)) return InvalidField("dataset", "holds tagged words; plain text is needed");
      if (dataset.kind == corpus::DatasetKind::kPairs)
        return InvalidField("dataset", "holds pairs of texts; plain text is needed");
      ENGRAM_RETURN_IF_ERROR(Plain(dataset, max_length, tokenizer, out));
      break;
  }
  if (out.examples.empty()) return InvalidField("dataset", "has no text with a token that the tokenizer knows");
  return out;
}

std::optional<std::string> CutWarning(int64_t cut, int64_t texts, std::string_view which, int64_t max_length,
                                      int64_t window) {
  if (cut == 0) return std::nullopt;
  const std::string what = absl::StrCat("TEXTS_CUT: ", cut, " of ", texts, " ", AbslView(which), " are cut at ");
  if (max_length < window) return absl::StrCat(what, "max_length=", max_length, " tokens; raise it to use all of them");
  return absl::StrCat(what, "the ", window, " tokens that the model takes");
}

int64_t TotalTokens(std::span<const train::TrainingExample> examples) {
  int64_t tokens = 0;
  for (const train::TrainingExample& example : examples) tokens += static_cast<int64_t>(example.sequence.ids.size());
  return tokens;
}

}  // namespace engram::examples
