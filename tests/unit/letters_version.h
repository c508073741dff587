#pragma once

// A version directory of a random BERT whose tokens are letters: "ab c" is [CLS] a ##b c [SEP].

#include <string>

#include "core/base/files.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/model_config.h"
#include "core/checkpoint/version_directory.h"
#include "core/nn/model_io.h"
#include "core/nn/version.h"
#include "gtest/gtest.h"

namespace engram {

// 3,584 parameters: embeddings (57 + 24 + 2 + 2) x 16, one layer of 3 (16 x 16 + 16) + (16 x 16 + 16) + (16 x 32 + 32) +
// (32 x 16 + 16) + 2 x 2 x 16.
inline constexpr const char* kLettersConfig = R"({"model_type": "bert", "architectures": ["BertModel"],
  "vocab_size": 57, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
  "max_position_embeddings": 24, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
  "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.2, "pad_token_id": 0})";

// What lies in `directory` already stays and is listed in engram.json. Heads of the manifest's tasks are drawn, unless a
// heads.safetensors lies there.
inline void WriteLettersVersion(const std::string& directory, checkpoint::VersionManifest manifest) {
  ASSERT_TRUE(MakeDirectories(directory).ok());
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (char c = 'a'; c <= 'z'; ++c) vocabulary += std::string(1, c) + "\n##" + c + "\n";
  ASSERT_TRUE(WriteFileAtomic(directory + "/vocab.txt", vocabulary).ok());
  ASSERT_TRUE(WriteFileAtomic(directory + "/tokenizer_config.json",
                              R"({"tokenizer_class": "BertTokenizer", "do_lower_case": true})")
                  .ok());
  const auto config = checkpoint::ParseModelConfig(kLettersConfig);
  ASSERT_TRUE(config.ok()) << config.status();
  auto model = nn::Model::Create(*nn::ToEncoderConfig(*config), at::kCPU, nn::Precision::kFloat32);
  ASSERT_TRUE(model.ok()) << model.status();
  (*model)->InitializeEncoder(3);
  ASSERT_TRUE(nn::SaveModel(**model, kLettersConfig, "", {}, directory).ok());
  for (checkpoint::ManifestTask& task : manifest.tasks) {
    task.head_file = checkpoint::kHeadsFile;
    task.head_prefix = "heads." + task.name + ".";
    ASSERT_TRUE((*model)->AddHead(task.name, nn::ToHeadConfig(task), 4).ok());
  }
  const std::string heads = directory + "/" + checkpoint::kHeadsFile;
  if (!PathExists(heads)) {
    ASSERT_TRUE(nn::SaveHeads(**model, "", heads).ok());
  }
  manifest.created = "2026-01-01T00:00:00Z";
  const absl::Status written = checkpoint::WriteManifest(directory, manifest);
  ASSERT_TRUE(written.ok()) << written;
}

}  // namespace engram
