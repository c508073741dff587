#include "core/longcontext/streamed_encoder.h"

#include <span>
#include <utility>
#include <vector>

#include "ATen/ops/equal.h"
#include "c10/core/InferenceMode.h"
#include "core/nn/packed_batch.h"
#include "core/nn/tensor_memory.h"
#include "tests/unit/longcontext/reference.h"
#include "tests/unit/tiny_model.h"

namespace engram::longcontext {
namespace {

// A random BERT whose attention looks somewhere: weights large enough that scores differ.
std::unique_ptr<nn::Model> Sharp(nn::EncoderConfig config) {
  config.initializer_range = 0.25;
  auto model = nn::Model::Create(config, at::kCPU, nn::Precision::kFloat32);
  EXPECT_TRUE(model.ok()) << model.status();
  (*model)->InitializeEncoder(3);
  return *std::move(model);
}

std::vector<int32_t> Ids(int64_t count) {
  RandomStream random(5, RandomPurpose::kSubset, 0);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(random.NextBelow(60)));
  return ids;
}

double Largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

TEST(StreamedEncoder, EqualsTheModelWithinTheTrainedRange) {
  const auto model = Sharp(TinyConfig(0));
  const StreamedEncoder encoder = StreamedEncoder::Create(*model).value();
  for (const int64_t length : {1, 2, 31, 32}) {
    const nn::Sequence sequence{Ids(length), {}};
    const auto batch = nn::Pack(std::span<const nn::Sequence>(&sequence, 1), at::kCPU).value();
    const auto hidden = encoder.Forward(sequence.ids, {});
    ASSERT_TRUE(hidden.ok()) << hidden.status();
    EXPECT_LT(Largest(*hidden - model->Encode(batch, std::nullopt, nullptr)), 1e-5) << length;
  }
}

// Beyond the trained range and with windows that lie within, across and beyond runs of queries.
TEST(StreamedEncoder, EqualsTheDefinitionBeyondIt) {
  const auto model = Sharp(TinyConfig(0));
  const StreamedEncoder encoder = StreamedEncoder::Create(*model).value();
  const ReferenceEncoder reference(*model);
  const std::vector<int32_t> ids = Ids(900);
  const at::Tensor all = at::arange(900, at::kLong);
  at::Tensor before;
  for (const int64_t window : {0, 1, 7, 200, 400, 1000}) {
    StreamOptions options;
    options.window = window;
    const auto hidden = encoder.Forward(ids, options);
    ASSERT_TRUE(hidden.ok()) << hidden.status();
    EXPECT_LT(Largest(*hidden - reference.Hidden(ids, window, all)), 2e-5) << window;
    // Another window is another result, unless it holds the whole text.
    if (before.defined()) {
      EXPECT_GT(Largest(*hidden - before), 1e-3) << window;
    }
    before = *hidden;
  }
  EXPECT_LT(Largest(before - *encoder.Forward(ids, {})), 2e-5);
}

// Where 32-bit indices of query times key end: sampled rows of one layer, its keys and values in fp64.
TEST(StreamedEncoder, SampledRowsBeyond65536Tokens) {
  nn::EncoderConfig config = TinyConfig(0);
  config.hidden_size = 16;
  config.heads = config.layers = 1;
  config.intermediate_size = 32;
  config.max_positions = 512;
  const auto model = Sharp(config);
  const StreamedEncoder encoder = StreamedEncoder::Create(*model).value();
  constexpr int64_t kLength = 65537;
  const std::vector<int32_t> ids = Ids(kLength);
  std::vector<int64_t> rows = {0, 1, 65535, 65536};
  RandomStream random(9, RandomPurpose::kSubset, 0);
  while (rows.size() < 64) rows.push_back(static_cast<int64_t>(random.NextBelow(kLength)));
  const at::Tensor wanted = at::tensor(rows, at::kLong);
  const auto hidden = encoder.Forward(ids, {});
  ASSERT_TRUE(hidden.ok()) << hidden.status();
  EXPECT_LT(Largest(at::index_select(*hidden, 0, wanted) - ReferenceEncoder(*model).Hidden(ids, 0, wanted)), 2e-5);
}

TEST(StreamedEncoder, AShortTextHasTheSameBitsBeforeAndAfterALongOne) {
  const auto model = Sharp(TinyConfig(0));
  const StreamedEncoder encoder = StreamedEncoder::Create(*model).value();
  const at::Tensor before = *encoder.Forward(Ids(20), {});
  ASSERT_TRUE(encoder.Forward(Ids(900), {}).ok());
  EXPECT_TRUE(at::equal(before, *encoder.Forward(Ids(20), {})));
}

TEST(StreamedEncoder, HoldsWhatItSaysItHolds) {
  nn::KeepTensorMemory();
  const c10::InferenceMode inference;
  nn::EncoderConfig config = TinyConfig(0);
  config.hidden_size = 64;
  config.intermediate_size = 256;
  config.max_positions = 256;
  const auto model = Sharp(config);
  const StreamedEncoder encoder = StreamedEncoder::Create(*model).value();
  // Of a long text within a tenth; of a shorter one the runs of rows, which are said as if they stood beside everything.
  for (const auto& [tokens, window] : {std::pair<int64_t, int64_t>{20000, 0}, {100000, 16}}) {
    const std::vector<int32_t> ids = Ids(tokens);
    StreamOptions options;
    options.window = window;
    options.positions = nn::PositionExtension::kTiled;
    const nn::TensorMeter meter;
    ASSERT_TRUE(encoder.Forward(ids, options).ok());
    const auto said = static_cast<double>(encoder.PeakBytes(tokens, window)), held = static_cast<double>(meter.peak());
    EXPECT_LE(held, said) << window;
    EXPECT_GE(held, tokens < 50000 ? 0.7 * said : 0.9 * said) << window;
  }
}

TEST(StreamedEncoder, EndsWhenItIsToldAndRefusesWhatHasNoPositions) {
  const auto model = Sharp(TinyConfig(0));
  const StreamedEncoder encoder = StreamedEncoder::Create(*model).value();
  const std::vector<int32_t> ids = Ids(900);
  StreamOptions options;
  int64_t calls = 0, last = 0;
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 1800);
    EXPECT_GE(done, last);
    last = done;
    return ++calls < 5;
  };
  EXPECT_TRUE(absl::IsCancelled(encoder.Forward(ids, options).status()));
  EXPECT_EQ(calls, 5);
  options.progress = nullptr;
  EXPECT_EQ(StatusField(encoder.Forward(Ids(32 * 32 + 1), options).status()), "positions");
  options.positions = nn::PositionExtension::kTiled;
  EXPECT_TRUE(encoder.Forward(Ids(32 * 32 + 1), options).ok());
}

TEST(StreamedEncoder, TimeGrowsWithTheSquareOfTheTextAndMemoryWithTheText) {
  const auto model = Sharp(TinyConfig(0));
  const StreamedEncoder encoder = StreamedEncoder::Create(*model).value();
  const StreamSpeed speed = encoder.Measure();
  EXPECT_GT(speed.per_row, 0);
  EXPECT_GT(speed.per_pair, 0);
  const StreamSpeed pairs{0, 1};
  EXPECT_EQ(encoder.Seconds(1000, 0, pairs), 2.0 * 1000 * 1000);
  EXPECT_LT(encoder.Seconds(100000, 64, pairs), encoder.Seconds(100000, 0, pairs) / 100);
  EXPECT_EQ(encoder.PeakBytes(2000, 0) - encoder.PeakBytes(1000, 0), 1000 * 5 * 32 * 4);
}

}  // namespace
}  // namespace engram::longcontext
