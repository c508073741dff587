// The router against its formula written out in fp64, and what is taken out of its sums.

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

struct Text {
  int64_t label;
  std::vector<int32_t> tokens;
};
using Texts = std::vector<Text>;

constexpr int32_t kStart = 101, kEnd = 102;
const std::vector<int32_t> kSpecial = {kStart, kEnd};
const std::vector<std::string> kAll = {"pets", "cards", "news"};

std::vector<TrainingExample> Framed(const Texts& texts) {
  std::vector<TrainingExample> examples;
  for (const Text& text : texts) {
    TrainingExample& example = examples.emplace_back();
    example.label = text.label;
    example.sequence.ids = {kStart};
    example.sequence.ids.insert(example.sequence.ids.end(), text.tokens.begin(), text.tokens.end());
    example.sequence.ids.push_back(kEnd);
  }
  return examples;
}

const Texts kPets = {{0, {1, 2, 3}}, {1, {1, 4}}, {1, {1, 2, 2, 5}}},
            kCards = {{0, {6, 7}}, {3, {1, 6, 8, 8, 9, 9, 9}}}, kNews = {{0, {10}}, {0, {2, 11}}};

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

double CountIn(const Texts& texts, int64_t label, int32_t token) {
  double count = 0;
  for (const Text& text : texts) {
    if (label < 0 || text.label == label)
      count += static_cast<double>(std::count(text.tokens.begin(), text.tokens.end(), token));
  }
  return count;
}

TEST(TaskRouter, IsNaiveBayesWithAComponentForEachLabel) {
  const TaskRouter router = Router();
  const std::map<std::string, Texts> tasks = {{"pets", kPets}, {"cards", kCards}, {"news", kNews}};
  std::set<int32_t> vocabulary;
  for (const auto& [task, texts] : tasks) {
    for (const Text& text : texts) vocabulary.insert(text.tokens.begin(), text.tokens.end());
  }
  const std::vector<std::string> two = {"news", "pets"};
  for (const std::vector<int32_t>& asked :
       std::vector<std::vector<int32_t>>{{1, 2}, {6, 1, 1, 99}, {10, 9}, {8}, {5, 7, 11}, {1, 4, 5, 5}}) {
    for (const std::vector<std::string>& among : {kAll, two}) {
      std::map<std::string, double> joint;
      double sum = 0;
      for (const std::string& task : among) {
        const Texts& texts = tasks.at(task);
        std::map<int64_t, double> texts_of, tokens_of;
        double all_tokens = 0;
        for (const Text& text : texts) {
          texts_of[text.label] += 1;
          tokens_of[text.label] += static_cast<double>(text.tokens.size());
          all_tokens += static_cast<double>(text.tokens.size());
        }
        for (const auto& [label, count] : texts_of) {
          double p = count / static_cast<double>(texts.size());
          for (const int32_t token : asked) {
            if (!vocabulary.contains(token)) continue;
            const double of_task =
                (CountIn(texts, -1, token) + 0.03) / (all_tokens + 0.03 * static_cast<double>(vocabulary.size()));
            p *= (CountIn(texts, label, token) + 1000 * of_task) / (tokens_of[label] + 1000);
          }
          joint[task] += p;
        }
        sum += joint[task];
      }
      const auto best = std::max_element(joint.begin(), joint.end(),
                                         [](const auto& a, const auto& b) { return a.second < b.second; });
      const auto framed = Framed({{0, asked}});
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
  EXPECT_EQ(back->Route(text, kAll)->probability, router.Route(text, kAll)->probability);
  EXPECT_TRUE(TaskRouter::FromMemory({})->empty());
}

TEST(TaskRouter, WhatIsTakenOutIsAsIfItHadNeverBeenCounted) {
  TaskRouter router = Router();
  Texts twice = kPets;
  twice.push_back({1, {1, 4}});
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
  const std::vector<std::string> left = {"pets", "news"};
  EXPECT_EQ(router.Route(text, left)->probability, others.Route(text, left)->probability);
}

TEST(TaskRouter, ATaskThatGrowsKeepsWhatWasCounted) {
  TaskRouter router, expected;
  router.Count("pets", Framed({kPets[0]}), kSpecial);
  router.Count("pets", Framed({kPets[1], kPets[2]}), kSpecial, /*grows=*/true);
  expected.Count("pets", Framed(kPets), kSpecial);
  ExpectSame(router.ToMemory(), expected.ToMemory());
}

TEST(TaskRouter, FindsATextOfWhichTheTrainingReadTheBeginning) {
  TaskRouter router;
  router.Count("cards", Framed({{0, {1, 2, 3, 4}}, {0, {5, 6}}}), kSpecial);
  EXPECT_EQ(router.ForgetText(std::vector<int32_t>{1, 2, 3, 4, 9, 9}, kSpecial), 1);
  TaskRouter left;
  left.Count("cards", Framed({{0, {5, 6}}}), kSpecial);
  EXPECT_TRUE(at::equal(router.ToMemory().tensors.at("tokens.cards"), left.ToMemory().tensors.at("tokens.cards")));
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
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["token_labels.pets"][0] = 9; }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["texts.pets"][0] = -3; }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["text_labels.pets"][0] = -1; }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["text_labels.pets"] = at::zeros({1}, at::kInt); }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["tokens.pets"] = at::zeros({2}); }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.tensors["tokens.else"] = at::zeros({2}, at::kInt); }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.values["longest.pets"] = "many"; }));
  EXPECT_TRUE(refused([](VersionMemory& m) { m.values["else"] = "1"; }));
}

}  // namespace
}  // namespace engram::train
