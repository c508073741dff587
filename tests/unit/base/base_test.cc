#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/random.h"
#include "core/base/status.h"
#include "core/base/streams.h"
#include "core/base/utf8.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Folder(const std::string& name) {
  const std::string path = ::testing::TempDir() + "engram-base-" + name;
  EXPECT_TRUE(RemoveTree(path).ok());
  EXPECT_TRUE(MakeDirectories(path).ok());
  return path;
}

TEST(Status, FieldAndReasonSurviveAnnotation) {
  const absl::Status field = Annotate(InvalidField("lambda", "is NaN"), "StartTask");
  EXPECT_EQ(field.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusField(field), "lambda");
  EXPECT_THAT(std::string(field.message()), HasSubstr("StartTask: lambda: is NaN"));
  EXPECT_EQ(StatusReason(StatusWithReason(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", "no such model")),
            "MODEL_NOT_FOUND");
  EXPECT_EQ(StatusReason(absl::CancelledError("")), "CANCELLED");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

// Known answers published with Random123 (kat_vectors, philox4x32 10).
TEST(Random, PhiloxKnownAnswers) {
  EXPECT_THAT(Philox({0, 0, 0, 0}, 0), ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  EXPECT_THAT(Philox({~0u, ~0u, ~0u, ~0u}, ~uint64_t{0}),
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(Philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, 0x299f31d0a4093822u),
              ElementsAre(0xd16cfe09u, 0x94fdcceb, 0x5001e420u, 0x24126ea1u));
}

TEST(Random, StreamsDifferByPurposeAndStepAndRepeat) {
  RandomStream a(1, RandomPurpose::kShuffle, 0), same(1, RandomPurpose::kShuffle, 0),
      other(1, RandomPurpose::kDropout, 0), later(1, RandomPurpose::kShuffle, 1);
  const uint64_t first = a.NextUint64();
  EXPECT_EQ(first, same.NextUint64());
  EXPECT_NE(first, other.NextUint64());
  EXPECT_NE(first, later.NextUint64());
  double sum = 0, squares = 0;
  for (int i = 0; i < 20000; ++i) {
    const double x = a.NextNormal();
    sum += x;
    squares += x * x;
    EXPECT_LT(a.NextBelow(7), 7u);
  }
  EXPECT_NEAR(sum / 20000, 0, 0.03);
  EXPECT_NEAR(squares / 20000, 1, 0.05);
}

// Below 3 x 2^62 every third number is below 2^62. Taken modulo the bound, without rejection, every second one would be.
TEST(Random, BoundedNumbersHaveNoBias) {
  RandomStream random(1, RandomPurpose::kSubset, 0);
  int low = 0;
  for (int i = 0; i < 6000; ++i) low += random.NextBelow(uint64_t{3} << 62) < uint64_t{1} << 62 ? 1 : 0;
  EXPECT_NEAR(low, 2000, 150);  // four standard deviations
}

TEST(Files, AtomicWriteReplacesWholeAndLeavesNoTemporary) {
  const std::string folder = Folder("atomic");
  ASSERT_TRUE(WriteFileAtomic(folder + "/a", "one").ok());
  ASSERT_TRUE(WriteFileAtomic(folder + "/a", "two!").ok());
  EXPECT_EQ(*ReadFile(folder + "/a"), "two!");
  EXPECT_EQ(*FileBytes(folder + "/a"), 4);
  EXPECT_EQ(FileBytes(folder + "/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*ListDirectory(folder), ElementsAre("a"));
  EXPECT_EQ(ReadFile(folder + "/a", 3).status().code(), absl::StatusCode::kResourceExhausted);
  const absl::Status missing = ReadFile(folder + "/none").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), ::testing::Not(HasSubstr(folder))) << "errors name no path";
}

// A full disk, told by the limit on a file's size: the old content stays and nothing half-written is left.
TEST(Files, DiskFullKeepsTheOldContent) {
  const std::string folder = Folder("full");
  ASSERT_TRUE(WriteFileAtomic(folder + "/a", "old").ok());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{1000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileAtomic(folder + "/a", std::string(5000, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusReason(status), "DISK_FULL");
  EXPECT_EQ(*ReadFile(folder + "/a"), "old");
  EXPECT_THAT(*ListDirectory(folder), ElementsAre("a"));
}

TEST(Files, StreamsAreWrittenWholeAndDigestedAsTheyCome) {
  const std::string folder = Folder("stream");
  const ByteSource whole = [](const ByteSink& sink) {
    for (const char* piece : {"a", "", "bc"}) ENGRAM_RETURN_IF_ERROR(sink(piece));
    return absl::OkStatus();
  };
  ASSERT_TRUE(WriteStreamAtomic(folder + "/a", whole).ok());
  EXPECT_EQ(*ReadFile(folder + "/a"), "abc");
  const auto digest = DigestStream(whole);
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(digest->sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest->bytes, 3);
  const ByteSource broken = [](const ByteSink& sink) {
    ENGRAM_RETURN_IF_ERROR(sink("half"));
    return absl::DataLossError("gone");
  };
  EXPECT_EQ(WriteStreamAtomic(folder + "/a", broken).message(), "gone");
  EXPECT_EQ(DigestStream(broken).status().message(), "gone");
  EXPECT_EQ(*ReadFile(folder + "/a"), "abc");
  EXPECT_THAT(*ListDirectory(folder), ElementsAre("a"));
}

TEST(Files, LockIsExclusiveUntilReleased) {
  const std::string path = Folder("lock") + "/lock";
  {
    auto first = FileLock::Acquire(path);
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(FileLock::Acquire(path).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_TRUE(FileLock::Acquire(path).ok());
}

TEST(Files, Sha256KnownAnswers) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const std::string path = Folder("sha") + "/a";
  ASSERT_TRUE(WriteFileAtomic(path, "abc").ok());
  EXPECT_EQ(*Sha256HexOfFile(path), Sha256Hex("abc"));
}

TEST(Files, GunzipReadsMembersAndRefusesDamageAndBombs) {
  const std::string data = *ReadFile(std::string(ENGRAM_TEST_DATA) + "/banking77.test.jsonl.gz");
  const std::string once = *MaybeGunzip(data, size_t{1} << 24);
  EXPECT_THAT(once.substr(0, 9), "{\"text\": ");
  EXPECT_EQ(*MaybeGunzip(data + data, size_t{1} << 24), once + once);
  EXPECT_EQ(*MaybeGunzip("plain", 100), "plain");
  EXPECT_EQ(MaybeGunzip(data.substr(0, data.size() / 2), size_t{1} << 24).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MaybeGunzip(data, 1000).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Utf8, EveryCodePointGoesThroughAndSurrogatesDoNot) {
  for (int32_t c = 0; c <= 0x10FFFF; ++c) {
    std::string text;
    AppendUtf8(c, text);
    const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    size_t at = 0;
    ASSERT_EQ(DecodeUtf8(text, at), surrogate ? -1 : c);
    ASSERT_EQ(at, surrogate ? 0 : text.size());
  }
}

TEST(Utf8, FirstBadByteIsNamed) {
  EXPECT_EQ(FindInvalidUtf8("ok"), std::nullopt);
  EXPECT_EQ(FindInvalidUtf8("ab\xff"), 2u);
  EXPECT_EQ(FindInvalidUtf8("a\xc0\xaf"), 1u) << "overlong";
  EXPECT_EQ(FindInvalidUtf8("\xe2\x82"), 0u) << "cut off";
  EXPECT_EQ(FindInvalidUtf8("\xf5\x80\x80\x80"), 0u) << "above U+10FFFF";
  EXPECT_EQ(CountCodePoints("a\xc3\xa9\xf0\x9f\xa4\x97"), 3);
}

TEST(Utf8, IsCutBetweenCodePoints) {
  const std::string text = "a\xc3\xa9\xf0\x9f\xa4\x97z";
  const size_t kept[] = {0, 1, 1, 3, 3, 3, 3, 7, 8, 8};
  for (size_t bytes = 0; bytes < std::size(kept); ++bytes)
    EXPECT_EQ(CutUtf8(text, bytes), text.substr(0, kept[bytes])) << bytes;
}

TEST(Clock, FakeMovesByHand) {
  FakeClock clock;
  const absl::Time start = clock.Now();
  clock.Advance(absl::Minutes(5));
  EXPECT_EQ(clock.Now() - start, absl::Minutes(5));
}

}  // namespace
}  // namespace engram
