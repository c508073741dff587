// Prints what a config.json promises, for tests/parity/test_names.py to compare with transformers' own classes.
//
//   parity_names CONFIG.json LABELS
// Prints {"bare" | "sequence" | "token" | "mlm": {"class", "tensors": {saved name: {"shape", "required"}}, "dropouts": [...]}}: the probabilities
// of a head's dropouts above 0, in the order in which they act.

#include <cstdlib>
#include <iostream>
#include <optional>
#include <utility>

#include "core/base/files.h"
#include "core/checkpoint/model_config.h"
#include "core/checkpoint/tensor_names.h"
#include "nlohmann/json.hpp"

namespace engram::checkpoint {
namespace {

nlohmann::json Dropouts(const ModelConfig& config, TaskKind kind) {
  const HeadSpec& head = config.family->Head(kind, Pooling::kStandard);
  nlohmann::json dropouts = nlohmann::json::array();
  for (const DropoutSource source : {head.before_dense, head.before_output}) {
    if (source == DropoutSource::kHidden) dropouts.push_back(config.hidden_dropout);
    if (source == DropoutSource::kClassifier) dropouts.push_back(config.classifier_dropout);
  }
  return dropouts;
}

nlohmann::json Promise(const ModelConfig& config, std::optional<TaskKind> kind, int64_t labels) {
  nlohmann::json tensors = nlohmann::json::object();
  const auto add = [&](const std::string& name, const ExpectedTensor& tensor) {
    tensors[name] = {{"shape", tensor.shape}, {"required", tensor.required}};
  };
  const std::string prefix = kind ? config.family->prefix : "";
  for (const ExpectedTensor& tensor : EncoderTensors(config)) add(prefix + tensor.name, tensor);
  if (kind) {
    for (const ExpectedTensor& tensor : HeadTensors(config, *kind, Pooling::kStandard, labels))
      add(tensor.name, tensor);
  }
  return {{"class", config.family->ClassName(kind)},
          {"tensors", std::move(tensors)},
          {"dropouts", kind ? Dropouts(config, *kind) : nlohmann::json::array()}};
}

absl::Status Run(const std::string& path, int64_t labels) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ENGRAM_ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(text));
  const nlohmann::json answer = {{"bare", Promise(config, std::nullopt, labels)},
                                 {"sequence", Promise(config, TaskKind::kSequenceClassification, labels)},
                                 {"token", Promise(config, TaskKind::kTokenClassification, labels)},
                                 {"mlm", Promise(config, TaskKind::kMaskedLanguageModel, labels)}};
  std::cout << answer.dump() << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace engram::checkpoint

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const absl::Status status = engram::checkpoint::Run(argv[1], std::atoll(argv[2]));
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
