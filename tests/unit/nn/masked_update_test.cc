// Tasks with masks of one update, against models whose weights are set to what the formula says.

#include "core/nn/masked_update.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "ATen/ops/equal.h"
#include "ATen/ops/zeros_like.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/nn/update_file.h"
#include "tests/unit/tiny_model.h"

namespace engram::nn {
namespace {

constexpr int64_t kLabels = 3;
const std::vector<std::string> kTasks = {"plain", "masked", "other"};

at::Tensor Draw(int64_t size, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  at::Tensor drawn = at::empty({size}, at::kFloat);
  for (int64_t i = 0; i < size; ++i) drawn.mutable_data_ptr<float>()[i] = static_cast<float>(0.1 * random.NextNormal());
  return drawn;
}
at::Tensor DrawMask(int64_t size, uint64_t seed) { return Draw(size, seed) > 0.05; }

PackedBatch Batch() {
  std::vector<Sequence> sequences;
  for (const train::TrainingExample& example : TinyExamples(5, kLabels, 4)) sequences.push_back(example.sequence);
  return *Pack(std::span<const Sequence>(sequences), at::kCPU);
}

at::Tensor Ask(const Model& model, const std::string& task) {
  return model.Predict(Batch(), TaskQuery{task, {}}, std::nullopt, nullptr);
}

TEST(MaskedUpdate, BitsLieInWordsOf32) {
  for (const int64_t size : {1, 31, 32, 33, 100}) {
    const at::Tensor mask = DrawMask(size, 7), bits = PackBits(mask);
    ASSERT_EQ(bits.numel(), (size + 31) / 32);
    for (int64_t i = 0; i < size; ++i) {
      const bool bit = (static_cast<uint32_t>(bits[i / 32].item<int32_t>()) >> (i % 32) & 1U) != 0;
      EXPECT_EQ(bit, mask[i].item<bool>()) << i << " of " << size;
    }
    EXPECT_TRUE(at::equal(UnpackBits(bits, size), mask));
  }
}

TEST(MaskedUpdate, AppliesTheScaledShareOfTheUpdate) {
  const at::Tensor weights = Draw(70, 1), update = Draw(70, 2), mask = DrawMask(70, 3);
  const at::Tensor applied = ApplyMask(weights, update, {PackBits(mask), 1.5});
  for (int64_t i = 0; i < 70; ++i) {
    const double w = weights[i].item<double>(), u = update[i].item<double>();
    EXPECT_NEAR(applied[i].item<double>(), mask[i].item<bool>() ? w + 1.5 * u : w, 1e-7) << i;
  }
}

class MaskedModel : public ::testing::Test {
 protected:
  MaskedModel()
      : model_(TinyModel(kTasks, kLabels, /*dropout=*/0)),
        size_(model_->EncoderElements()),
        update_(Draw(size_, 11)),
        mask_(DrawMask(size_, 12)) {
    const absl::Status set = model_->SetMasks(
        update_, {{"masked", {PackBits(mask_), 0.75}}, {"other", {PackBits(DrawMask(size_, 13)), 1.25}}});
    EXPECT_TRUE(set.ok()) << set;
  }
  // A model without masks whose encoder has the task's weights.
  std::unique_ptr<Model> Own() const {
    auto own = TinyModel(kTasks, kLabels, /*dropout=*/0);
    at::Tensor encoder = own->parameters().weights().narrow(0, 0, size_);
    for (int64_t i = 0; i < size_; ++i) {
      if (mask_[i].item<bool>()) encoder[i] += 0.75 * update_[i];
    }
    own->parameters().RefreshCompute();
    return own;
  }

  std::unique_ptr<Model> model_;
  const int64_t size_;
  const at::Tensor update_, mask_;
};

TEST_F(MaskedModel, AnswersAsAModelWithTheTasksWeights) {
  const auto without = TinyModel(kTasks, kLabels, /*dropout=*/0), own = Own();
  EXPECT_TRUE(at::equal(Ask(*model_, "plain"), Ask(*without, "plain"))) << "a task without a mask is asked as before";
  EXPECT_LT((Ask(*model_, "masked") - Ask(*own, "masked")).abs().max().item<double>(), 1e-5);
  EXPECT_GT((Ask(*model_, "masked") - Ask(*without, "masked")).abs().max().item<double>(), 1e-2);
  EXPECT_EQ(model_->heads().at("masked").blocks.kind, checkpoint::BlocksKind::kMasked);
  EXPECT_EQ(model_->heads().at("masked").blocks.scale, 0.75);
  // All tasks in one call, from a copy, and from one that is packed.
  const auto copy = model_->Clone();
  const auto packed = model_->Clone();
  packed->PackForInference();
  const std::vector<TaskQuery> queries = {{"masked", {}}, {"plain", {}}, {"other", {}}};
  const auto together = copy->Predict(Batch(), queries, std::nullopt, nullptr);
  for (size_t i = 0; i < queries.size(); ++i) {
    EXPECT_TRUE(at::equal(together[i], Ask(*model_, queries[i].task))) << queries[i].task;
    EXPECT_LT((Ask(*packed, queries[i].task) - together[i]).abs().max().item<double>(), 1e-5);
  }
}

// theta_t = theta + a constant: the gradient by theta is that by theta_t.
TEST_F(MaskedModel, TheGradientIsThatAtTheTasksWeights) {
  const auto own = Own();
  const auto gradient = [](Model& model) {
    const auto tape = Model::NewTape();
    const at::Tensor logits = model.Predict(Batch(), TaskQuery{"masked", {}}, std::nullopt, tape.get());
    GradientBuffer buffer(model.parameters());
    AccumulateSink sink(&buffer);
    at::Tensor slope = at::zeros_like(logits);
    slope.select(1, 0).fill_(1);
    model.Backward(slope, *tape, sink);
    return buffer.flat();
  };
  const at::Tensor masked = gradient(*model_), expected = gradient(*own);
  EXPECT_GT(expected.abs().max().item<double>(), 0);
  EXPECT_LT((masked - expected).abs().max().item<double>(), 1e-4 * expected.abs().max().item<double>());
}

TEST_F(MaskedModel, LosesMasksThatAreNotNamedAgain) {
  const auto without = TinyModel(kTasks, kLabels, /*dropout=*/0);
  ASSERT_TRUE(model_->SetMasks(update_, {{"other", {PackBits(mask_), 1}}}).ok());
  EXPECT_TRUE(at::equal(Ask(*model_, "masked"), Ask(*without, "masked")));
  EXPECT_EQ(model_->heads().at("masked").blocks, checkpoint::Blocks());
  ASSERT_TRUE(model_->SetMasks({}, {}).ok());
  EXPECT_TRUE(at::equal(Ask(*model_, "other"), Ask(*without, "other")));
  EXPECT_FALSE(model_->update().defined());
}

TEST_F(MaskedModel, RefusesWhatIsNoMaskOfItsEncoder) {
  const TaskMask good{PackBits(mask_), 1};
  EXPECT_EQ(model_->SetMasks(update_, {{"nobody", good}}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(model_->SetMasks({}, {{"masked", good}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model_->SetMasks(update_.narrow(0, 0, size_ - 1), {{"masked", good}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model_->SetMasks(update_, {{"masked", {PackBits(mask_.narrow(0, 0, 64)), 1}}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model_->SetMasks(update_, {{"masked", {good.bits, 0}}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model_->AddBlocks("masked", {checkpoint::BlocksKind::kAdapter, {}, 4, 1, {}}, 0).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(model_->masks().size(), 2) << "nothing was changed";
}

TEST_F(MaskedModel, ComesBackFromItsFileToTheBit) {
  std::string folder = ::testing::TempDir() + "/engram-update-XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/update.safetensors";
  ASSERT_TRUE(SaveUpdate(*model_, path).ok());
  const auto loaded = TinyModel(kTasks, kLabels, /*dropout=*/0);
  const absl::Status status = LoadUpdate(path, {{"masked", 0.75}, {"other", 1.25}}, *loaded);
  ASSERT_TRUE(status.ok()) << status;
  for (const std::string& task : kTasks) EXPECT_TRUE(at::equal(Ask(*loaded, task), Ask(*model_, task))) << task;
  // 4 bytes a weight once, a bit a weight for each task, and what frames them.
  const auto bytes = static_cast<int64_t>(ReadFile(path)->size());
  EXPECT_NEAR(static_cast<double>(bytes), 4.0 * size_ + 2 * size_ / 8.0, 0.1 * size_ + 12000);
  const auto refused = [&](const std::string& file, const std::map<std::string, double>& scales) {
    return StatusField(LoadUpdate(file, scales, *loaded));
  };
  EXPECT_EQ(refused(folder + "/none", {{"masked", 1}}), "update.safetensors");
  EXPECT_EQ(refused(path, {{"masked", 1}}), "update.safetensors") << "masks of a task that has none";
  EXPECT_EQ(refused(path, {{"masked", 1}, {"other", 1}, {"plain", 1}}), "update.safetensors");
  EXPECT_TRUE(RemoveTree(folder).ok());
}

}  // namespace
}  // namespace engram::nn
