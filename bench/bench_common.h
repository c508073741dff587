#pragma once

// What the benchmark programs share: token ids out of a JSON file, a stopwatch, commands from standard input.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/base/status.h"
#include "core/checkpoint/model_config.h"
#include "core/nn/device.h"
#include "core/nn/model_io.h"
#include "core/nn/packed_batch.h"
#include "core/nn/tensor_memory.h"
#include "nlohmann/json.hpp"

namespace engram::bench {

[[noreturn]] inline void Die(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(EXIT_FAILURE);
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) Die(value.status());
  return *std::move(value);
}

inline std::vector<nn::Sequence> ReadIds(const std::string& path) {
  std::ifstream file(path);
  std::vector<nn::Sequence> sequences;
  for (const auto& ids : nlohmann::json::parse(file)) sequences.push_back({ids.get<std::vector<int32_t>>(), {}});
  return sequences;
}

inline nn::Precision PrecisionOf(const std::string& name) {
  return name == "bf16" ? nn::Precision::kBFloat16 : nn::Precision::kFloat32;
}

inline at::Device DeviceOf(const std::string& name) { return Must(nn::ParseDevice(name)); }

// The model of a directory; drawn anew where it holds a config.json alone.
inline std::unique_ptr<nn::Model> LoadOrDraw(const std::string& directory, const nn::LoadOptions& options) {
  if (PathExists(directory + "/model.safetensors")) return Must(nn::LoadModel(directory, options)).model;
  const auto config =
      Must(nn::ToEncoderConfig(Must(checkpoint::ParseModelConfig(Must(ReadFile(directory + "/config.json"))))));
  auto model = Must(nn::Model::Create(config, options.device, options.precision));
  model->InitializeEncoder(0);
  model->parameters().RefreshCompute();
  return model;
}

// Waits until the device has computed `tensor`.
inline void Await(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) tensor.flatten().narrow(0, 0, 1).item();
}

inline double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Each line of standard input is a command; `answer` gives the JSON object for it.
inline void Serve(const std::function<nlohmann::json(std::istringstream&)>& answer) {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::cout << answer(words).dump() << std::endl;
  }
}

}  // namespace engram::bench
