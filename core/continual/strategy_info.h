#pragma once

// What can be known of a strategy without making it: its name, options, needs and cost. Planning a job, estimating it
// and describing strategies to users need no more, and no libtorch. core/continual/registry.h makes strategies.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/options.h"
#include "core/base/status.h"

namespace engram::continual {

// What a strategy takes from its surroundings.
struct StrategyNeeds {
  bool consolidations = false;    // importance and anchors of earlier tasks; refused where there are none
  bool examples = false;          // the task's training examples
  bool teacher = false;           // a frozen copy of the model as it was before the task
  bool added_parameters = false;  // parameters of its own beside the encoder's and the head's
  bool memory = false;            // tensors or rows that are stored with the version for later tasks
};

// Sizes of a run, as far as they are known before it starts.
struct StrategySizes {
  int64_t encoder_bytes = 0;  // of the encoder's weights in fp32
  int64_t consolidations = 0;
  int64_t training_examples = 0;
  int64_t longest_example = 0;  // tokens
  int64_t stored_examples = 0;  // of earlier tasks, that the strategy keeps with the version
  int64_t most_labels = 0;      // of a task
  int64_t labels = 0;           // of the task that is learned
  int64_t known_labels = 0;     // of those, the ones that it has already; 0: all are new
  int64_t earlier_tasks = 0;    // that the version knows
  int64_t columns = 0;          // of those, the ones with a progressive column (checkpoint::Blocks)
  int64_t hidden_size = 0, intermediate_size = 0, layers = 0;  // of the encoder
  bool fused_attention = false;                                // query, key and value are one matrix
  bool fused_gate = false;                                     // the feed-forward's first matrix holds its gate, too
};

// Within 5 % of what is held where that depends on the encoder. Stored texts are counted as tagged, with token types and
// of the longest length: others take less.
struct StrategyCost {
  int64_t bytes = 0;          // held from step to step beyond a naive fp32 run, in tensors and stored texts
  double extra_passes = 0;    // forward and backward passes per batch beyond naive's one
  int64_t version_bytes = 0;  // what it puts into the version for this task beyond stored texts
};

// Where a strategy is taken that no request has named.
enum class DefaultWhere { kNowhere, kNothingConsolidated, kConsolidated };

// What a strategy does in a composition (core/continual/composition.h): at most one of each, in this order.
enum class StrategyRole {
  kAlone,     // combines with none
  kReplays,   // trains on kept examples beside each batch
  kDistils,   // holds the answers of heads to what they were
  kProtects,  // pulls the encoder's weights back
};

struct StrategyInfo {
  std::string name;
  std::string summary;  // one line
  OptionTable options = {};
  StrategyNeeds needs = {};
  // The options that say how strong it is: with all of them at 0 it is naive to the bit. Empty: it cannot be turned off.
  std::vector<std::string> strength = {};
  // A task that the version knows may come with further labels: its head grows. Others refuse them.
  bool grows_heads = false;
  // Learns in one forward pass over the texts and makes no optimizer step: epochs, learning rate and the like do not act.
  bool one_pass = false;
  // Null: costs nothing beyond naive.
  std::function<StrategyCost(const OptionValues&, const StrategySizes&)> cost = nullptr;
  DefaultWhere default_where = DefaultWhere::kNowhere;
  StrategyRole role = StrategyRole::kAlone;
  std::vector<std::string> parts = {};  // of a composition, in their order
};

// Every strategy by name, without compositions. Filled before main, read-only afterwards.
const std::map<std::string, StrategyInfo>& Strategies();

// Called by StrategyRegistration (core/continual/registry.h), before main.
void AddStrategyInfo(StrategyInfo info);

// Of a name with "+" in it the composition (core/continual/composition.h). INVALID_ARGUMENT for an unknown name; the
// nearest known one and all others are named. Lives until the program ends; thread-safe.
absl::StatusOr<const StrategyInfo*> FindStrategy(const std::string& name);

// The strategy that a version's memory of this one is kept for: itself, or of a composition the part that keeps one.
std::string MemoryOwner(const StrategyInfo& info);

// The one that is taken where none is named.
const StrategyInfo& DefaultStrategy(bool consolidated);

// FAILED_PRECONDITION naming the remedy if the strategy stands on consolidations and there are none.
absl::Status CheckNeeds(const StrategyInfo& info, int64_t consolidations);

// What it costs; zero where the strategy says nothing.
StrategyCost CostOf(const StrategyInfo& info, const OptionValues& options, const StrategySizes& sizes);

}  // namespace engram::continual
