#pragma once

// engram.json: what a version is, beside the weights: where it comes from, which tasks it knows and with which labels,
// how forgetting was prevented, what was measured, and the SHA-256 of every file, so that a damaged or tampered
// directory never serves.
//
// A version directory: config.json, model.safetensors, the tokenizer's files (what `transformers` loads), engram.json,
// and where there is something to keep heads.safetensors (the heads of all tasks but the default one),
// continual.safetensors (importance and anchors), update.safetensors (an update of the encoder of which tasks have masks)
// and memory/<strategy>.safetensors (what a strategy keeps for later tasks).
//
// Format 2 is written; format 1 is read as the manifest that it would be in format 2. Format 1 had lambda, gamma and
// penalty_mode of every training, whether its strategy knew them or not, among the training options.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/blocks.h"
#include "core/checkpoint/expansion.h"
#include "core/checkpoint/measurement.h"
#include "core/checkpoint/task_kind.h"

namespace engram::checkpoint {

inline constexpr int64_t kManifestFormat = 2;
inline constexpr int64_t kOldestManifestFormat = 1;
inline constexpr const char* kManifestFile = "engram.json";
inline constexpr const char* kConfigFile = "config.json";
inline constexpr const char* kModelFile = "model.safetensors";
inline constexpr const char* kHeadsFile = "heads.safetensors";
inline constexpr const char* kContinualFile = "continual.safetensors";
inline constexpr const char* kUpdateFile = "update.safetensors";

// When no label of a classification task fits a text: core/train/abstention.h.
struct Abstention {
  double temperature = 1;           // > 0; divides the logits
  double threshold = 0;             // of the highest probability at that temperature, in [0, 1]
  int64_t texts = 0;                // validation texts that both were chosen on, at least 1
  double answered = 0;              // share of those at or above the threshold
  double accuracy_of_answered = 0;  // on those, in [0, 1]

  friend bool operator==(const Abstention&, const Abstention&) = default;
};

// One thing that the model learned.
struct ManifestTask {
  std::string name;  // unique in the version
  TaskKind kind = TaskKind::kSequenceClassification;
  std::vector<std::string> labels;  // class number -> name, unique; empty exactly for a masked LM
  std::string head_file;            // kModelFile or kHeadsFile
  std::string head_prefix;          // the head's tensors are head_prefix + standard name in head_file; "" in kModelFile
  Pooling pooling = Pooling::kStandard;
  Expansion expansion;         // with kMean alone; stands in engram.json where there is one
  Blocks blocks;               // of the task's own in the encoder; stands in engram.json where there are any
  std::string dataset;         // its name; empty if unknown
  std::string dataset_digest;  // SHA-256 of what was trained on, or empty
  int64_t training_examples = 0;
  std::optional<Abstention> abstention = std::nullopt;  // where it was trained with validation texts
  bool text_pairs = false;  // classification: learned on pairs of texts; stands in engram.json where it was
  // Classification: learned on whole texts in windows of so many tokens, special ones included; 0: on texts as they
  // are, or their beginnings. Stands in engram.json where it is not 0.
  int64_t chunk_tokens = 0;
  // Of an imported tagger whose labels are those of BIO2 and of IOB1 alike: "iob1", "lenient" (core/tagging/bio.h);
  // empty: as its labels say. Stands in engram.json where it is not empty.
  std::string tag_scheme = {};

  // Whether what it was trained on is known: not so of an imported head.
  bool imported() const { return dataset.empty(); }

  friend bool operator==(const ManifestTask&, const ManifestTask&) = default;
};

// Importance and anchors of one task in continual.safetensors.
struct ManifestConsolidation {
  std::string task;               // a task's name
  std::string fisher;             // kind: exact, sampled, empirical, batched, ...
  int64_t samples = 0;            // texts that the importance is the mean of
  int64_t training_examples = 0;  // N of the task: what a lambda of 1 Bayes unit stands for
  std::string file = kContinualFile;

  friend bool operator==(const ManifestConsolidation&, const ManifestConsolidation&) = default;
};

// The file that a strategy's memory lies in: memory/<strategy>.safetensors.
std::string MemoryFile(std::string_view strategy);

// What a strategy stored with the version for later tasks.
struct ManifestMemory {
  std::string strategy;  // unique in the version
  std::string file;      // MemoryFile(strategy)
  int64_t rows = 0;      // training examples in it; 0: tensors alone
  // Of which tasks those are; empty: an older program did not say.
  std::map<std::string, uint64_t> tasks = {};
  // Task -> when its texts came into the memory, RFC 3339, UTC; without those of which an older program did not say it.
  std::map<std::string, std::string> kept_since = {};

  friend bool operator==(const ManifestMemory&, const ManifestMemory&) = default;
};

// Rows: after a task was learned, columns: the task measured. Absent: not measured (a task not learned yet).
struct MetricsMatrix {
  std::string metric = "accuracy";  // or "entity_f1", "perplexity"
  std::vector<std::string> after, tasks;
  std::vector<std::vector<std::optional<double>>> values;  // [after.size()][tasks.size()], finite

  friend bool operator==(const MetricsMatrix&, const MetricsMatrix&) = default;
};

struct VersionManifest {
  std::string model;
  int64_t version = 0;                                  // from 1
  std::optional<int64_t> parent;                        // version that training started from; none: imported
  std::string created;                                  // RFC 3339, UTC
  std::string default_task;                             // the task whose head model.safetensors holds; empty if none
  std::vector<ManifestTask> tasks;                      // in the order of the stream
  std::string strategy = "naive";                       // of the last training
  std::map<std::string, std::string> strategy_options;  // its own, all of them
  std::map<std::string, std::string> training_options;  // of the last training, all of them; none: imported
  std::vector<ManifestConsolidation> consolidations;
  std::vector<ManifestMemory> memory;
  std::vector<MetricsMatrix> metrics;           // one for each metric
  std::vector<Measurement> measured;            // by the training that made these weights; none: nothing was
  std::map<std::string, uint64_t> seeds;        // by purpose
  std::string base_model_digest;                // SHA-256 of the model.safetensors that the line began with
  std::map<std::string, std::string> software;  // name -> version of what wrote it: engram, libtorch
  std::map<std::string, std::string> files;     // relative path -> SHA-256 of every file but engram.json

  friend bool operator==(const VersionManifest&, const VersionManifest&) = default;
};

// The task of that name; nullptr if the version has not learned it. Lives as long as the manifest.
const ManifestTask* FindManifestTask(const VersionManifest& manifest, std::string_view name);

// Everything that ParseManifest checks beyond the syntax: known kinds, unique names, sizes of the matrix, digests of 64
// lower-case hexadecimal digits, heads, consolidations and memories in files that are listed. INVALID_ARGUMENT names
// the field.
absl::Status CheckManifest(const VersionManifest& manifest);

// INVALID_ARGUMENT for a format that is not known, unknown keys (the nearest known one is named), missing or impossible
// values.
absl::StatusOr<VersionManifest> ParseManifest(std::string_view text);
// The text of engram.json in format 2; ParseManifest gives back an equal manifest. INVALID_ARGUMENT for what
// CheckManifest refuses.
absl::StatusOr<std::string> RenderManifest(const VersionManifest& manifest);

// engram.json of a version directory. NOT_FOUND if there is none.
absl::StatusOr<VersionManifest> ReadManifest(const std::string& directory);

}  // namespace engram::checkpoint
