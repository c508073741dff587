// The router against naive Bayes written out in fp64, and what is taken out of its sums.

#include "core/train/task_router.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ATen/ops/equal.h"
#include "tests/unit/tiny_model.h"

namespace engram::train {
namespace {

using Texts = std::vector<std::vector<int32_t>>;

constexpr int32_t kStart = 101, kEnd = 102;
const std::vector<int32_t> kSpecial = {kStart, kEnd};

std::vector<TrainingExample> Framed(const Texts& texts) {
  std::vector<TrainingExample> examples;
  for (const std::vector<int32_t>& text : texts) {
    TrainingExample& example = examples.emplace_back();
    example.sequence.ids = {kStart};
    example.sequence.ids.insert(example.sequence.ids.end(), text.begin(), text.end());
    example.sequence.ids.push_back(kEnd);
  }
  return examples;
}

const Texts kPets = {{1, 2, 3}, {1, 4}, {1, 2, 2, 5}}, kCards = {{6, 7}, {1, 6, 8, 8, 9, 9, 9}},
            kNews = {{10}, {2, 11}};

TaskRouter Router() {
  TaskRouter router;
  router.Count("pets", Framed(kPets), kSpecial);
  router.Count("cards", Framed(kCards), kSpecial);
  router.Count("news", Framed(kNews), kSpecial);
  return router;
}

void ExpectSame(const VersionMemory& a, const VersionMemory& b) {
  EXPECT_EQ(a.values, b.values);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors) EXPECT_TRUE(at::equal(tensor, b.tensors.at(name))) << name;
}

TEST(TaskRouter, IsNaiveBayesOverTokens) {
  const TaskRouter router = Router();
  const std::map<std::string, Texts> tasks = {{"pets", kPets}, {"cards", kCards}, {"news", kNews}};
  std::set<int32_t> vocabulary;
  for (const auto& [task, texts] : tasks) {
    for (const auto& text : texts) vocabulary.insert(text.begin(), text.end());
  }
  const std::vector<std::string> all = {"pets", "cards", "news"}, two = {"news", "pets"};
  for (const std::vector<int32_t>& text : Texts{{1, 2}, {6, 1, 1, 99}, {10, 9}, {8}, {5, 7, 11}}) {
    for (const std::vector<std::string>& among : {all, two}) {
      std::map<std::string, double> joint;
      double sum = 0;
      for (const std::string& task : among) {
        double total = 0, p = 1;
        for (const auto& own : tasks.at(task)) total += static_cast<double>(own.size());
        for (const int32_t token : text) {
          if (!vocabulary.contains(token)) continue;
          double count = 0;
          for (const auto& own : tasks.at(task))
            count += static_cast<double>(std::count(own.begin(), own.end(), token));
          p *= (count + 0.1) / (total + 0.1 * static_cast<double>(vocabulary.size()));
        }
        sum += joint[task] = p;
      }
      const auto best = std::max_element(joint.begin(), joint.end(),
                                         [](const auto& a, const auto& b) { return a.second < b.second; });
      const auto framed = Framed({text});
      const auto choice = router.Route(framed[0].sequence.ids, among);
      ASSERT_TRUE(choice.ok()) << choice.status();
      EXPECT_EQ(choice->task, best->first);
      EXPECT_NEAR(choice->probability, best->second / sum, 1e-12);
    }
  }
}

TEST(TaskRouter, KnowsNothingOfOthers) {
  const TaskRouter router = Router();
  const std::vector<int32_t> text = {1};
  EXPECT_EQ(router.Route(text, std::vector<std::string>{"colours"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  // Of what no task has nothing follows.
  const std::vector<int32_t> strange = {77};
  EXPECT_NEAR(router.Route(strange, std::vector<std::string>{"news", "pets"})->probability, 0.5, 1e-12);
}

TEST(TaskRouter, ComesBackFromItsMemory) {
  const TaskRouter router = Router();
  const auto back = TaskRouter::FromMemory(router.ToMemory());
  ASSERT_TRUE(back.ok()) << back.status();
  ExpectSame(back->ToMemory(), router.ToMemory());
  const std::vector<int32_t> text = {1, 6, 2};
  const std::vector<std::string> all = {"pets", "cards", "news"};
  EXPECT_EQ(back->Route(text, all)->probability, router.Route(text, all)->probability);
  EXPECT_TRUE(TaskRouter::FromMemory({})->empty());
}

TEST(TaskRouter, WhatIsTakenOutIsAsIfItHadNeverBeenCounted) {
  TaskRouter router = Router();
  Texts twice = kPets;
  twice.push_back({1, 4});
  router.Count("pets", Framed(twice), kSpecial);  // in place of what was there
  EXPECT_EQ(router.ForgetText(std::vector<int32_t>{1, 4}, kSpecial), 2);
  TaskRouter expected = Router();
  expected.Count("pets", Framed({kPets[0], kPets[2]}), kSpecial);
  ExpectSame(router.ToMemory(), expected.ToMemory());
  EXPECT_EQ(router.ForgetText(std::vector<int32_t>{1, 4}, kSpecial), 0);
  EXPECT_EQ(router.ForgetText(std::vector<int32_t>{1}, kSpecial), 0) << "a part of a text is no text";
  EXPECT_EQ(router.ForgetTask("cards"), 2);
  TaskRouter others;
  others.Count("pets", Framed({kPets[0], kPets[2]}), kSpecial);
  others.Count("news", Framed(kNews), kSpecial);
  ExpectSame(router.ToMemory(), others.ToMemory());
  const std::vector<int32_t> text = {6, 2};
  const std::vector<std::string> all = {"pets", "news"};
  EXPECT_EQ(router.Route(text, all)->probability, others.Route(text, all)->probability);
}

TEST(TaskRouter, FindsATextOfWhichTheTrainingReadTheBeginning) {
  TaskRouter router;
  router.Count("cards", Framed({{1, 2, 3, 4}, {5, 6}}), kSpecial);
  EXPECT_EQ(router.ForgetText(std::vector<int32_t>{1, 2, 3, 4, 9, 9}, kSpecial), 1);
  TaskRouter left;
  left.Count("cards", Framed({{5, 6}}), kSpecial);
  EXPECT_TRUE(at::equal(router.ToMemory().tensors.at("counts.cards"), left.ToMemory().tensors.at("counts.cards")));
}

TEST(TaskRouter, RefusesADamagedMemory) {
  const VersionMemory good = Router().ToMemory();
  const auto refused = [&](const std::function<void(VersionMemory&)>& damage) {
    VersionMemory memory = good;
    for (auto& [name, tensor] : memory.tensors) tensor = tensor.clone();
    damage(memory);
    return TaskRouter::FromMemory(memory).status().code() == absl::StatusCode::kDataLoss;
  };
  EXPECT_FALSE(refused([](VersionMemory&) {}));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors.erase("counts.pets"); }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["counts.pets"][0] = 0; }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["tokens.pets"][1] = 0; }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["texts.pets"][0] = -3; }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["tokens.pets"] = at::zeros({2}); }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["tokens.else"] = at::zeros({2}, at::kInt); }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.values["longest.pets"] = "many"; }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.values["else"] = "1"; }));
}

}  // namespace
}  // namespace engram::train
