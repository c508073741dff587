// Packed inference, driven by infer_vs_peers.py and gpu.py. Commands: "run PRECISION ORDER" encodes all texts in batches, "latency
// PRECISION LENGTH" encodes one text of LENGTH tokens 20 times. Answers {"seconds"}: of the run; the median of one
// encode.

#include <algorithm>
#include <map>
#include <memory>

#include "ATen/Parallel.h"
#include "CLI/CLI.hpp"
#include "bench/bench_common.h"
#include "c10/core/InferenceMode.h"
#include "core/nn/ops/pooling/pooling.h"

namespace engram::bench {
namespace {

class Inference {
 public:
  Inference(std::string model, std::vector<nn::Sequence> texts, size_t batch, at::Device device)
      : directory_(std::move(model)), texts_(std::move(texts)), batch_(batch), device_(device) {}

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
        Answer(model, Must(nn::Pack(group, device_)));
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
      seconds.push_back(
          Seconds([&] { Answer(model, Must(nn::Pack(std::span<const nn::Sequence>(&text, 1), device_))); }));
    }
    std::nth_element(seconds.begin(), seconds.begin() + 10, seconds.end());
    return seconds[10];
  }

 private:
  // On a GPU each text's mean comes back to the host, as an answer does.
  void Answer(const nn::Model& model, const nn::PackedBatch& batch) const {
    const at::Tensor hidden = model.Encode(batch, std::nullopt, nullptr);
    if (!device_.is_cpu()) nn::ops::MeanPool(hidden, batch).cpu();
  }
  const nn::Model& Load(const std::string& precision) {
    std::unique_ptr<nn::Model>& model = models_[precision];
    if (!model) {
      nn::LoadOptions options;
      options.device = device_;
      options.precision = PrecisionOf(precision);
      model = LoadOrDraw(directory_, options);
      model->PackForInference();
    }
    return *model;
  }

  const std::string directory_;
  const std::vector<nn::Sequence> texts_;
  const size_t batch_;
  const at::Device device_;
  std::map<std::string, std::unique_ptr<nn::Model>> models_;
};

}  // namespace
}  // namespace engram::bench

int main(int argc, char** argv) {
  using namespace engram::bench;
  CLI::App app("Packed inference for bench/infer_vs_peers.py");
  std::string model, ids, device = "cpu";
  size_t batch = 32;
  int threads = 1;
  app.add_option("--model", model)->required();
  app.add_option("--ids", ids)->required();
  app.add_option("--batch", batch);
  app.add_option("--device", device);
  app.add_option("--threads", threads);
  CLI11_PARSE(app, argc, argv);
  engram::nn::KeepTensorMemory();
  at::set_num_threads(threads);
  const c10::InferenceMode mode;
  Inference inference(model, ReadIds(ids), batch, DeviceOf(device));
  Serve([&](std::istringstream& words) -> nlohmann::json {
    std::string command, precision, what;
    words >> command >> precision >> what;
    return {{"seconds",
             command == "run" ? inference.Run(precision, what) : inference.Latency(precision, std::stoul(what))}};
  });
  return 0;
}
