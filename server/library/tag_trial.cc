#include "server/library/tag_trial.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/examples/word_windows.h"
#include "core/nn/device.h"
#include "core/nn/packed_batch.h"
#include "core/tagging/bio.h"
#include "core/tagging/viterbi.h"

namespace engram::server {
namespace {

// People, places and organisations in several languages.
constexpr std::array kSentences =
    std::to_array<const char*>({"Angela Merkel met Emmanuel Macron in Paris on Monday .",
                                "The United Nations in New York said that John Smith of Microsoft had left London .",
                                "Germany and France asked the European Union for help .",
                                "Peter Blackburn works for Siemens in Munich , Anna Berg for Nokia in Helsinki .",
                                "Real Madrid lost against Manchester United in Spain .",
                                "Der Vorstand der Deutschen Bank in Frankfurt dankte Hans Müller .",
                                "Le président de la République française , Jacques Chirac , a visité Bruxelles .",
                                "El presidente de Argentina viajó a Madrid con María García .",
                                "President Barack Obama spoke in Washington about China and Russia ."});

struct Starts {
  int64_t begin = 0, inside = 0;  // entities that begin with B-x, with I-x
};

absl::Status Count(const nn::Model& model, const checkpoint::ManifestTask& task, const tagging::TagSet& tags,
                   const tokenize::Tokenizer& tokenizer, std::string_view sentence, Starts& starts) {
  std::vector<std::string_view> words;
  for (const absl::string_view word : absl::StrSplit(AbslView(sentence), ' '))
    words.emplace_back(word.data(), word.size());
  ENGRAM_ASSIGN_OR_RETURN(examples::WordWindows windows,
                          examples::EncodeWordWindows(words, model.config().max_length(), tokenizer));
  examples::WordLogits logits(words.size(), tags);
  for (examples::WordWindow& window : windows.windows) {
    const nn::Sequence sequence{std::move(window.ids), {}};
    ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch batch, nn::Pack(std::span(&sequence, 1), at::Device(at::kCPU)));
    const at::Tensor rows = model.Predict(batch, {task.name, {}}, std::nullopt, nullptr).contiguous();
    logits.Take(window.rows, rows.const_data_ptr<float>());
  }
  // A model whose numbers overflow says so when it is asked.
  if (std::any_of(logits.values().begin(), logits.values().end(), [](float value) { return !std::isfinite(value); }))
    return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const tagging::ViterbiPath path,
                          tagging::Viterbi(tags, tagging::LogSoftmaxRows(logits.values(), tags.size())));
  int32_t before = tagging::TagSet::kNone;  // type of the word before
  for (const int32_t tag : path.tags) {
    const int32_t type = tag == tagging::TagSet::kNone ? tagging::TagSet::kNone : tags.type(tag);
    if (type != tagging::TagSet::kNone) {
      const bool begins = tags.prefix(tag) == tagging::TagPrefix::kBegin;
      starts.begin += begins ? 1 : 0;
      starts.inside += !begins && type != before ? 1 : 0;
    }
    before = type;
  }
  return absl::OkStatus();
}

}  // namespace

TagTrial JudgeTagScheme(int64_t begin, int64_t inside) {
  constexpr int64_t kFewest = 5, kTimes = 3;
  constexpr const char* kOpen = "the tagger's labels leave open whether it is of BIO2 or of IOB1; in a trial ";
  if (begin + inside < kFewest) {
    return {
        std::string(tagging::kLenientScheme),
        absl::StrCat(kOpen, "it found ", begin + inside,
                     " entities, too few to tell, so that both B-x and I-x begin an entity, which is right for either "
                     "where its tags are well-formed; --tag-scheme bio2 or iob1 (tag_scheme) says which it is")};
  }
  if (inside < kFewest || inside < kTimes * begin) return {};
  return {std::string(tagging::kIob1Scheme),
          absl::StrCat(kOpen, inside, " of ", inside + begin,
                       " entities began with I-x, so that it is read as IOB1; --tag-scheme bio2 (tag_scheme) reads it "
                       "otherwise")};
}

absl::StatusOr<TagTrial> TryTagScheme(const nn::Model& model, const checkpoint::ManifestTask& task,
                                      const tokenize::Tokenizer& tokenizer) {
  const auto labels = tagging::TagSet::FromTags(task.labels);
  const bool open = task.kind == checkpoint::TaskKind::kTokenClassification && labels.ok() &&
                    labels->reading() == tagging::TagReading::kBio2;
  if (!open) return TagTrial();
  ENGRAM_ASSIGN_OR_RETURN(const tagging::TagSet tags, tagging::TagSet::FromTags(task.labels, tagging::kLenientScheme));
  Starts starts;
  for (const char* sentence : kSentences) {
    ENGRAM_RETURN_IF_ERROR(nn::GuardTorch([&] { return Count(model, task, tags, tokenizer, sentence, starts); }));
  }
  return JudgeTagScheme(starts.begin, starts.inside);
}

}  // namespace engram::server
