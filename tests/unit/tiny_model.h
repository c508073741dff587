#pragma once

// A random BERT that trains in milliseconds, and examples for it.

#include <memory>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "core/base/random.h"
#include "core/nn/model.h"
#include "core/train/example.h"
#include "core/train/micro_batch.h"
#include "gtest/gtest.h"

namespace engram {

inline nn::EncoderConfig TinyConfig(double dropout = 0.1) {
  nn::EncoderConfig config;
  config.family = checkpoint::FindFamily("bert");
  config.vocab_size = 60;
  config.hidden_size = 32;
  config.layers = 2;
  config.heads = 2;
  config.intermediate_size = 64;
  config.max_positions = 32;
  config.type_vocab_size = 2;
  config.hidden_dropout = config.attention_dropout = config.classifier_dropout = dropout;
  return config;
}

inline std::unique_ptr<nn::Model> TinyModel(const std::vector<std::string>& tasks, int64_t labels, double dropout = 0.1,
                                            nn::Precision precision = nn::Precision::kFloat32,
                                            at::Device device = at::kCPU) {
  auto model = nn::Model::Create(TinyConfig(dropout), device, precision);
  EXPECT_TRUE(model.ok()) << model.status();
  (*model)->InitializeEncoder(1);
  for (const std::string& task : tasks) {
    EXPECT_TRUE(
        (*model)
            ->AddHead(task, {checkpoint::TaskKind::kSequenceClassification, labels, checkpoint::Pooling::kMean}, 2)
            .ok());
  }
  return *std::move(model);
}

// Texts whose label is visible: label k uses its own tokens among common ones.
inline std::vector<train::TrainingExample> TinyExamples(int64_t count, int64_t labels, uint64_t seed) {
  std::vector<train::TrainingExample> examples;
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < count; ++i) {
    train::TrainingExample example;
    example.label = static_cast<int64_t>(random.NextBelow(static_cast<uint64_t>(labels)));
    const uint64_t length = 3 + random.NextBelow(9);
    for (uint64_t t = 0; t < length; ++t) {
      const bool own = random.NextBelow(2) == 0;
      example.sequence.ids.push_back(static_cast<int32_t>(own ? 40 + example.label : random.NextBelow(40)));
    }
    examples.push_back(std::move(example));
  }
  return examples;
}

inline train::TaskSpec TinyTask(const std::string& name, int64_t labels) {
  return {name, checkpoint::TaskKind::kSequenceClassification, labels, std::nullopt};
}

}  // namespace engram
