#include "core/continual/encoder_memory.h"

#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full_like.h"
#include "tests/unit/tiny_model.h"

namespace engram::continual {
namespace {

std::unique_ptr<nn::Model> Model(bool pooler) {
  nn::EncoderConfig config = TinyConfig();
  config.has_pooler = pooler;
  return *nn::Model::Create(config, at::kCPU, nn::Precision::kFloat32);
}

TEST(EncoderMemory, ComesBackByNameAlsoToAModelWithAYoungerPooler) {
  const auto old = Model(false), now = Model(true);
  const at::Tensor flat = at::arange(old->EncoderElements(), at::kFloat);
  train::VersionMemory memory;
  RememberEncoder(*old, "omega", flat, memory);
  EXPECT_EQ(memory.tensors.size(), old->EncoderSlots().size());
  const auto same = RecallEncoder(*old, "omega", memory, at::zeros_like(flat));
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_TRUE(at::equal(*same, flat));
  const at::Tensor younger = at::full({now->EncoderElements()}, -1.0F);
  const auto grown = RecallEncoder(*now, "omega", memory, younger);
  ASSERT_TRUE(grown.ok()) << grown.status();
  for (const nn::SlotId slot : now->EncoderSlots()) {
    const nn::ParameterSlice& slice = now->parameters().slice(slot);
    const at::Tensor part = grown->narrow(0, slice.offset, slice.size);
    if (slice.name.starts_with("pooler.")) {
      EXPECT_TRUE((part == -1).all().item<bool>());
      continue;
    }
    const nn::ParameterSlice& before = old->parameters().slice(old->parameters().Find(slice.name));
    EXPECT_TRUE(at::equal(part, flat.narrow(0, before.offset, before.size))) << slice.name;
  }
}

TEST(EncoderMemory, NamesWhatIsDamaged) {
  const auto model = Model(false);
  const at::Tensor flat = at::ones({model->EncoderElements()}, at::kFloat);
  const std::string name = "omega." + model->parameters().slice(3).name;
  const auto expect = [&](const std::function<void(at::Tensor&)>& damage) {
    train::VersionMemory memory;
    RememberEncoder(*model, "omega", flat, memory);
    damage(memory.tensors.at(name));
    if (!memory.tensors.at(name).defined()) memory.tensors.erase(name);
    const absl::Status status = RecallEncoder(*model, "omega", memory, flat).status();
    EXPECT_EQ(StatusReason(status), "MEMORY_DAMAGED") << status;
    EXPECT_NE(std::string(status.message()).find(name), std::string::npos) << status;
  };
  expect([](at::Tensor& tensor) { tensor = at::Tensor(); });
  expect([](at::Tensor& tensor) { tensor = tensor.view({-1, 1, 1}); });
  expect([](at::Tensor& tensor) { tensor = tensor.to(at::kLong); });
  expect([](at::Tensor& tensor) { tensor = at::full_like(tensor, std::nan("")); });
}

}  // namespace
}  // namespace engram::continual
