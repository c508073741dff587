#include "core/checkpoint/safetensors.h"

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::checkpoint {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

std::string WithLength(uint64_t length, std::string_view rest) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file.append(rest);
}

// A file of this header and as many zero bytes of data.
std::string File(std::string_view header, size_t data) {
  return WithLength(header.size(), std::string(header).append(data, '\0'));
}

std::string Refusal(std::string_view file) {
  const auto parsed = SafetensorsFile::Parse(AsBytes(file));
  if (parsed.ok()) return "accepted";
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

TEST(SafetensorsParse, AcceptsEverythingThatTheFormatAllows) {
  const std::string file = File(
      R"( {"b":{"data_offsets":[8,20],"shape":[3,2],"dtype":"F16"},"__metadata__":{"k":"v","é":"\u00e9"},)"
      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"empty":{"dtype":"I64","shape":[0,7],"data_offsets":[8,8]},)"
      R"("scalar":{"dtype":"U8","shape":[],"data_offsets":[20,21]},"four":{"dtype":"F4","shape":[3,2],"data_offsets":[21,24]}}   )",
      24);
  EXPECT_THAT(Refusal(file), HasSubstr("does not begin with {"));  // the leading blank
  const std::string valid = WithLength(file.size() - 8 - 24 - 1, file.substr(9));
  const auto parsed = SafetensorsFile::Parse(AsBytes(valid));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->tensors().size(), 5u);
  EXPECT_EQ(parsed->metadata(), (std::map<std::string, std::string>{{"k", "v"}, {"é", "é"}}));
  const TensorEntry* b = parsed->Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, Dtype::kF16);
  EXPECT_EQ(b->shape, (std::vector<uint64_t>{3, 2}));
  EXPECT_EQ(b->bytes.data(), AsBytes(valid).data() + valid.size() - 24 + 8);
  EXPECT_EQ(b->bytes.size(), 12u);
  EXPECT_EQ(parsed->Find("scalar")->bytes.size(), 1u);
  EXPECT_TRUE(parsed->Find("empty")->bytes.empty());
  EXPECT_EQ(parsed->Find("nobody"), nullptr);
  EXPECT_TRUE(SafetensorsFile::Parse(AsBytes(File("{}", 0))).ok());
}

struct RefusalCase {
  const char* header;
  size_t data;
  const char* message;
};

TEST(SafetensorsParse, EveryRefusalOfTheHeaderHasItsOwnMessage) {
  const std::vector<RefusalCase> cases = {
      {"", 0, "does not begin with {"},
      {"[]", 0, "does not begin with {"},
      {"{", 0, "no valid JSON"},
      {"{}x", 0, "no valid JSON"},
      {"{\"a\xff\":{}}", 0, "no valid JSON"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
       0, "\"a\" occurs twice"},
      {R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0, "has the field dtype twice"},
      {R"({"__metadata__":{"k":"1","k":"2"}})", 0, "metadata key \"k\" occurs twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "\"__metadata__\" occurs twice"},
      {R"({"__metadata__":{"k":1}})", 0, "the metadata value of \"k\" must be a text"},
      {R"({"__metadata__":{"k":{"deep":"x"}}})", 0, "the metadata value of \"k\" must be a text"},
      {R"({"__metadata__":null})", 0, "__metadata__ must be an object of texts"},
      {R"({"__metadata__":[]})", 0, "__metadata__ must be an object of texts"},
      {R"({"a":7})", 0, "tensor \"a\" must be described by an object"},
      {R"({"a":["F32"]})", 0, "tensor \"a\" must be described by an object"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "tensor \"a\" lacks two data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}})", 4, "tensor \"a\" lacks two data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "more than two data_offsets"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "tensor \"a\" lacks shape"},
      {R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "tensor \"a\" lacks dtype"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"stride":[1]}})", 4, "unknown field \"stride\""},
      {R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype \"F31\""},
      {R"({"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}})", 4, "dtype must be a text"},
      {R"({"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", 4, "shape must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "shape must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "shape must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "shape must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "shape must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4,
       "shape must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}})", 4, "shape must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":[{}],"data_offsets":[0,4]}})", 4, "shape must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}})", 4, "shape must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":["0",4]}})", 4, "data_offsets must be a list of integers"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "before its begin"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "leaves a hole of 4 bytes"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}})",
       9, "tensor \"b\" leaves a hole of 1 bytes"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
       7, "tensor \"b\" overlaps"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       4, "overlaps"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
       "has 4 bytes, but its shape and dtype ask for 8"},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2, "does not end at a whole byte"},
      {R"({"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "overflows"},
      {R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0, "overflows"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "is cut off"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "1 bytes follow the last tensor"},
  };
  for (const RefusalCase& c : cases) EXPECT_THAT(Refusal(File(c.header, c.data)), HasSubstr(c.message)) << c.header;
}

TEST(SafetensorsParse, RefusesLyingLengths) {
  EXPECT_THAT(Refusal(WithLength(4, std::string_view("{}\0x", 4))), HasSubstr("no valid JSON (at its byte 2)"));
  EXPECT_THAT(Refusal(""), HasSubstr("shorter than the 8 bytes"));
  EXPECT_THAT(Refusal("1234567"), HasSubstr("shorter than the 8 bytes"));
  EXPECT_THAT(Refusal(WithLength(3, "{}")), HasSubstr("the header is cut off"));
  EXPECT_THAT(Refusal(WithLength(100'000'000, "{}")), HasSubstr("the header is cut off"));
  EXPECT_THAT(Refusal(WithLength(100'000'001, "{}")), HasSubstr("is above 100000000"));
  EXPECT_THAT(Refusal(WithLength(~uint64_t{0}, "{}")), HasSubstr("is above 100000000"));
}

TEST(SafetensorsParse, SaysWhatLiesUnderTheName) {
  EXPECT_THAT(Refusal("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
              HasSubstr("it is a Git LFS pointer, not the file itself"));
  EXPECT_THAT(Refusal("<!DOCTYPE html><html></html>"), HasSubstr("it is a web page"));
}

TEST(SafetensorsParse, RefusesTooManyDimensionsAndShortensLongNames) {
  std::string ones = "1";
  for (size_t i = 1; i < kMaxTensorRank; ++i) ones += ",1";
  const auto header = [](const std::string& shape) {
    return R"({"a":{"dtype":"U8","shape":[)" + shape + R"(],"data_offsets":[0,1]}})";
  };
  EXPECT_EQ(Refusal(File(header(ones), 1)), "accepted");
  EXPECT_THAT(Refusal(File(header(ones + ",1"), 1)), HasSubstr("more than 64 dimensions"));
  const std::string refusal = Refusal(File("{\"" + std::string(100'000, 'n') + "\":7}", 0));
  EXPECT_THAT(refusal, HasSubstr("nnn...\" must be described"));
  EXPECT_LT(refusal.size(), 300u);
}

std::vector<float> Numbers(size_t count) {
  std::vector<float> numbers(count);
  for (size_t i = 0; i < count; ++i) numbers[i] = static_cast<float>(i) * 0.5f;
  return numbers;
}

TensorToWrite FloatTensor(const std::string& name, const std::vector<float>& numbers, std::vector<uint64_t> shape) {
  return {name, Dtype::kF32, std::move(shape), std::as_bytes(std::span(numbers))};
}

// The bytes of a small file of two float tensors and some bytes, with metadata.
std::string SmallFile() {
  const TemporaryDirectory directory;
  const std::vector<float> numbers = Numbers(6);
  const std::string raw = "abc";
  EXPECT_TRUE(
      WriteSafetensors(
          directory.Path("x"),
          {{"raw", Dtype::kU8, {3}, AsBytes(raw)}, FloatTensor("w", numbers, {2, 3}), FloatTensor("b", numbers, {6})},
          {{"format", "pt"}})
          .ok());
  return ReadFile(directory.Path("x")).value();
}

TEST(SafetensorsWrite, WritesTheReferenceOrderAndPadding) {
  const std::string file = SmallFile();
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_THAT(
      file.substr(8, length),
      ::testing::StartsWith(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},)"
                            R"("w":{"dtype":"F32","shape":[2,3],"data_offsets":[24,48]},)"
                            R"("raw":{"dtype":"U8","shape":[3],"data_offsets":[48,51]}})"));
  const auto parsed = SafetensorsFile::Parse(AsBytes(file));
  ASSERT_TRUE(parsed.ok());
  const std::vector<float> numbers = Numbers(6);
  EXPECT_EQ(std::memcmp(parsed->Find("w")->bytes.data(), numbers.data(), 24), 0);
  EXPECT_EQ(parsed->metadata().at("format"), "pt");
}

TEST(SafetensorsWrite, RefusesWhatItCouldNotReadAgain) {
  const TemporaryDirectory directory;
  const std::string path = directory.Path("x");
  const std::vector<float> numbers = Numbers(2);
  const auto write = [&](std::vector<TensorToWrite> tensors, const std::map<std::string, std::string>& metadata = {}) {
    return std::string(WriteSafetensors(path, std::move(tensors), metadata).message());
  };
  EXPECT_THAT(write({FloatTensor("a", numbers, {3})}), HasSubstr("\"a\": the bytes do not fit"));
  EXPECT_THAT(write({FloatTensor("a", numbers, {uint64_t{1} << 62, 4})}), HasSubstr("overflows"));
  EXPECT_THAT(write({FloatTensor("a", numbers, {2}), {"a", Dtype::kU8, {0}, {}}}), HasSubstr("\"a\" is given twice"));
  EXPECT_THAT(write({FloatTensor("__metadata__", numbers, {2})}), HasSubstr("__metadata__"));
  EXPECT_THAT(write({FloatTensor("\xff", numbers, {2})}), HasSubstr("UTF-8"));
  EXPECT_THAT(write({}, {{"k", "\xc3"}}), HasSubstr("UTF-8"));
  EXPECT_FALSE(PathExists(path));
  EXPECT_EQ(write({}), "");
  EXPECT_TRUE(SafetensorsFile::Open(path).ok());
}

TEST(SafetensorsOpen, MissingFileIsNotFoundAndTheErrorHasNoPath) {
  const absl::Status status = SafetensorsFile::Open("/nowhere/model.safetensors").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("nowhere")));
}

TEST(SafetensorsOpen, SpansSurviveAMove) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(WriteFileAtomic(directory.Path("x"), SmallFile()).ok());
  auto opened = SafetensorsFile::Open(directory.Path("x"));
  ASSERT_TRUE(opened.ok());
  const SafetensorsFile moved = std::move(opened).value();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(moved.Find("raw")->bytes.data()), 3), "abc");
}

TEST(SafetensorsHostile, TruncationAtEveryByteIsRefused) {
  const std::string file = SmallFile();
  for (size_t size = 0; size < file.size(); ++size) {
    // A heap copy of the exact size: reading past the end shows under AddressSanitizer.
    const std::vector<char> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_NE(Refusal({cut.data(), cut.size()}), "accepted") << size;
  }
  EXPECT_EQ(Refusal(file), "accepted");
}

TEST(SafetensorsHostile, MutatedHeadersNeverCrashAndAcceptedOnesStayInsideTheFile) {
  constexpr int kRounds = 100'000;
  constexpr std::string_view kPieces = "{}[]\",:0123456789-.eE \\u__F32shapedtype\x80\xff";
  const std::string original = SmallFile();
  RandomStream random(20240513, RandomPurpose::kShuffle, 0);
  int refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<char> file(original.begin(), original.end());
    for (uint64_t edits = 1 + random.NextBelow(4); edits > 0; --edits) {
      const size_t at = random.NextBelow(4) == 0 ? random.NextBelow(8) : 8 + random.NextBelow(file.size() - 8);
      switch (random.NextBelow(4)) {
        case 0:
          file[at] = static_cast<char>(random.NextBelow(256));
          break;
        case 1:
          file[at] = kPieces[random.NextBelow(kPieces.size())];
          break;
        case 2:
          file.erase(file.begin() + static_cast<std::ptrdiff_t>(at));
          break;
        default:
          file.insert(file.begin() + static_cast<std::ptrdiff_t>(at), kPieces[random.NextBelow(kPieces.size())]);
      }
    }
    const auto parsed = SafetensorsFile::Parse(AsBytes({file.data(), file.size()}));
    if (!parsed.ok()) {
      ++refused;
      continue;
    }
    const std::byte* begin = AsBytes({file.data(), file.size()}).data();
    for (const auto& [name, tensor] : parsed->tensors()) {
      ASSERT_GE(tensor.bytes.data(), begin);
      ASSERT_LE(tensor.bytes.data() + tensor.bytes.size(), begin + file.size());
    }
  }
  EXPECT_GT(refused, kRounds / 2);
  EXPECT_LT(refused, kRounds);
}

}  // namespace
}  // namespace engram::checkpoint
