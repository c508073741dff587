// Packed inference, driven by infer_vs_peers.py. Commands: "run PRECISION ORDER" encodes all texts in batches, "latency
// PRECISION LENGTH" encodes one text of LENGTH tokens 20 times. Answers {"seconds"}: of the run; the median of one
// encode.

#include <algorithm>
#include <map>
#include <memory>

#include "ATen/Parallel.h"
#include "CLI/CLI.hpp"
#include "bench/bench_common.h"
#include "c10/core/InferenceMode.h"

namespace engram::bench {
namespace {

class Inference {
 public:
  Inference(std::string model, std::vector<nn::Sequence> texts, size_t batch)
      : directory_(std::move(model)), texts_(std::move(texts)), batch_(batch) {}

  double Run(const std::string& precision, const std::string& order) {
    const nn::Model& model = Load(precision);
    std::vector<const nn::Sequence*> ranked;
    for (const nn::Sequence& text : texts_) ranked.push_back(&text);
    if (order == "sorted") {
      std::stable_sort(ranked.begin(), ranked.end(),
                       [](const auto* a, const auto* b) { return a->ids.size() < b->ids.size(); });
    }
    return Seconds([&] {
      for (size_t begin = 0; begin < ranked.size(); begin += batch_) {
        const std::span group(ranked.data() + begin, std::min(batch_, ranked.size() - begin));
        model.Encode(Must(nn::Pack(group, at::kCPU)), std::nullopt, nullptr);
      }
    });
  }
  double Latency(const std::string& precision, size_t length) {
    const nn::Model& model = Load(precision);
    nn::Sequence text;
    text.ids.assign(length, 2023);
    text.ids.front() = 101;
    text.ids.back() = 102;
    std::vector<double> seconds;
    for (int i = 0; i < 20; ++i) {
      seconds.push_back(Seconds([&] {
        model.Encode(Must(nn::Pack(std::span<const nn::Sequence>(&text, 1), at::kCPU)), std::nullopt, nullptr);
      }));
    }
    std::nth_element(seconds.begin(), seconds.begin() + 10, seconds.end());
    return seconds[10];
  }

 private:
  const nn::Model& Load(const std::string& precision) {
    nn::LoadedModel& loaded = models_[precision];
    if (!loaded.model) {
      nn::LoadOptions options;
      options.precision = PrecisionOf(precision);
      loaded = Must(nn::LoadModel(directory_, options));
      loaded.model->PackForInference();
    }
    return *loaded.model;
  }

  const std::string directory_;
  const std::vector<nn::Sequence> texts_;
  const size_t batch_;
  std::map<std::string, nn::LoadedModel> models_;
};

}  // namespace
}  // namespace engram::bench

int main(int argc, char** argv) {
  using namespace engram::bench;
  CLI::App app("Packed inference for bench/infer_vs_peers.py");
  std::string model, ids;
  size_t batch = 32;
  int threads = 1;
  app.add_option("--model", model)->required();
  app.add_option("--ids", ids)->required();
  app.add_option("--batch", batch);
  app.add_option("--threads", threads);
  CLI11_PARSE(app, argc, argv);
  engram::nn::KeepTensorMemory();
  at::set_num_threads(threads);
  const c10::InferenceMode mode;
  Inference inference(model, ReadIds(ids), batch);
  Serve([&](std::istringstream& words) -> nlohmann::json {
    std::string command, precision, what;
    words >> command >> precision >> what;
    return {{"seconds",
             command == "run" ? inference.Run(precision, what) : inference.Latency(precision, std::stoul(what))}};
  });
  return 0;
}
