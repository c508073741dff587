#include "core/checkpoint/shared_files.h"

#include <sys/stat.h>

#include <string>

#include "core/checkpoint/version_directory.h"
#include "gtest/gtest.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::checkpoint {
namespace {

class SharedFiles : public ::testing::Test {
 protected:
  // A directory with these files, and what its manifest lists.
  VersionManifest Make(const std::string& name, const std::map<std::string, std::string>& files) {
    VersionManifest manifest;
    for (const auto& [file, content] : files) {
      const std::string path = directory_.Path(name) + "/" + file;
      EXPECT_TRUE(MakeDirectories(path.substr(0, path.rfind('/'))).ok());
      EXPECT_TRUE(WriteFileAtomic(path, content).ok());
      manifest.files[file] = Sha256Hex(content);
    }
    return manifest;
  }
  std::string Content(const std::string& path) { return ReadFile(directory_.Path(path)).value_or("(none)"); }
  int64_t Names(const std::string& path) {
    struct stat about = {};
    EXPECT_EQ(stat(directory_.Path(path).c_str(), &about), 0) << path;
    return static_cast<int64_t>(about.st_nlink);
  }
  absl::StatusOr<int64_t> Share(const std::string& name, const VersionManifest& manifest, const std::string& other,
                                const VersionManifest& of_other) {
    return ShareFiles(directory_.Path(name), manifest, directory_.Path(other), of_other, directory_.Path("spare"));
  }

  const TemporaryDirectory directory_;
};

TEST_F(SharedFiles, EqualFilesBecomeOneWhateverTheirNames) {
  const VersionManifest first = Make("1", {{"vocab.txt", "abc"}, {"memory/a.bin", "12345"}, {"weights", "one"}});
  const VersionManifest second = Make("2", {{"vocab.txt", "abc"}, {"memory/b.bin", "12345"}, {"weights", "two"}});
  EXPECT_EQ(Share("2", second, "1", first).value(), 8);
  EXPECT_EQ(Names("1/vocab.txt"), 2);
  EXPECT_EQ(Names("2/memory/b.bin"), 2);
  EXPECT_EQ(Names("2/weights"), 1);
  EXPECT_EQ(Content("2/vocab.txt"), "abc");
  EXPECT_EQ(Content("2/memory/b.bin"), "12345");
  EXPECT_EQ(Content("2/weights"), "two");
  EXPECT_FALSE(PathExists(directory_.Path("spare")));
  // Again: nothing is left to share.
  EXPECT_EQ(Share("2", second, "1", first).value(), 0);
  // What one does with a name does nothing to the other.
  EXPECT_TRUE(WriteFileAtomic(directory_.Path("1/vocab.txt"), "changed").ok());
  EXPECT_EQ(Content("2/vocab.txt"), "abc");
  EXPECT_TRUE(RemoveTree(directory_.Path("1")).ok());
  EXPECT_EQ(Content("2/memory/b.bin"), "12345");
}

TEST_F(SharedFiles, ADamagedFileIsNotTaken) {
  const VersionManifest first = Make("1", {{"vocab.txt", "abc"}}), second = Make("2", {{"vocab.txt", "abc"}});
  ASSERT_TRUE(WriteFileAtomic(directory_.Path("1/vocab.txt"), "abX").ok());
  EXPECT_EQ(Share("2", second, "1", first).value(), 0);
  EXPECT_EQ(Content("2/vocab.txt"), "abc");
  ASSERT_TRUE(RemoveTree(directory_.Path("1")).ok());
  EXPECT_EQ(Share("2", second, "1", first).value(), 0);
  EXPECT_EQ(Content("2/vocab.txt"), "abc");
}

TEST_F(SharedFiles, AFileThatIsNotThereIsToldAndASpareThatAnEarlierStepLeftIsInNobodysWay) {
  VersionManifest first = Make("1", {{"a", "abc"}, {"b", "12"}}), second = Make("2", {{"a", "abc"}});
  ASSERT_TRUE(WriteFileAtomic(directory_.Path("spare"), "left").ok());
  EXPECT_EQ(Share("2", second, "1", first).value(), 3);
  second.files["missing"] = Sha256Hex("12");
  EXPECT_FALSE(Share("2", second, "1", first).ok());
}

TEST_F(SharedFiles, DiskIsCountedOnceForEachFile) {
  const std::string large(1 << 20, 'x');
  const VersionManifest first = Make("m/1", {{"a/large", large}}), second = Make("m/2", {{"large", large}});
  const int64_t apart = DiskBytes(directory_.Path("m"));
  EXPECT_GE(apart, 2 << 20);
  ASSERT_EQ(Share("m/2", second, "m/1", first).value(), 1 << 20);
  EXPECT_EQ(apart - DiskBytes(directory_.Path("m")), 1 << 20);
  EXPECT_EQ(DiskBytes(directory_.Path("nothing")), 0);
}

}  // namespace
}  // namespace engram::checkpoint
