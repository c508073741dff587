#pragma once

// What TagEntities and StreamTagEntities do with one text: words, windows, and from the windows' logits to entities.

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/examples/word_windows.h"
#include "core/nn/packed_batch.h"
#include "core/serve/served_version.h"
#include "core/tagging/aggregation.h"
#include "core/tagging/term_entities.h"
#include "core/tagging/words.h"
#include "engram/v1/inference.pb.h"
#include "server/inference/matcher_cache.h"

namespace engram::server {

// Logits that one call may take: 256 MiB.
inline constexpr size_t kMaxTaggingLogits = size_t{64} << 20;

// Who tags, and how. `tags` lives in `version`.
struct Tagger {
  std::shared_ptr<const serve::ServedVersion> version;
  std::string task;
  const tagging::TagSet* tags = nullptr;
  tagging::Aggregation aggregation = tagging::Aggregation::kFirst;
  bool sentences = false;
  std::optional<bool> split_special_tokens;
  std::shared_ptr<const annotate::TermMatcher> terms;  // nullptr: the tagger alone
  tagging::Precedence precedence = tagging::Precedence::kLongest;
};

// The tagger that a request means. NOT_FOUND (TASK_NOT_FOUND), INVALID_ARGUMENT (field "task" if it is empty and there
// are several, "aggregation" and "term_priority" for a value that is none, "terms" and "terms[i]..." for a list that is
// too long or that TermMatcher does not take, and for a term with several labels).
absl::StatusOr<Tagger> ChooseTagger(std::shared_ptr<const serve::ServedVersion> version,
                                    const engram::v1::TagEntitiesRequest& request, MatcherCache& matchers);

// One text on its way. Not thread-safe.
class TextTagging {
 public:
  // Cuts and tokenizes `text`, which outlives the object; errors are about `field`. The tagger outlives the object, too.
  absl::Status Prepare(const Tagger& tagger, std::string_view text, const std::string& field);
  // Words of the text, and tokens of them: also of a text that could not be tokenized as far as they are known.
  size_t words() const { return words_.size(); }
  int64_t tokens() const { return tokens_; }
  bool truncated() const { return truncated_; }

  // The sequences to encode, in order; their ids can be taken once.
  size_t windows() const { return windows_.size(); }
  nn::Sequence TakeSequence(size_t window) { return {std::move(windows_[window].ids), {}}; }
  // Makes room for the logits of all words: to be called before TakeLogits.
  void Reserve() { logits_.emplace(words_.size(), *tagger_->tags); }
  // fp32 [tokens of the window, tags].
  void TakeLogits(size_t window, const at::Tensor& logits);

  // Entities, sentences, and how the text was read. RESOURCE_EXHAUSTED (TOO_MANY_MATCHES) for more places of terms than
  // an answer holds.
  absl::Status Compose(engram::v1::TagEntitiesResult& result) const;

 private:
  // The tagger's entities with those of the list.
  absl::StatusOr<std::vector<tagging::MergedEntity>> Merge(std::vector<tagging::Entity> tagged) const;

  const Tagger* tagger_ = nullptr;
  std::string_view text_;
  std::vector<tagging::Word> words_;
  std::vector<examples::WordWindow> windows_;
  int32_t planned_ = 0;
  int64_t tokens_ = 0;
  bool truncated_ = false;
  std::optional<examples::WordLogits> logits_;
};

}  // namespace engram::server
