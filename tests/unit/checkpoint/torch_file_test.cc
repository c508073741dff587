// The files of tests/data/weights were written by torch.save (PyTorch 2.11); their values are stated here.
#include "core/checkpoint/torch_file.h"

#include <cstring>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/safetensors.h"
#include "core/checkpoint/torch_pickle.h"
#include "core/checkpoint/weight_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string DataFile(std::string_view name) {
  return ReadFile(absl::StrCat(ENGRAM_TEST_DATA, "/weights/", std::string(name))).value();
}
std::span<const std::byte> AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

const TensorToWrite& Named(const TorchFile& file, std::string_view name) {
  for (const TensorToWrite& tensor : file.tensors()) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << "no tensor " << name;
  return file.tensors().front();
}

template <typename T>
std::vector<T> Values(const TensorToWrite& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

class TorchFiles : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Formats, TorchFiles, ::testing::Values("zip.bin", "legacy.bin"));

TEST_P(TorchFiles, HoldWhatTorchSaved) {
  const std::string bytes = DataFile(GetParam());
  const auto file = TorchFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors().size(), 9u);
  const TensorToWrite& plain = Named(*file, "plain");
  EXPECT_EQ(plain.dtype, Dtype::kF32);
  EXPECT_THAT(plain.shape, ElementsAre(3, 4));
  EXPECT_THAT(Values<float>(plain), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(Named(*file, "turned").shape, ElementsAre(4, 3));  // the same storage, in another order
  EXPECT_THAT(Values<float>(Named(*file, "turned")), ElementsAre(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11));
  EXPECT_THAT(Values<float>(Named(*file, "part")), ElementsAre(4, 5, 6));
  EXPECT_EQ(Named(*file, "half").dtype, Dtype::kF16);
  EXPECT_THAT(Values<uint16_t>(Named(*file, "half")), ElementsAre(0x3E00, 0xC000));  // 1.5, -2
  EXPECT_EQ(Named(*file, "bfloat").dtype, Dtype::kBF16);
  EXPECT_THAT(Values<uint16_t>(Named(*file, "bfloat")), ElementsAre(0x3F00, 0x4040));  // 0.5, 3
  EXPECT_THAT(Values<int64_t>(Named(*file, "long")), ElementsAre(7));
  EXPECT_TRUE(Named(*file, "scalar").shape.empty());
  EXPECT_THAT(Values<float>(Named(*file, "scalar")), ElementsAre(2.5F));
  EXPECT_THAT(Named(*file, "empty").shape, ElementsAre(0, 3));
  EXPECT_THAT(Values<float>(Named(*file, "parameter")), ElementsAre(9));
}

TEST_P(TorchFiles, CutAnywhereAreRefused) {
  const std::string bytes = DataFile(GetParam());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(TorchFile::Parse(AsBytes(std::string_view(bytes).substr(0, size))).ok()) << size;
}

// Whatever is accepted lies within the file, or was copied out of it: a sanitizer sees a read beyond.
TEST_P(TorchFiles, DamagedAnywhereAreReadOrRefused) {
  const std::string bytes = DataFile(GetParam());
  uint64_t sum = 0, accepted = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {1, 0x80, 0xFF}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const auto file = TorchFile::Parse(AsBytes(damaged));
      if (!file.ok()) continue;
      ++accepted;
      for (const TensorToWrite& tensor : file->tensors()) {
        for (const std::byte byte : tensor.bytes) sum += static_cast<uint64_t>(byte);
      }
    }
  }
  EXPECT_GT(accepted, 0u);  // a number of a tensor may be any
  EXPECT_GT(sum, 0u);
}

std::string Refusal(std::string_view pickle) {
  const auto read = ReadTorchPickle(AsBytes(pickle));
  return read.ok() ? "accepted" : std::string(read.status().message());
}

TEST(TorchPickle, WhatItWouldRunIsRefusedByName) {
  EXPECT_THAT(std::string(TorchFile::Parse(AsBytes(DataFile("calls_system.bin"))).status().message()),
              HasSubstr("\"posix.system\""));
  EXPECT_THAT(Refusal("\x80\x02"
                      "cbuiltins\neval\n."),
              HasSubstr("\"builtins.eval\""));
  EXPECT_THAT(Refusal("\x80\x04\x8c\x02os\x8c\x06system\x93."), HasSubstr("\"os.system\""));
  EXPECT_THAT(std::string(TorchFile::Parse(AsBytes(DataFile("not_only_tensors.bin"))).status().message()),
              HasSubstr("\"epoch\""));
}

TEST(TorchPickle, OperandsOfAnotherKindAreRefused) {
  using namespace std::string_literals;
  EXPECT_EQ(Refusal("}."), "accepted");
  EXPECT_THAT(Refusal("]X\1\0\0\0aK\1s."s), HasSubstr("where a dictionary must stand"));
  EXPECT_THAT(Refusal("}K\1a."s), HasSubstr("where a list must stand"));
  EXPECT_THAT(Refusal("}(K\1u."s), HasSubstr("a key without a value"));
  EXPECT_THAT(Refusal("K\1)R."s), HasSubstr("what is called"));
  EXPECT_THAT(Refusal("ccollections\nOrderedDict\n]R."s), HasSubstr("arguments of a call"));
  EXPECT_THAT(Refusal("u."), HasSubstr("no mark"));
  EXPECT_THAT(Refusal("s."), HasSubstr("no operand"));
  EXPECT_THAT(Refusal("h\5."), HasSubstr("did not keep"));
  EXPECT_THAT(Refusal("i."), HasSubstr("opcode"));
  EXPECT_THAT(Refusal("K\1."), HasSubstr("no dictionary of tensors"));
  EXPECT_THAT(Refusal("}}."), HasSubstr("one value"));
  EXPECT_THAT(Refusal("X\xff\xff\xff\xff"), HasSubstr("too long"));
  EXPECT_THAT(Refusal("}X\1\0\0\0\xffK\1s."s), HasSubstr("UTF-8"));
}

TEST(TorchPickle, ValuesNestedTenThousandDeepAreRefused) {
  EXPECT_THAT(Refusal(std::string(10'000, ']') + std::string(9'999, 'a') + "."), HasSubstr("nested deeper"));
  EXPECT_THAT(Refusal(")" + std::string(10'000, '\x85') + "."), HasSubstr("nested deeper"));
}

TEST(WeightFiles, AreGatheredIntoOneFile) {
  TemporaryDirectory directory;
  EXPECT_EQ(StatusField(GatherWeights(directory.path()).status()), "model.safetensors");
  ASSERT_TRUE(WriteFileAtomic(directory.Path("pytorch_model.bin"), DataFile("zip.bin")).ok());
  const auto said = GatherWeights(directory.path());
  ASSERT_TRUE(said.ok()) << said.status();
  EXPECT_THAT(*said, ElementsAre(HasSubstr("converted from pytorch_model.bin")));
  EXPECT_FALSE(PathExists(directory.Path("pytorch_model.bin")));
  const auto made = SafetensorsFile::Open(directory.Path("model.safetensors"));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->tensors().size(), 9u);
  EXPECT_THAT(GatherWeights(directory.path()).value(), ElementsAre());  // there already
}

class Shards : public ::testing::Test {
 protected:
  void SetUp() override {
    Write("model-1.safetensors", {"a", "b"});
    Write("model-2.safetensors", {"c"});
  }
  void Write(const std::string& file, const std::vector<std::string>& names) {
    std::vector<TensorToWrite> tensors;
    for (const std::string& name : names) tensors.push_back({name, Dtype::kU8, {1}, AsBytes(name)});
    ASSERT_TRUE(WriteSafetensors(directory_.Path(file), std::move(tensors), {}).ok());
  }
  absl::Status Gather(const std::string& map) {
    const std::string index = absl::StrCat(R"({"metadata": {"total_size": 1}, "weight_map": )", map, "}");
    EXPECT_TRUE(WriteFileAtomic(directory_.Path("model.safetensors.index.json"), index).ok());
    return GatherWeights(directory_.path()).status();
  }
  std::string Refused(const std::string& map) { return std::string(Gather(map).message()); }

  TemporaryDirectory directory_;
};

TEST_F(Shards, AreJoined) {
  ASSERT_TRUE(Gather(R"({"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"})").ok());
  const auto made = SafetensorsFile::Open(directory_.Path("model.safetensors"));
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->tensors().size(), 3u);
  for (const auto& [name, tensor] : made->tensors()) EXPECT_EQ(static_cast<char>(tensor.bytes[0]), name[0]);
  for (const char* source : {"model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"})
    EXPECT_FALSE(PathExists(directory_.Path(source))) << source;
}

TEST_F(Shards, ThatDoNotFitTheirIndexAreRefused) {
  EXPECT_THAT(Refused(R"({"a": "../x.safetensors"})"), HasSubstr("same directory"));
  EXPECT_THAT(Refused(R"({"a": ".x.safetensors"})"), HasSubstr("same directory"));
  EXPECT_THAT(Refused(R"({"a": "engram.json"})"), HasSubstr("same directory"));
  EXPECT_THAT(Refused(R"({"a": "model-3.safetensors"})"), HasSubstr("is missing"));
  EXPECT_THAT(Refused(R"({"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors",
                          "d": "model-2.safetensors"})"),
              HasSubstr("that their files lack; the first is \"d\""));
  EXPECT_THAT(Refused(R"({"a": "model-1.safetensors", "c": "model-2.safetensors"})"), HasSubstr("does not name"));
  EXPECT_THAT(Refused(R"({"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-2.safetensors"})"),
              HasSubstr("is in another file"));
  Write("model-2.safetensors", {"c", "a"});
  EXPECT_THAT(Refused(R"({"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"})"),
              HasSubstr("and so has model-1.safetensors"));
  EXPECT_THAT(Refused("{}"), HasSubstr("names no tensors"));
  EXPECT_FALSE(PathExists(directory_.Path("model.safetensors")));
}

}  // namespace
}  // namespace engram::checkpoint
