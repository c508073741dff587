#include "core/train/version_memory.h"

#include <cstdlib>
#include <utility>

#include "ATen/ops/equal.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "core/base/files.h"
#include "core/checkpoint/manifest.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/nn/tensor_file.h"
#include "gmock/gmock.h"

namespace engram::train {
namespace {

using ::testing::HasSubstr;

class VersionMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-memory-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  static VersionMemory Filled() {
    VersionMemory memory;
    memory.tensors["path"] = at::tensor({1.5F, -2.0F, 1e-30F}, at::kFloat).view({3, 1});
    memory.tensors["count"] = at::tensor({int64_t{1} << 40}, at::kLong);
    memory.tensors["scalar"] = at::tensor(7, at::kInt);
    memory.values["seen"] = "12";
    memory.examples = {{"b", {{{5, 6, 7}, {}}, 2, {}, {}, 41, false, {int64_t{1} << 59, 12}}},
                       {"a", {{{1, 2}, {0, 1}}, -1, {0, nn::ops::kIgnored}, {}, -1}},
                       {"b", {{{9}, {}}, 0, {}, {}, 0}}};
    memory.examples[0].example.sequence.windows = {{2, 3}, {1, 1}};
    return memory;
  }
  std::string directory_;
};

void ExpectSame(const VersionMemory& a, const VersionMemory& b) {
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors) {
    const at::Tensor& other = b.tensors.at(name);
    EXPECT_EQ(tensor.scalar_type(), other.scalar_type()) << name;
    EXPECT_TRUE(at::equal(tensor, other)) << name;
  }
  EXPECT_EQ(a.values, b.values);
  ASSERT_EQ(a.examples.size(), b.examples.size());
  for (size_t i = 0; i < a.examples.size(); ++i) {
    EXPECT_EQ(a.examples[i].task, b.examples[i].task);
    const TrainingExample &x = a.examples[i].example, &y = b.examples[i].example;
    EXPECT_EQ(x.sequence.ids, y.sequence.ids);
    EXPECT_EQ(x.sequence.type_ids, y.sequence.type_ids);
    EXPECT_EQ(x.sequence.windows, y.sequence.windows);
    EXPECT_EQ(x.tags, y.tags);
    EXPECT_EQ(x.label, y.label);
    EXPECT_EQ(x.source, y.source);
    EXPECT_EQ(x.whole, y.whole);
  }
}

TEST_F(VersionMemoryTest, ComesBackAsItWasWritten) {
  ASSERT_TRUE(WriteVersionMemory(directory_, "er", Filled()).ok());
  const auto read = ReadVersionMemory(directory_, "er");
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectSame(*read, Filled());
  ExpectSame(*MemorySource(directory_, "er").Read(), Filled());
  ExpectSame(*MemorySource(Filled()).Read(), Filled());
  // Tensors alone, and nothing at all.
  VersionMemory tensors = Filled();
  tensors.examples.clear();
  ASSERT_TRUE(WriteVersionMemory(directory_, "si", tensors).ok());
  ExpectSame(*ReadVersionMemory(directory_, "si"), tensors);
  EXPECT_TRUE(MemorySource().Read()->empty());
  EXPECT_TRUE(MemorySource(directory_, "agem").Read()->empty());
  EXPECT_TRUE(absl::IsNotFound(ReadVersionMemory(directory_, "agem").status()));
}

// Memories of programs that did not keep the digests say so of each example.
TEST_F(VersionMemoryTest, AMemoryWithoutDigestsIsRead) {
  ASSERT_TRUE(WriteVersionMemory(directory_, "er", Filled()).ok());
  const std::string path = directory_ + "/" + checkpoint::MemoryFile("er");
  nn::TensorList list;
  std::map<std::string, std::string> metadata;
  {
    const auto file = *checkpoint::SafetensorsFile::Open(path);
    metadata = file.metadata();
    for (const auto& [name, entry] : file.tensors()) {
      if (!name.starts_with("examples.whole")) list.Add(name, *nn::ReadTensor(name, entry));
    }
  }
  ASSERT_TRUE(list.Write(path, metadata).ok());
  VersionMemory expected = Filled();
  for (StoredExample& stored : expected.examples) stored.example.whole = {kUnknownWhole, kUnknownWhole};
  const auto read = ReadVersionMemory(directory_, "er");
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectSame(*read, expected);
}

TEST_F(VersionMemoryTest, MoreTokensThanMayBeAreRefused) {
  VersionMemory memory;
  StoredExample stored;
  stored.task = "a";
  stored.example.sequence.ids.resize(1);
  memory.examples.assign(static_cast<size_t>(kMostStoredExamples) + 1, stored);
  EXPECT_TRUE(absl::IsResourceExhausted(WriteVersionMemory(directory_, "er", memory)));
  EXPECT_FALSE(PathExists(directory_ + "/" + checkpoint::MemoryFile("er")));
}

// Each kind of damage to a good file is refused and named.
TEST_F(VersionMemoryTest, DamageIsRefusedByName) {
  ASSERT_TRUE(WriteVersionMemory(directory_, "er", Filled()).ok());
  const std::string path = directory_ + "/" + checkpoint::MemoryFile("er");
  std::map<std::string, at::Tensor> good;
  std::map<std::string, std::string> metadata;
  {
    const auto file = *checkpoint::SafetensorsFile::Open(path);
    metadata = file.metadata();
    for (const auto& [name, entry] : file.tensors()) good[name] = *nn::ReadTensor(name, entry);
  }
  const auto expect = [&](const std::string& named, const std::function<void()>& damage) {
    const auto tensors = good;
    const auto texts = metadata;
    damage();
    nn::TensorList list;
    for (const auto& [name, tensor] : good) list.Add(name, tensor);
    ASSERT_TRUE(list.Write(path, metadata).ok());
    const absl::Status status = ReadVersionMemory(directory_, "er").status();
    EXPECT_EQ(StatusReason(status), "MEMORY_DAMAGED") << named << " " << status;
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr(named));
    good = tensors;
    metadata = texts;
  };
  for (const char* column : {"ids", "type_ids", "tags", "offsets", "task", "tagged", "label", "source", "whole_second",
                             "counted", "window_offsets"}) {
    const std::string name = std::string("examples.") + column;
    expect(name + " is missing", [&] { good.erase(name); });
    expect(name + " has another type", [&] { good[name] = good[name].to(at::kFloat); });
    expect(name + " has another type", [&] { good[name] = good[name].view({-1, 1}); });
  }
  for (const char* column : {"type_ids", "tags", "task", "tagged", "source", "counted"}) {
    const std::string name = std::string("examples.") + column;
    expect(name + " has another length", [&] { good[name] = good[name].narrow(0, 0, good[name].numel() - 1); });
  }
  const auto put = [&](const std::string& name, int64_t index, int64_t value) {
    return [&good, name, index, value] { good[name] = good[name].clone().index_fill_(0, at::tensor({index}), value); };
  };
  expect("examples.ids", put("examples.ids", 1, -1));
  expect("examples.type_ids", put("examples.type_ids", 1, -1));
  expect("examples.label", put("examples.label", 1, -2));
  expect("examples.source", put("examples.source", 1, -2));
  expect("examples.tags", put("examples.tags", 3, -1));
  expect("examples.tagged", put("examples.tagged", 0, 2));
  expect("examples.task", put("examples.task", 0, 2));
  expect("examples.task", put("examples.task", 0, -1));
  expect("examples.offsets does not cover", put("examples.offsets", 3, 5));
  expect("examples.offsets does not cover", put("examples.offsets", 0, 1));
  expect("examples.offsets does not rise", put("examples.offsets", 1, 5));  // an empty example
  expect("examples.offsets does not rise", put("examples.offsets", 1, 6));
  expect("examples.whole", put("examples.whole", 1, -2));
  expect("examples.whole_second", put("examples.whole_second", 1, -2));
  expect("examples.windows holds an empty window", put("examples.windows", 1, 0));
  expect("examples.windows does not cover", put("examples.windows", 1, 2));
  expect("examples.counted holds a negative", put("examples.counted", 1, -1));
  expect("examples.counted counts none", [&] { good["examples.counted"] = at::zeros({2}, at::kInt); });
  expect("examples.window_offsets does not part", put("examples.window_offsets", 3, 1));
  expect("examples has a column", [&] { good.erase("examples.windows"); });
  expect("examples has a column", [&] { good.erase("examples.whole"); });
  expect("examples has a column", [&] { good["examples.more"] = at::zeros({1}, at::kLong); });
  expect("stray", [&] { good["stray"] = at::zeros({1}); });
  expect("header is missing", [&] { metadata.erase("memory"); });
  expect("does not parse", [&] { metadata["memory"] = "{"; });
  expect("another strategy", [&] { metadata["memory"] = R"({"format":1,"strategy":"agem","tasks":["b","a"]})"; });
  expect("another format", [&] { metadata["memory"] = R"({"format":2,"strategy":"er","tasks":["b","a"]})"; });
  expect("without a name", [&] { metadata["memory"] = R"({"format":1,"strategy":"er","tasks":["b",""]})"; });
  ASSERT_TRUE(WriteFileAtomic(path, "no safetensors").ok());
  EXPECT_EQ(StatusReason(ReadVersionMemory(directory_, "er").status()), "MEMORY_DAMAGED");
}

}  // namespace
}  // namespace engram::train
