#include "core/checkpoint/task_kind.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::checkpoint {
namespace {

using ::testing::HasSubstr;

// Written versions hold the names, run checkpoints the numbers: both are formats.
TEST(TaskKind, NamesAndNumbersStay) {
  EXPECT_EQ(TaskKindName(TaskKind::kSequenceClassification), "sequence_classification");
  EXPECT_EQ(TaskKindName(TaskKind::kTokenClassification), "token_classification");
  EXPECT_EQ(TaskKindName(TaskKind::kMaskedLanguageModel), "masked_language_model");
  EXPECT_EQ(static_cast<int>(TaskKind::kSequenceClassification), 0);
  EXPECT_EQ(static_cast<int>(TaskKind::kTokenClassification), 1);
  EXPECT_EQ(static_cast<int>(TaskKind::kMaskedLanguageModel), 2);
  EXPECT_EQ(ParseTaskKind("sequence_classification").value(), TaskKind::kSequenceClassification);
  EXPECT_EQ(ParseTaskKind("token_classification").value(), TaskKind::kTokenClassification);
  EXPECT_EQ(ParseTaskKind("masked_language_model").value(), TaskKind::kMaskedLanguageModel);
}

TEST(Pooling, NamesStay) {
  EXPECT_EQ(PoolingName(Pooling::kStandard), "standard");
  EXPECT_EQ(PoolingName(Pooling::kMean), "mean");
  EXPECT_EQ(ParsePooling("standard").value(), Pooling::kStandard);
  EXPECT_EQ(ParsePooling("mean").value(), Pooling::kMean);
}

TEST(TaskKind, UnknownNamesNameTheFieldAndTheNearestOne) {
  const absl::Status near = ParseTaskKind("token_clasification", "tasks[1].kind").status();
  EXPECT_EQ(near.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusField(near), "tasks[1].kind");
  EXPECT_THAT(std::string(near.message()), HasSubstr("did you mean token_classification?"));
  EXPECT_THAT(std::string(ParseTaskKind("").status().message()), HasSubstr("not known"));
  EXPECT_EQ(StatusField(ParsePooling("max").status()), "pooling");
}

}  // namespace
}  // namespace engram::checkpoint
