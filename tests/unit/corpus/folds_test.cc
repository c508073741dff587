#include "core/corpus/folds.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// `rows` texts out of `distinct`, with labels as unequal as 1 : 2 : ... : labels.
Dataset Texts(int rows, int distinct, int labels, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int> urn;
  for (int label = 1; label <= labels; ++label) urn.insert(urn.end(), static_cast<size_t>(label), label);
  Dataset dataset;
  dataset.kind = DatasetKind::kClassification;
  std::vector<std::string> label_of;
  for (int i = 0; i < distinct; ++i) label_of.push_back("l" + std::to_string(urn[random() % urn.size()]));
  for (int i = 0; i < rows; ++i) {
    const size_t text = i < distinct ? static_cast<size_t>(i) : random() % static_cast<size_t>(distinct);
    dataset.texts.push_back("text " + std::to_string(text));
    dataset.labels.push_back(label_of[text]);
  }
  return dataset;
}

TaggedSentence Sentence(const std::string& words_and_tags) {
  TaggedSentence sentence;
  std::istringstream in(words_and_tags);
  for (std::string word; in >> word;) {
    const size_t slash = word.find('/');
    sentence.words.push_back(word.substr(0, slash));
    sentence.tags.push_back(slash == std::string::npos ? "O" : word.substr(slash + 1));
    sentence.text += (sentence.text.empty() ? "" : " ") + sentence.words.back();
  }
  return sentence;
}

TEST(Folds, EveryRowIsMeasuredOnceAndNoTextIsOnTwoSides) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Dataset dataset = Texts(200, 120, 4, seed);
    const int32_t folds = 2 + static_cast<int32_t>(seed % 6);
    const auto plan = PlanFolds(dataset, {folds, seed, seed % 2 == 0 ? 0.2 : 0.0, false});
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->groups, 120);
    ASSERT_EQ(plan->folds.size(), static_cast<size_t>(folds));
    std::vector<int> measured(200);
    for (const Fold& fold : plan->folds) {
      std::map<std::string, std::set<int>> sides;
      std::vector<int64_t> all;
      int side = 0;
      for (const auto* rows : {&fold.training, &fold.development, &fold.test}) {
        EXPECT_TRUE(std::is_sorted(rows->begin(), rows->end()));
        for (const int64_t row : *rows) sides[std::string(dataset.texts[static_cast<size_t>(row)])].insert(side);
        all.insert(all.end(), rows->begin(), rows->end());
        ++side;
      }
      for (const auto& [text, on] : sides) EXPECT_EQ(on.size(), 1U) << text;
      std::sort(all.begin(), all.end());
      EXPECT_EQ(std::unique(all.begin(), all.end()) - all.begin(), 200);
      for (const int64_t row : fold.test) ++measured[static_cast<size_t>(row)];
      EXPECT_FALSE(fold.test.empty());
      EXPECT_EQ(fold.left_out, 0);
      if (seed % 2 == 0) {  // a fifth of what is not measured, as far as groups of a few rows allow
        const auto rest = static_cast<double>(fold.training.size() + fold.development.size());
        EXPECT_NEAR(static_cast<double>(fold.development.size()) / rest, 0.2, 0.03);
      } else {
        EXPECT_TRUE(fold.development.empty());
      }
    }
    EXPECT_EQ(measured, std::vector<int>(200, 1));
  }
}

TEST(Folds, LabelsAndRowsAreSpreadEvenly) {
  for (unsigned seed = 0; seed < 10; ++seed) {
    const Dataset dataset = Texts(300, 300, 5, seed);
    const auto plan = PlanFolds(dataset, {5, seed, 0, false});
    ASSERT_TRUE(plan.ok());
    std::map<std::string, double> total;
    for (const std::string_view label : dataset.labels) ++total[std::string(label)];
    for (const Fold& fold : plan->folds) {
      std::map<std::string, double> here;
      for (const int64_t row : fold.test) ++here[std::string(dataset.labels[static_cast<size_t>(row)])];
      for (const auto& [label, count] : total) EXPECT_LE(std::abs(here[label] - count / 5), 1.5) << label;
      EXPECT_LE(std::abs(static_cast<double>(fold.test.size()) - 60), 2);
    }
  }
}

TEST(Folds, RareTypesOfTaggersReachEveryFold) {
  Dataset dataset;
  dataset.kind = DatasetKind::kTagging;
  for (int i = 0; i < 60; ++i) {
    const std::string name = "n" + std::to_string(i);
    dataset.sentences.push_back(Sentence(name + (i % 12 == 0 ? "/B-rare" : "/B-often") + " lives"));
  }
  const auto plan = PlanFolds(dataset, {5, 3, 0, false});
  ASSERT_TRUE(plan.ok());
  for (const Fold& fold : plan->folds) {
    const auto rare = std::count_if(fold.test.begin(), fold.test.end(), [](int64_t row) { return row % 12 == 0; });
    EXPECT_EQ(rare, 1);
    EXPECT_EQ(fold.test.size(), 12U);
  }
}

TEST(Folds, TheSeedDecidesAndNothingElse) {
  const Dataset dataset = Texts(100, 100, 3, 1);
  const auto tests = [&](uint64_t seed) {
    std::vector<std::vector<int64_t>> rows;
    const auto plan = PlanFolds(dataset, {4, seed, 0.25, false});
    EXPECT_TRUE(plan.ok());
    for (const Fold& fold : plan->folds) {
      rows.push_back(fold.test);
      rows.push_back(fold.development);
    }
    return rows;
  };
  EXPECT_EQ(tests(7), tests(7));
  EXPECT_NE(tests(7), tests(8));
}

TEST(Folds, AsManyGroupsAsFoldsLeaveOneOutEach) {
  const auto plan = PlanFolds(Texts(40, 6, 2, 2), {6, 0, 0, false});
  ASSERT_TRUE(plan.ok());
  for (const Fold& fold : plan->folds) EXPECT_FALSE(fold.test.empty());
}

TEST(Folds, FewerGroupsThanFoldsAreAnError) {
  const auto plan = PlanFolds(Texts(40, 4, 2, 2), {5, 0, 0, false});
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(StatusReason(plan.status()), "TOO_FEW_GROUPS");
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr("4 groups"));
  // Two folds of two texts leave one to train on, of which nothing can be held out.
  EXPECT_EQ(StatusReason(PlanFolds(Texts(2, 2, 1, 0), {2, 0, 0.5, false}).status()), "TOO_FEW_GROUPS");
}

TEST(Folds, NoHeldOutTermIsTrainedOn) {
  Dataset dataset;
  dataset.kind = DatasetKind::kTagging;
  // Twelve names in two sentences each, once in capitals, and the same sentences without names.
  for (int i = 0; i < 24; ++i) {
    const std::string item = " saw item" + std::to_string(i), number = std::to_string(i / 2);
    dataset.sentences.push_back(Sentence((i % 2 == 0 ? "Name" : "NAME") + number + "/B-p Lee/I-p" + item));
    dataset.sentences.push_back(Sentence("nobody" + item));
  }
  const auto names = [&](const std::vector<int64_t>& rows) {
    std::set<std::string> found;
    for (const int64_t row : rows) {
      const TaggedSentence sentence = dataset.sentences[static_cast<size_t>(row)];
      if (sentence.tags[0] != "O") found.insert(sentence.words[0].substr(4));
    }
    return found;
  };
  const auto plan = PlanFolds(dataset, {3, 5, 0, true});
  ASSERT_TRUE(plan.ok()) << plan.status();
  int64_t left_out = 0;
  for (const Fold& fold : plan->folds) {
    const std::set<std::string> trained = names(fold.training);
    for (const std::string& name : names(fold.test)) EXPECT_FALSE(trained.contains(name)) << name;
    // Sentences of other names, and those without any, are all trained on.
    EXPECT_EQ(static_cast<int64_t>(fold.training.size() + fold.test.size()) + fold.left_out, dataset.size());
    EXPECT_EQ(trained.size() + names(fold.test).size(), 12U);
    left_out += fold.left_out;
  }
  EXPECT_GT(left_out, 0);
  EXPECT_EQ(PlanFolds(Texts(20, 20, 2, 0), {2, 0, 0, true}).status().code(), absl::StatusCode::kInvalidArgument);
  // One name in every sentence leaves nothing to train on.
  Dataset same;
  same.kind = DatasetKind::kTagging;
  for (const TaggedSentence& sentence : dataset.sentences)
    same.sentences.push_back(Sentence("Ada/B-p saw " + sentence.words.back()));
  EXPECT_EQ(PlanFolds(same, {3, 5, 0, true}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Folds, SelectedRowsAreTheRows) {
  Dataset dataset = Texts(5, 5, 2, 0);
  dataset.kind = DatasetKind::kPairs;
  for (int i = 0; i < 5; ++i) dataset.second_texts.push_back("second " + std::to_string(i));
  const Dataset some = SelectRows(dataset, std::vector<int64_t>{1, 4});
  EXPECT_EQ(some.kind, DatasetKind::kPairs);
  EXPECT_THAT(some.texts, ElementsAre("text 1", "text 4"));
  EXPECT_THAT(some.second_texts, ElementsAre("second 1", "second 4"));
  EXPECT_THAT(some.labels, ElementsAre(dataset.labels[1], dataset.labels[4]));
  // The same first text with another second one is another row.
  dataset.texts = {"text 0", "text 0", "text 2", "text 3", "text 4"};
  EXPECT_THAT(GroupsOfRows(dataset), ElementsAre(0, 1, 2, 3, 4));
  dataset.second_texts = {"second 0", "second 0", "second 2", "second 3", "second 4"};
  EXPECT_THAT(GroupsOfRows(dataset), ElementsAre(0, 0, 1, 2, 3));
}

}  // namespace
}  // namespace engram::corpus
