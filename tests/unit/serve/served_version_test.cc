#include "core/serve/served_version.h"

#include <stdlib.h>

#include "gmock/gmock.h"
#include "tests/unit/letters_version.h"

namespace engram::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::Key;

class ServedVersionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-served-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    checkpoint::ManifestTask tagger, classifier;
    tagger.name = "names";
    tagger.kind = checkpoint::TaskKind::kTokenClassification;
    tagger.labels = {"O", "B-person", "I-person"};
    classifier.name = "mood";
    classifier.labels = {"good", "bad"};
    classifier.pooling = checkpoint::Pooling::kMean;
    manifest_.model = "letters";
    manifest_.version = 3;
    manifest_.tasks = {tagger, classifier};
    WriteLettersVersion(directory_, manifest_);
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(directory_).ok()); }
  absl::StatusOr<std::shared_ptr<const ServedVersion>> Load() const {
    return LoadServedVersion("letters", 3, directory_, at::kCPU, nn::Precision::kFloat32);
  }

  std::string directory_;
  checkpoint::VersionManifest manifest_;
};

TEST_F(ServedVersionTest, HoldsWhatACallNeeds) {
  const auto loaded = Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const ServedVersion& served = **loaded;
  EXPECT_EQ(served.model, "letters");
  EXPECT_EQ(served.number, 3);
  EXPECT_EQ(served.max_tokens(), 24);
  EXPECT_EQ(served.tokenizer->vocabulary_size(), 57);
  EXPECT_THAT(served.version.model->heads(), ElementsAre(Key("mood"), Key("names")));
  ASSERT_THAT(served.tag_sets, ElementsAre(Key("names"))) << "only taggers have tags";
  EXPECT_THAT(served.tag_sets.at("names").types(), ElementsAre("person"));
  ASSERT_NE(served.FindTask("mood"), nullptr);
  EXPECT_THAT(served.FindTask("mood")->labels, ElementsAre("good", "bad"));
  EXPECT_EQ(served.FindTask("weather"), nullptr);
}

TEST_F(ServedVersionTest, AFileThatChangedIsNotServed) {
  const std::string path = directory_ + "/vocab.txt", vocabulary = *ReadFile(path);
  ASSERT_TRUE(WriteFileAtomic(path, vocabulary + "word\n").ok());
  EXPECT_TRUE(absl::IsDataLoss(Load().status()));
  ASSERT_TRUE(WriteFileAtomic(path, vocabulary).ok());
  EXPECT_TRUE(Load().ok());
}

TEST_F(ServedVersionTest, ATokenizerWithMoreTokensThanTheModelHasEmbeddingsIsNotServed) {
  const std::string path = directory_ + "/vocab.txt";
  ASSERT_TRUE(WriteFileAtomic(path, *ReadFile(path) + "word\n").ok());
  checkpoint::VersionManifest manifest = *checkpoint::ReadManifest(directory_);
  ASSERT_TRUE(checkpoint::WriteManifest(directory_, manifest).ok());  // with the new digest
  EXPECT_TRUE(absl::IsFailedPrecondition(Load().status()));
}

}  // namespace
}  // namespace engram::serve
