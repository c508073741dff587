#pragma once

// Which of a version's classification tasks a text belongs to, for calls that name none: naive Bayes over the tokens of
// the tasks' training texts with one component for each label (Nigam et al., Machine Learning 39, 2000), each smoothed by
// its task's (a Dirichlet prior; Zhai and Lafferty, SIGIR 2001). No encoder is asked: the router holds whatever the
// encoder has become since. For a text with tokens w_1 .. w_n, those left out that no task has,
//
//   P(t | text) ~ sum_l n_l / n_t prod_i (c_l(w_i) + m p_t(w_i)) / (c_l + m)     l over the labels of task t
//   p_t(w) = (c_t(w) + s) / (c_t + s V)
//
// n texts, c tokens, V how many different tokens any task has, s = 0.03, m = 1000; all tasks count alike, whatever the
// size of their data. Counts are sums: texts can be taken out again, exactly.
//
// Stored with a version as the memory of kRouter (core/train/version_memory.h), of each task ascending by label, then token
// or digest:
//   tensor.token_labels.<task>, .tokens.<task> (I32), .counts.<task> (I64) above 0    [k]
//   tensor.text_labels.<task> (I32), .texts.<task> (I64)                              [n] TokensDigest of each text
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

  // That of a version's directory; an empty one if it has none.
  static absl::StatusOr<TaskRouter> Open(const std::string& directory);
  // DATA_LOSS with reason MEMORY_DAMAGED for what ToMemory does not write.
  static absl::StatusOr<TaskRouter> FromMemory(const VersionMemory& memory);
  VersionMemory ToMemory() const;

  // Counts the task's texts by their labels, in place of those that were counted for it before; beside them if the task
  // `grows` (its texts bring further labels). Tokens of `special` ([CLS], [SEP], ...) are not counted; of a text that is
  // read in windows the first one is.
  void Count(const std::string& task, std::span<const TrainingExample> texts, std::span<const int32_t> special,
             bool grows = false);
  bool Knows(const std::string& task) const { return tasks_.contains(task); }
  bool empty() const { return tasks_.empty(); }
  // What was counted for the task is gone. Returns of how many texts it was.
  int64_t ForgetTask(const std::string& task);
  // Takes a text out of the counts of every task that has it, as often as it was counted; `ids`: all of its tokens, of
  // which a training may have read the first ones alone; `special` as in Count. Returns how often. Pairs of texts are not
  // found by one of them.
  int64_t ForgetText(std::span<const int32_t> ids, std::span<const int32_t> special);

  // The likeliest of `among`, of equal ones the first; FAILED_PRECONDITION if none of them is known. Special tokens may be
  // among `ids`.
  absl::StatusOr<Choice> Route(std::span<const int32_t> ids, std::span<const std::string> among) const;

 private:
  struct Component {
    std::map<int32_t, int64_t> tokens;
    std::map<int64_t, int64_t> texts;  // digest -> how often
    int64_t token_count = 0, text_count = 0;
  };
  struct Counted {
    std::map<int32_t, Component> labels;
    int64_t longest = 0;
    // Of all labels together.
    std::map<int32_t, int64_t> tokens;
    int64_t token_count = 0, text_count = 0;
  };
  static absl::StatusOr<Counted> Read(const VersionMemory& memory, const std::string& task);
  static int64_t ForgetText(std::span<const int32_t> content, Counted& counted);
  double LogLikelihood(const Counted& counted, std::span<const int32_t> ids) const;
  // Sums over labels and over tasks; a label or task without texts is gone.
  void Finish();

  std::map<std::string, Counted> tasks_;
  std::set<int32_t> vocabulary_;  // tokens that any task has
};

}  // namespace engram::train
