#include "server/inference/text_tagging.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"
#include "core/tagging/sentences.h"
#include "core/tagging/spans.h"
#include "core/tagging/words.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

// Of one text, each place counted once for every term that stands there.
constexpr size_t kMaxPlaces = 1'000'000;

absl::StatusOr<tagging::Aggregation> ParseAggregation(engram::v1::EntityAggregation asked) {
  switch (asked) {
    case engram::v1::ENTITY_AGGREGATION_UNSPECIFIED:
    case engram::v1::ENTITY_AGGREGATION_FIRST:
      return tagging::Aggregation::kFirst;
    case engram::v1::ENTITY_AGGREGATION_AVERAGE:
      return tagging::Aggregation::kAverage;
    case engram::v1::ENTITY_AGGREGATION_MAX:
      return tagging::Aggregation::kMax;
    default:
      return InvalidField("aggregation", "is no way to put a word's tokens together: first, average or max");
  }
}

absl::StatusOr<tagging::Precedence> ParsePriority(engram::v1::TermPriority asked) {
  switch (asked) {
    case engram::v1::TERM_PRIORITY_UNSPECIFIED:
    case engram::v1::TERM_PRIORITY_LONGEST:
      return tagging::Precedence::kLongest;
    case engram::v1::TERM_PRIORITY_TAGGER:
      return tagging::Precedence::kTagger;
    case engram::v1::TERM_PRIORITY_TERMS:
      return tagging::Precedence::kTerms;
    default:
      return InvalidField("term_priority", "is no way to choose between terms and a tagger: longest, tagger or terms");
  }
}

absl::StatusOr<std::shared_ptr<const annotate::TermMatcher>> OpenTerms(const TermList& terms, MatcherCache& matchers) {
  if (terms.empty()) return nullptr;
  ENGRAM_RETURN_IF_ERROR(CheckTerms(terms));
  for (int i = 0; i < terms.size(); ++i) {
    if (terms[i].labels_size() > 1) {
      return InvalidField(absl::StrCat("terms[", i, "].labels"),
                          "are several; beside a tagger a term has one, the type of its entities");
    }
  }
  return matchers.Get(terms);
}

// Words that the place touches; of a place of control characters, which are of no word, the one behind it or the last.
void SetWords(const std::vector<tagging::Word>& words, tagging::Entity& entity) {
  const auto first = std::partition_point(words.begin(), words.end(),
                                          [&](const tagging::Word& word) { return word.end <= entity.start; });
  const auto end =
      std::partition_point(first, words.end(), [&](const tagging::Word& word) { return word.start < entity.end; });
  entity.first_word = static_cast<int32_t>(std::min<std::ptrdiff_t>(first - words.begin(), std::ssize(words) - 1));
  entity.end_word = std::max(entity.first_word + 1, static_cast<int32_t>(end - words.begin()));
}

engram::v1::EntitySource SourceOf(const tagging::MergedEntity& merged) {
  if (!merged.tagged) return engram::v1::ENTITY_SOURCE_TERM;
  return merged.term < 0 ? engram::v1::ENTITY_SOURCE_TAGGER : engram::v1::ENTITY_SOURCE_BOTH;
}

void AddEntity(const tagging::Entity& from, engram::v1::Entity& to) {
  to.set_type(from.type);
  to.set_text(from.text);
  to.set_start(from.start);
  to.set_end(from.end);
  to.set_start_byte(from.start_byte);
  to.set_end_byte(from.end_byte);
  to.set_score(from.score);
}

}  // namespace

absl::StatusOr<Tagger> ChooseTagger(std::shared_ptr<const serve::ServedVersion> version,
                                    const engram::v1::TagEntitiesRequest& request, MatcherCache& matchers) {
  const std::string asked = ShortTaskName(version->model, request.task());
  if (asked.empty() && version->tag_sets.size() > 1) {
    return InvalidField(
        "task", absl::StrCat("is empty, and this version has ", version->tag_sets.size(), " taggers; name one"));
  }
  const auto found = asked.empty() ? version->tag_sets.begin() : version->tag_sets.find(asked);
  if (found == version->tag_sets.end()) {
    return StatusWithReason(absl::StatusCode::kNotFound, "TASK_NOT_FOUND",
                            asked.empty()
                                ? "this version has learned no tagger; train one from a CoNLL data set first"
                                : absl::StrCat("this version has no tagger \"", AbslView(CutUtf8(asked, 64)), "\""));
  }
  Tagger tagger;
  ENGRAM_ASSIGN_OR_RETURN(tagger.aggregation, ParseAggregation(request.aggregation()));
  ENGRAM_ASSIGN_OR_RETURN(tagger.precedence, ParsePriority(request.term_priority()));
  ENGRAM_ASSIGN_OR_RETURN(tagger.terms, OpenTerms(request.terms(), matchers));
  tagger.task = found->first;
  tagger.tags = &found->second;
  tagger.sentences = request.sentences();
  if (request.has_split_special_tokens()) tagger.split_special_tokens = request.split_special_tokens();
  tagger.version = std::move(version);
  return tagger;
}

absl::Status TextTagging::Prepare(const Tagger& tagger, std::string_view text, const std::string& field) {
  tagger_ = &tagger;
  text_ = text;
  absl::StatusOr<std::vector<tagging::Word>> words = tagging::SplitWords(text);
  if (!words.ok()) return InvalidField(field, "is not UTF-8");
  if (words->empty()) return InvalidField(field, "is empty; send some text");
  words_ = *std::move(words);
  std::vector<std::string_view> views;
  for (const tagging::Word& word : words_) views.push_back(word.In(text));
  ENGRAM_ASSIGN_OR_RETURN(examples::WordWindows made,
                          examples::EncodeWordWindows(views, tagger.version->max_tokens(), *tagger.version->tokenizer,
                                                      tagger.split_special_tokens));
  planned_ = made.planned;
  tokens_ = static_cast<int64_t>(made.ids.size());
  truncated_ = made.word_cut;
  windows_ = std::move(made.windows);
  return absl::OkStatus();
}

void TextTagging::TakeLogits(size_t window, const at::Tensor& logits) {
  const examples::WordWindow& from = windows_[window];
  const at::Tensor rows = logits.contiguous();
  logits_->Take(from.rows, from.pieces, tagger_->aggregation, rows.const_data_ptr<float>());
}

absl::StatusOr<std::vector<tagging::MergedEntity>> TextTagging::Merge(std::vector<tagging::Entity> tagged) const {
  std::vector<tagging::Entity> listed;
  std::vector<int32_t> terms;
  if (tagger_->terms != nullptr) {
    ENGRAM_ASSIGN_OR_RETURN(const annotate::TermMatches found, tagger_->terms->Match(text_, kMaxPlaces));
    for (const annotate::TermMatch& match : found.matches) {
      terms.push_back(match.terms.front());
      tagging::Entity& entity = listed.emplace_back();
      entity.type = tagger_->terms->terms()[static_cast<size_t>(match.terms.front())].labels.front();
      entity.text =
          text_.substr(static_cast<size_t>(match.start_byte), static_cast<size_t>(match.end_byte - match.start_byte));
      entity.start = match.start;
      entity.end = match.end;
      entity.start_byte = match.start_byte;
      entity.end_byte = match.end_byte;
      entity.score = 1;
      SetWords(words_, entity);
    }
  }
  return tagging::MergeEntities(std::move(tagged), std::move(listed), terms, tagger_->precedence);
}

absl::Status TextTagging::Compose(engram::v1::TagEntitiesResult& result) const {
  ENGRAM_ASSIGN_OR_RETURN(std::vector<tagging::Entity> tagged,
                          tagging::DecodeEntities(text_, words_, *tagger_->tags, logits_->values()));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<tagging::MergedEntity> merged, Merge(std::move(tagged)));
  std::vector<tagging::Entity> entities;
  entities.reserve(merged.size());
  for (const tagging::MergedEntity& one : merged) entities.push_back(one.entity);
  std::vector<tagging::SentenceOfWords> sentences;
  if (tagger_->sentences) {
    ENGRAM_ASSIGN_OR_RETURN(sentences, tagging::FindSentences(text_, words_, entities));
  }
  result.set_tokens(tokens_);
  result.set_truncated(truncated_);
  result.set_windows(planned_);
  int64_t sentence = 0;
  for (const tagging::MergedEntity& one : merged) {
    const tagging::Entity& from = one.entity;
    engram::v1::Entity& entity = *result.add_entities();
    AddEntity(from, entity);
    if (tagger_->terms != nullptr) entity.set_source(SourceOf(one));
    if (one.term >= 0) entity.set_term(one.term);
    if (sentences.empty()) continue;
    while (sentences[static_cast<size_t>(sentence)].end_word <= from.first_word) ++sentence;
    entity.set_sentence(sentence);
  }
  for (const tagging::SentenceOfWords& from : sentences) {
    const tagging::Word &first = words_[static_cast<size_t>(from.first_word)],
                        &last = words_[static_cast<size_t>(from.end_word - 1)];
    engram::v1::TextRange& range = *result.add_sentences();
    range.set_start(first.start);
    range.set_end(last.end);
    range.set_start_byte(first.start_byte);
    range.set_end_byte(last.end_byte);
  }
  return absl::OkStatus();
}

}  // namespace engram::server
