#include "server/worker/examples.h"

#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/tagging/entity_scores.h"
#include "core/tagging/viterbi.h"
#include "core/tagging/windows.h"

namespace engram::worker {
namespace {

constexpr int64_t kSpecialTokens = 2;

std::map<std::string, int64_t> Numbers(const std::vector<std::string>& labels) {
  std::map<std::string, int64_t> numbers;
  for (size_t i = 0; i < labels.size(); ++i) numbers[labels[i]] = static_cast<int64_t>(i);
  return numbers;
}

absl::Status Classified(const corpus::Dataset& dataset, const std::vector<std::string>& labels, int64_t max_length,
                        const tokenize::Tokenizer& tokenizer, Examples& out) {
  const std::map<std::string, int64_t> numbers = Numbers(labels);
  tokenize::EncodeOptions options;
  options.max_length = max_length;
  options.truncation = tokenize::Truncation::kLongestFirst;
  for (size_t i = 0; i < dataset.texts.size(); ++i) {
    const auto number = numbers.find(dataset.labels[i]);
    if (number == numbers.end()) {
      return InvalidField(absl::StrCat("rows[", i, "].label"),
                          absl::StrCat("\"", dataset.labels[i], "\" is no label of the task"));
    }
    ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding encoding, tokenizer.Encode(dataset.texts[i], options));
    out.cut += encoding.truncated() ? 1 : 0;
    train::TrainingExample example;
    example.sequence = {std::move(encoding.ids), {}};
    example.label = number->second;
    out.examples.push_back(std::move(example));
  }
  return absl::OkStatus();
}

absl::Status AddGold(const corpus::TaggedSentence& sentence, const std::map<std::string, int64_t>& numbers,
                     SentencePlaces& places) {
  std::vector<int32_t>& gold = places.gold.emplace_back();
  for (const std::string& tag : sentence.tags) {
    const auto number = numbers.find(tag);
    if (number == numbers.end())
      return InvalidField("rows", absl::StrCat("the tag \"", tag, "\" is no tag of the task"));
    gold.push_back(static_cast<int32_t>(number->second));
  }
  return absl::OkStatus();
}

// One window of the sentence whose gold tags were added last.
absl::Status AddWindow(const corpus::TaggedSentence& sentence, const tagging::WordWindow& window, int64_t max_length,
                       const tokenize::Tokenizer& tokenizer, Examples& out) {
  std::vector<std::string_view> words(sentence.words.begin() + window.first_word,
                                      sentence.words.begin() + window.end_word);
  tokenize::EncodeOptions options;
  options.max_length = max_length;
  options.truncation = tokenize::Truncation::kLongestFirst;  // acts only on a single word longer than the window
  ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding encoding, tokenizer.EncodeWords(words, options));
  train::TrainingExample example;
  SentencePlaces::Window place{out.places.gold.size() - 1, {}};
  int32_t previous = -1;
  for (const int32_t word : encoding.words) {
    const int32_t in_sentence = word + window.first_word;
    const bool first_token = word >= 0 && word != previous;
    const bool owned = in_sentence >= window.first_owned && in_sentence < window.end_owned;
    previous = word;
    if (!first_token || !owned) {
      example.tags.push_back(nn::ops::kIgnored);
      continue;
    }
    example.tags.push_back(out.places.gold.back()[static_cast<size_t>(in_sentence)]);
    place.words.push_back(in_sentence);
  }
  example.sequence = {std::move(encoding.ids), {}};
  if (place.words.empty()) return absl::OkStatus();
  example.continues = !out.places.windows.empty() && out.places.windows.back().sentence == place.sentence;
  out.examples.push_back(std::move(example));
  out.places.windows.push_back(std::move(place));
  return absl::OkStatus();
}

absl::Status Tagged(const corpus::Dataset& dataset, const std::vector<std::string>& labels, int64_t max_length,
                    const tokenize::Tokenizer& tokenizer, Examples& out) {
  const std::map<std::string, int64_t> numbers = Numbers(labels);
  const auto budget = static_cast<int32_t>(max_length - kSpecialTokens);
  tokenize::EncodeOptions bare;
  bare.add_special_tokens = false;
  for (const corpus::TaggedSentence& sentence : dataset.sentences) {
    ENGRAM_RETURN_IF_ERROR(AddGold(sentence, numbers, out.places));
    const std::vector<std::string_view> words(sentence.words.begin(), sentence.words.end());
    ENGRAM_ASSIGN_OR_RETURN(const tokenize::Encoding encoding, tokenizer.EncodeWords(words, bare));
    std::vector<int32_t> counts(words.size(), 0);
    for (const int32_t word : encoding.words) ++counts[static_cast<size_t>(word)];
    ENGRAM_ASSIGN_OR_RETURN(const auto windows,
                            tagging::PlanWordWindows(counts, budget, tagging::DefaultOverlap(budget)));
    out.cut += std::any_of(windows.begin(), windows.end(), [](const auto& window) { return window.word_cut; }) ? 1 : 0;
    for (const tagging::WordWindow& window : windows) {
      ENGRAM_RETURN_IF_ERROR(AddWindow(sentence, window, max_length, tokenizer, out));
    }
  }
  return absl::OkStatus();
}

absl::Status Plain(const corpus::Dataset& dataset, int64_t max_length, const tokenize::Tokenizer& tokenizer,
                   Examples& out) {
  const int64_t budget = max_length - kSpecialTokens;
  tokenize::EncodeOptions bare;
  bare.add_special_tokens = false;
  for (const std::string& text : dataset.texts) {
    ENGRAM_ASSIGN_OR_RETURN(const tokenize::Encoding encoding, tokenizer.Encode(text, bare));
    const auto count = static_cast<int64_t>(encoding.ids.size());
    for (int64_t begin = 0; begin < count; begin += budget) {
      train::TrainingExample example;
      example.sequence.ids.push_back(tokenizer.special_ids().cls);
      example.sequence.ids.insert(example.sequence.ids.end(), encoding.ids.begin() + begin,
                                  encoding.ids.begin() + std::min(count, begin + budget));
      example.sequence.ids.push_back(tokenizer.special_ids().sep);
      out.examples.push_back(std::move(example));
    }
  }
  return absl::OkStatus();
}

}  // namespace

int64_t Examples::texts() const {
  return std::count_if(examples.begin(), examples.end(), [](const auto& example) { return !example.continues; });
}

absl::StatusOr<Examples> MakeExamples(const corpus::Dataset& dataset, checkpoint::TaskKind kind,
                                      const std::vector<std::string>& labels, int64_t max_length,
                                      const tokenize::Tokenizer& tokenizer) {
  Examples out;
  switch (kind) {
    case checkpoint::TaskKind::kSequenceClassification:
      if (dataset.kind != corpus::DatasetKind::kClassification) return InvalidField("dataset", "has no labels");
      ENGRAM_RETURN_IF_ERROR(Classified(dataset, labels, max_length, tokenizer, out));
      break;
    case checkpoint::TaskKind::kTokenClassification:
      if (dataset.kind != corpus::DatasetKind::kTagging) return InvalidField("dataset", "has no tags");
      ENGRAM_RETURN_IF_ERROR(Tagged(dataset, labels, max_length, tokenizer, out));
      break;
    case checkpoint::TaskKind::kMaskedLanguageModel:
      if (dataset.kind == corpus::DatasetKind::kTagging)
        return InvalidField("dataset", "holds tagged words; plain text is needed");
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

train::TokenMetric EntityF1(const tagging::TagSet& tags) {
  return [tags](std::span<const train::TrainingExample> examples,
                std::span<const at::Tensor> logits) -> absl::StatusOr<double> {
    tagging::EntityScorer scorer(tags);
    for (size_t i = 0; i < examples.size(); ++i) {
      std::vector<int32_t> gold;
      std::vector<float> rows;
      for (size_t token = 0; token < examples[i].tags.size(); ++token) {
        if (examples[i].tags[token] == nn::ops::kIgnored) continue;
        gold.push_back(static_cast<int32_t>(examples[i].tags[token]));
        const float* row = logits[i].const_data_ptr<float>() + static_cast<int64_t>(token) * tags.size();
        rows.insert(rows.end(), row, row + tags.size());
      }
      ENGRAM_ASSIGN_OR_RETURN(const tagging::ViterbiPath path,
                              tagging::Viterbi(tags, tagging::LogSoftmaxRows(rows, tags.size())));
      ENGRAM_RETURN_IF_ERROR(scorer.Add(gold, path.tags));
    }
    return scorer.Scores().micro.f1;
  };
}

train::TokenMetric SentenceEntityF1(const tagging::TagSet& tags, SentencePlaces places) {
  return [tags, places = std::move(places)](std::span<const train::TrainingExample> examples,
                                            std::span<const at::Tensor> logits) -> absl::StatusOr<double> {
    constexpr float kCertain = 30;
    const auto width = static_cast<size_t>(tags.size());
    std::vector<std::vector<float>> rows;
    for (const std::vector<int32_t>& gold : places.gold) {
      rows.emplace_back(gold.size() * width, 0.0F);
      for (size_t word = 0; word < gold.size(); ++word)
        rows.back()[word * width + static_cast<size_t>(tags.outside())] = kCertain;
    }
    for (size_t i = 0; i < examples.size(); ++i) {
      const SentencePlaces::Window& window = places.windows[i];
      auto word = window.words.begin();
      for (size_t token = 0; token < examples[i].tags.size(); ++token) {
        if (examples[i].tags[token] == nn::ops::kIgnored) continue;
        const float* row = logits[i].const_data_ptr<float>() + token * width;
        std::copy(row, row + width, &rows[window.sentence][static_cast<size_t>(*word++) * width]);
      }
    }
    tagging::EntityScorer scorer(tags);
    for (size_t sentence = 0; sentence < rows.size(); ++sentence) {
      ENGRAM_ASSIGN_OR_RETURN(const tagging::ViterbiPath path,
                              tagging::Viterbi(tags, tagging::LogSoftmaxRows(rows[sentence], tags.size())));
      ENGRAM_RETURN_IF_ERROR(scorer.Add(places.gold[sentence], path.tags));
    }
    return scorer.Scores().micro.f1;
  };
}

}  // namespace engram::worker
