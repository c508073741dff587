#pragma once

// Which of a version's classification tasks a text belongs to, for calls that name none: multinomial naive Bayes over the
// tokens of the tasks' training texts (McCallum and Nigam, AAAI-98 workshop on text categorization), whatever the encoder
// has become since. For a text with tokens w_1 .. w_n, those left out that no task has,
//
//   P(t | text) ~ prod_i (count_t(w_i) + s) / (total_t + s V)
//
// count_t the tokens of task t's training texts, total_t their sum, V how many different tokens any task has, s = 0.1; all
// tasks count alike, whatever the size of their data. Counts are sums: texts can be taken out again, exactly.
//
// Stored with a version as the memory of kRouter (core/train/version_memory.h):
//   tensor.tokens.<task> (I32) ascending, .counts.<task> (I64) each above 0   [k]
//   tensor.texts.<task> (I64) ascending [n]: TokensDigest of each text that was counted
//   value "longest.<task>": tokens of the longest of them
//
// A value type; const methods are thread-safe.

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/train/example.h"
#include "core/train/version_memory.h"

namespace engram::train {

inline constexpr const char* kRouter = "router";

class TaskRouter {
 public:
  struct Choice {
    std::string task;
    double probability = 0;  // among the tasks that were to choose from; not calibrated
  };

  // DATA_LOSS with reason MEMORY_DAMAGED for what ToMemory does not write.
  static absl::StatusOr<TaskRouter> FromMemory(const VersionMemory& memory);
  VersionMemory ToMemory() const;

  // Counts the task's texts in place of those that were counted for it before. Tokens of `special` ([CLS], [SEP], ...) are
  // not counted; of a text that is read in windows the first one is.
  void Count(const std::string& task, std::span<const TrainingExample> texts, std::span<const int32_t> special);
  bool Knows(const std::string& task) const { return tasks_.contains(task); }
  bool empty() const { return tasks_.empty(); }
  // What was counted for the task is gone. Returns of how many texts it was.
  int64_t ForgetTask(const std::string& task);
  // Takes a text out of the counts of every task that has it, as often as it was counted; `ids`: all of its tokens, of
  // which a training may have read the first ones alone; `special` as in Count. Returns how often. Pairs of texts are not
  // found by one of them.
  int64_t ForgetText(std::span<const int32_t> ids, std::span<const int32_t> special);

  // The likeliest of `among`, of equal ones the first; nothing if none of them is known. Special tokens may be among `ids`.
  absl::StatusOr<Choice> Route(std::span<const int32_t> ids, std::span<const std::string> among) const;

 private:
  struct Counted {
    std::map<int32_t, int64_t> tokens;
    std::map<int64_t, int64_t> texts;  // digest -> how often
    int64_t total = 0, longest = 0;
  };
  void CountVocabulary();

  std::map<std::string, Counted> tasks_;
  std::set<int32_t> vocabulary_;  // tokens that any task has
};

}  // namespace engram::train
