#include "core/longcontext/streamed_encoder.h"

#include <algorithm>
#include <span>
#include <string>
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

StreamOptions Beyond(int64_t window) {
  StreamOptions options;
  options.window = window;
  options.positions = {nn::PositionMode::kHierarchical};
  return options;
}

double Largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

// A family's block at a small width: with shared keys, windows and two sorts of rotations where the family may have them.
nn::EncoderConfig ConfigOf(const std::string& name) {
  nn::EncoderConfig config = TinyConfig(0);
  const checkpoint::FamilySpec& family = *checkpoint::FindFamily(name);
  config.family = &family;
  config.type_vocab_size = family.names.type_embeddings != nullptr ? 2 : 0;
  config.pad_token_id = family.positions_after_padding ? 1 : 0;
  config.attention_input_bias = family.biases.attention_input;
  config.attention_output_bias = family.biases.attention_output;
  config.feed_forward_bias = family.biases.feed_forward;
  config.norm_bias = family.biases.norm;
  config.heads = 4;
  if (!family.rotary()) return config;
  config.ropes = {{.head_dim = 8, .max_positions = 32}};
  if (name == "modernbert") {
    config.ropes.push_back({.base = 100, .head_dim = 8, .max_positions = 32});
    config.windows = {-1, 5};
  } else if (family.block.causal) {
    config.kv_heads = 2;
    config.activation = nn::Activation::kSilu;
    if (name == "mistral") config.windows = {6, 700};  // a window across blocks of the kernel's keys
    if (name == "qwen2") config.windows = {-1, 7};
  }
  return config;
}

const char* const kFamilies[] = {"bert", "roberta", "distilbert", "modernbert", "llama", "mistral", "qwen2", "qwen3"};

at::Tensor Whole(const nn::Model& model, const std::vector<int32_t>& ids, const nn::PositionPlan& positions) {
  const nn::Sequence sequence{ids, {}, positions};
  return model.Encode(nn::Pack(std::span<const nn::Sequence>(&sequence, 1), at::kCPU).value(), std::nullopt, nullptr);
}

// What is computed is the model's pass, which is held to transformers: within the trained range and beyond it, in one run
// of rows and in several.
TEST(StreamedEncoder, IsTheModelsOwnPassForEveryFamily) {
  for (const char* name : kFamilies) {
    SCOPED_TRACE(name);
    const auto model = Sharp(ConfigOf(name));
    const StreamedEncoder encoder(*model);
    const bool rotary = model->config().family->rotary();
    for (const auto& [length, mode] : {std::pair{1, nn::PositionMode::kTrained},
                                       {29, nn::PositionMode::kTrained},
                                       {700, rotary ? nn::PositionMode::kDynamicYarn : nn::PositionMode::kHierarchical},
                                       {1300, rotary ? nn::PositionMode::kLinear : nn::PositionMode::kInterpolated}}) {
      const std::vector<int32_t> ids = Ids(length);
      StreamOptions options;
      options.positions = {mode};
      const auto hidden = encoder.Forward(ids, options);
      ASSERT_TRUE(hidden.ok()) << hidden.status();
      const at::Tensor whole = Whole(*model, ids, {mode});
      EXPECT_LT(Largest(*hidden - whole), 2e-5 * std::max(1.0, Largest(whole))) << length;
    }
  }
}

// A request's window is as if every layer had been made with it.
TEST(StreamedEncoder, AWindowIsThatOfALayerWithIt) {
  for (const char* name : {"bert", "mpnet", "llama", "qwen3"}) {
    SCOPED_TRACE(name);
    nn::EncoderConfig config = ConfigOf(name);
    const auto model = Sharp(config);
    for (const int64_t window : {1, 40, 600}) {
      config.windows = {window, window};
      const auto windowed = Sharp(config);  // the same weights
      const std::vector<int32_t> ids = Ids(900);
      StreamOptions options;
      options.window = window;
      options.positions = {model->config().family->rotary() ? nn::PositionMode::kTrained : nn::PositionMode::kTiled};
      const auto hidden = StreamedEncoder(*model).Forward(ids, options);
      ASSERT_TRUE(hidden.ok()) << hidden.status();
      const at::Tensor whole = Whole(*windowed, ids, options.positions);
      EXPECT_LT(Largest(*hidden - whole), 2e-5 * std::max(1.0, Largest(whole))) << window;
      EXPECT_GT(Largest(*hidden - Whole(*model, ids, options.positions)), 1e-3) << window;
    }
  }
}

// Beyond the trained range and with windows that lie within, across and beyond runs of queries.
TEST(StreamedEncoder, EqualsTheDefinitionBeyondIt) {
  const auto model = Sharp(TinyConfig(0));
  const StreamedEncoder encoder(*model);
  const ReferenceEncoder reference(*model);
  const std::vector<int32_t> ids = Ids(900);
  const at::Tensor all = at::arange(900, at::kLong);
  at::Tensor before;
  for (const int64_t window : {0, 1, 7, 200, 400, 1000}) {
    const StreamOptions options = Beyond(window);
    const auto hidden = encoder.Forward(ids, options);
    ASSERT_TRUE(hidden.ok()) << hidden.status();
    EXPECT_LT(Largest(*hidden - reference.Hidden(ids, window, all)), 2e-5) << window;
    // Another window is another result, unless it holds the whole text.
    if (before.defined()) {
      EXPECT_GT(Largest(*hidden - before), 1e-3) << window;
    }
    before = *hidden;
  }
  EXPECT_LT(Largest(before - *encoder.Forward(ids, Beyond(0))), 2e-5);
}

// Where 32-bit indices of query times key end: sampled rows of one layer, its keys and values in fp64.
TEST(StreamedEncoder, SampledRowsBeyond65536Tokens) {
  nn::EncoderConfig config = TinyConfig(0);
  config.hidden_size = 16;
  config.heads = config.layers = 1;
  config.intermediate_size = 32;
  config.max_positions = 512;
  const auto model = Sharp(config);
  const StreamedEncoder encoder(*model);
  constexpr int64_t kLength = 65537;
  const std::vector<int32_t> ids = Ids(kLength);
  std::vector<int64_t> rows = {0, 1, 65535, 65536};
  RandomStream random(9, RandomPurpose::kSubset, 0);
  while (rows.size() < 64) rows.push_back(static_cast<int64_t>(random.NextBelow(kLength)));
  const at::Tensor wanted = at::tensor(rows, at::kLong);
  const auto hidden = encoder.Forward(ids, Beyond(0));
  ASSERT_TRUE(hidden.ok()) << hidden.status();
  EXPECT_LT(Largest(at::index_select(*hidden, 0, wanted) - ReferenceEncoder(*model).Hidden(ids, 0, wanted)), 2e-5);
}

TEST(StreamedEncoder, AShortTextHasTheSameBitsBeforeAndAfterALongOne) {
  const auto model = Sharp(TinyConfig(0));
  const StreamedEncoder encoder(*model);
  const at::Tensor before = *encoder.Forward(Ids(20), {});
  ASSERT_TRUE(encoder.Forward(Ids(900), Beyond(0)).ok());
  EXPECT_TRUE(at::equal(before, *encoder.Forward(Ids(20), {})));
}

// Where keys and values beside attention are the peak, and where the runs of the feed-forward are.
TEST(StreamedEncoder, HoldsWhatItSaysItHolds) {
  nn::KeepTensorMemory();
  const c10::InferenceMode inference;
  for (const char* name : {"bert", "mpnet", "modernbert", "llama", "qwen3"}) {
    nn::EncoderConfig config = ConfigOf(name);
    config.hidden_size = 64;
    config.intermediate_size = 256;
    for (checkpoint::Rope& rope : config.ropes) rope.head_dim = 16;
    const auto model = Sharp(config);
    const StreamedEncoder encoder(*model);
    for (const auto& [tokens, window] : {std::pair<int64_t, int64_t>{700, 0}, {3000, 0}, {15000, 16}}) {
      const std::vector<int32_t> ids = Ids(tokens);
      StreamOptions options;
      options.window = window;
      if (!config.family->rotary()) options.positions = {nn::PositionMode::kTiled};
      const nn::TensorMeter meter;
      ASSERT_TRUE(encoder.Forward(ids, options).ok());
      const auto said = static_cast<double>(encoder.PeakBytes(tokens, window)),
                 held = static_cast<double>(meter.peak());
      EXPECT_LE(held, 1.02 * said) << name << " " << tokens;
      EXPECT_GE(held, 0.9 * said) << name << " " << tokens;
    }
  }
}

TEST(StreamedEncoder, EndsWhenItIsToldAndRefusesWhatHasNoPositions) {
  const auto model = Sharp(TinyConfig(0));
  const StreamedEncoder encoder(*model);
  const std::vector<int32_t> ids = Ids(900);
  StreamOptions options = Beyond(0);
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
  options.positions = {};
  EXPECT_EQ(StatusField(encoder.Forward(Ids(33), options).status()), "positions");
  options.positions = {nn::PositionMode::kTiled};
  EXPECT_TRUE(encoder.Forward(Ids(32 * 32 + 1), options).ok());
}

TEST(StreamedEncoder, TimeGrowsWithTheSquareOfTheTextAndMemoryWithTheText) {
  const auto model = Sharp(TinyConfig(0));
  const StreamedEncoder encoder(*model);
  const StreamSpeed speed = encoder.Measure();
  EXPECT_GT(speed.per_row, 0);
  EXPECT_GT(speed.per_pair, 0);
  const StreamSpeed pairs{0, 1};
  EXPECT_EQ(encoder.Seconds(1000, 0, pairs), 2.0 * 1000 * 1000);
  EXPECT_LT(encoder.Seconds(100000, 64, pairs), encoder.Seconds(100000, 0, pairs) / 100);
  // Beyond what runs hold: hidden state, query, key and value, and an id, a type and a position.
  EXPECT_EQ(encoder.PeakBytes(200'000, 0) - encoder.PeakBytes(100'000, 0), 100'000 * (4 * 32 * 4 + 12));
  // A causal text's tokens see half of it.
  const auto llama = Sharp(ConfigOf("llama"));
  EXPECT_NEAR(StreamedEncoder(*llama).Seconds(100'000, 0, pairs), 1e10, 1.1e8);
}

}  // namespace
}  // namespace engram::longcontext
