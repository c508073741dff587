#include "server/jobs/cost_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ATen/ops/ones.h"
#include "absl/strings/str_cat.h"
#include "c10/core/InferenceMode.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/examples/examples.h"
#include "core/nn/device.h"
#include "core/nn/ops/linear/linear.h"

namespace engram::server {
namespace {

// Up to `limit` lines of a file of `rows` lines, evenly spread.
absl::StatusOr<std::string> SpreadLines(const std::string& path, int64_t rows, int64_t limit) {
  ENGRAM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  const int64_t stride = std::max<int64_t>(1, (rows + limit - 1) / limit);
  std::string lines;
  size_t begin = 0;
  for (int64_t row = 0; begin < text.size(); ++row) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    if (row % stride == 0) lines += text.substr(begin, end - begin);
    begin = end;
  }
  return lines;
}

// The best of a tenth of a second. Not at::mm: which library multiplies decides the speed.
double MeasureProducts(at::ScalarType dtype) {
  constexpr int64_t kSize = 1024;
  constexpr absl::Duration kPatience = absl::Milliseconds(100);
  const c10::InferenceMode inference;
  const at::Tensor left = at::ones({kSize, kSize}, at::TensorOptions().dtype(dtype)), right = left.clone();
  double best = 0;
  for (const absl::Time end = Clock::Real().Now() + kPatience; Clock::Real().Now() < end;) {
    const absl::Time start = Clock::Real().Now();
    const at::Tensor product = nn::ops::Linear(left, right, at::Tensor());
    const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - start);
    if (seconds > 0) best = std::max(best, static_cast<double>(kSize) * kSize * kSize / seconds);
  }
  return best;
}

}  // namespace

int64_t CountedTexts::Scaled(int64_t count) const { return std::llround(static_cast<double>(count) * scale); }

void CountedTexts::WarnOfCuts(std::string_view which, int64_t max_length, int64_t window,
                              engram::v1::JobEstimate& out) const {
  const auto warning = examples::CutWarning(Scaled(cut), Scaled(texts), which, max_length, window);
  if (warning) out.add_warnings(*warning);
}

absl::StatusOr<VersionCosts> VersionCosts::Open(const PlanContext& context, const std::string& model, int64_t number) {
  VersionCosts costs;
  const std::string directory = context.paths.version(model, number);
  ENGRAM_ASSIGN_OR_RETURN(costs.config, context.catalog.Config(model, number));
  ENGRAM_ASSIGN_OR_RETURN(costs.manifest, context.catalog.Manifest(model, number));
  ENGRAM_ASSIGN_OR_RETURN(costs.tokenizer, tokenize::LoadTokenizer(directory));
  ENGRAM_ASSIGN_OR_RETURN(const jobs::VersionRecord record, context.store.GetVersion(model, number));
  costs.max_tokens = costs.config.max_length();
  costs.size_bytes = record.size_bytes;
  costs.model_bytes = ModelFileBytes(context.paths, model, number);
  costs.weight_bytes = costs.model_bytes + FileBytes(absl::StrCat(directory, "/", checkpoint::kHeadsFile)).value_or(0);
  return costs;
}

absl::StatusOr<const checkpoint::ManifestTask*> VersionCosts::FindTask(const std::string& name) const {
  const checkpoint::ManifestTask* const task = checkpoint::FindManifestTask(manifest, name);
  if (task == nullptr) return absl::NotFoundError("the version has not learned this task");
  return task;
}

absl::StatusOr<CountedTexts> VersionCosts::Count(const std::string& path, int64_t rows, checkpoint::TaskKind kind,
                                                 const std::vector<std::string>& labels, int64_t max_length,
                                                 train::LongTexts long_texts) const {
  ENGRAM_ASSIGN_OR_RETURN(const std::string lines, SpreadLines(path, rows, kMaxCountedTexts));
  ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset dataset, corpus::ParseCanonical(lines));
  ENGRAM_ASSIGN_OR_RETURN(
      const examples::ExampleSet examples,
      examples::MakeExamples(dataset, kind, labels, max_length, *tokenizer, config.type_vocab_size, {}, long_texts));
  CountedTexts counted;
  std::vector<std::pair<int32_t, int64_t>> ranked;
  for (const train::TrainingExample& example : examples.examples)
    ranked.emplace_back(static_cast<int32_t>(example.sequence.ids.size()), example.source);
  std::sort(ranked.begin(), ranked.end());
  for (const auto& [length, source] : ranked) {
    counted.lengths.push_back(length);
    counted.sources.push_back(source);
  }
  counted.tokens = examples::TotalTokens(examples.examples);
  counted.scale = static_cast<double>(rows) / static_cast<double>(dataset.size());
  counted.texts = examples.texts();
  counted.cut = examples.cut;
  return counted;
}

absl::StatusOr<CountedTexts> VersionCosts::Count(const std::string& path, int64_t rows,
                                                 const checkpoint::ManifestTask& task) const {
  const bool whole = task.chunk_tokens > 0;
  return Count(path, rows, task.kind, task.labels, whole ? task.chunk_tokens : max_tokens,
               whole ? train::LongTexts::kChunk : train::LongTexts::kCut);
}

int64_t ModelFileBytes(const DataPaths& paths, const std::string& model, int64_t number) {
  return FileBytes(absl::StrCat(paths.version(model, number), "/", checkpoint::kModelFile)).value_or(0);
}

absl::StatusOr<double> ProductSpeed(bool bf16) {
  // Once per precision: an estimate is not worth a tenth of a second of all cores each time.
  return nn::GuardTorch([&]() -> absl::StatusOr<double> {
    if (bf16) {
      static const double speed = MeasureProducts(at::kBFloat16);
      return speed;
    }
    static const double speed = MeasureProducts(at::kFloat);
    return speed;
  });
}

}  // namespace engram::server
