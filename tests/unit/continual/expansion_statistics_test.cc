// Heads in closed form against what defines them, in fp64 loops over texts; and sums that are exact.

#include "core/continual/expansion_statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/zeros.h"
#include "core/base/random.h"
#include "gtest/gtest.h"

namespace engram::continual {
namespace {

constexpr int64_t kClasses = 4, kWidth = 30;

struct Texts {
  at::Tensor phi;
  std::vector<int64_t> labels;

  Texts Part(int64_t begin, int64_t count) const {
    return {phi.narrow(0, begin, count), {labels.begin() + begin, labels.begin() + begin + count}};
  }
};

// Classes that differ in their means, and dimensions that depend on each other.
Texts Draw(int64_t count, uint64_t seed) {
  Texts texts{at::empty({count, kWidth}, at::kFloat), {}};
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < count; ++i) {
    texts.labels.push_back(static_cast<int64_t>(random.NextBelow(kClasses)));
    float* row = texts.phi.mutable_data_ptr<float>() + i * kWidth;
    const double shared = random.NextNormal();
    for (int64_t j = 0; j < kWidth; ++j) {
      const bool own = j % kClasses == texts.labels.back();
      row[j] = static_cast<float>(0.2 * (random.NextNormal() + shared + (own ? 1 : 0)));
    }
  }
  return texts;
}

ExpansionStatistics Of(const Texts& texts, int64_t classes = kClasses) {
  ExpansionStatistics statistics(classes, kWidth);
  EXPECT_TRUE(statistics.Add(texts.phi, texts.labels).ok());
  return statistics;
}

void ExpectEqualBits(const ExpansionStatistics& a, const ExpansionStatistics& b) {
  train::VersionMemory one, other;
  a.Store("t", one);
  b.Store("t", other);
  for (const auto& [name, tensor] : one.tensors) EXPECT_TRUE(at::equal(tensor, other.tensors.at(name))) << name;
}

// weight_c is what the shrunk covariance maps to the mean, with the covariance summed text by text.
TEST(ExpansionStatistics, LdaSolvesItsDefinition) {
  const Texts texts = Draw(300, 1);
  for (const double shrinkage : {0.0, 0.1, 1.0}) {
    const auto solved = Of(texts).SolveLda(shrinkage);
    ASSERT_TRUE(solved.ok()) << solved.status();
    at::Tensor mean = at::zeros({kClasses, kWidth}, at::kDouble), scatter = at::zeros({kWidth, kWidth}, at::kDouble);
    std::vector<double> count(kClasses, 0);
    const at::Tensor phi = texts.phi.to(at::kDouble);
    for (int64_t i = 0; i < 300; ++i) mean[texts.labels[i]] += phi[i], count[texts.labels[i]] += 1;
    for (int64_t c = 0; c < kClasses; ++c) mean[c] /= count[c];
    for (int64_t i = 0; i < 300; ++i) {
      const at::Tensor off = phi[i] - mean[texts.labels[i]];
      scatter += at::outer(off, off) / 300;
    }
    const double spread = scatter.diagonal().sum().item<double>() / kWidth;
    scatter *= 1 - shrinkage;
    scatter.diagonal().add_(shrinkage * spread);
    const at::Tensor weight = solved->weight.to(at::kDouble);
    // fp32 weights and features on a grid of 2^-20.
    EXPECT_LT((at::mm(weight, scatter) - mean).abs().max().item<double>(), 1e-4) << shrinkage;
    for (int64_t c = 0; c < kClasses; ++c) {
      const double expected = -0.5 * (weight[c] * mean[c]).sum().item<double>() + std::log(count[c] / 300);
      EXPECT_NEAR(solved->bias[c].item<float>(), expected, 1e-3) << shrinkage << " " << c;
    }
  }
}

// The gradient of sum |W phi - y|^2 + alpha |W|^2 is 0.
TEST(ExpansionStatistics, RidgeIsWhereTheRegularisedErrorIsLeast) {
  const Texts texts = Draw(300, 2);
  const at::Tensor phi = texts.phi.to(at::kDouble);
  at::Tensor y = at::zeros({300, kClasses}, at::kDouble);
  for (int64_t i = 0; i < 300; ++i) y[i][texts.labels[i]] = 1;
  for (const double ridge : {0.01, 1.0}) {
    const auto solved = Of(texts).SolveRidge(ridge);
    ASSERT_TRUE(solved.ok()) << solved.status();
    const at::Tensor weight = solved->weight.to(at::kDouble);
    const double alpha = ridge * (phi * phi).sum().item<double>() / kWidth;
    const at::Tensor gradient = at::mm((at::mm(phi, weight.t()) - y).t(), phi) + alpha * weight;
    EXPECT_LT(gradient.abs().max().item<double>(), 1e-3);
    EXPECT_EQ(solved->bias.abs().max().item<float>(), 0);
  }
}

TEST(ExpansionStatistics, TheOrderOfTextsAndTasksDoesNotMatter) {
  const Texts texts = Draw(200, 3);
  const ExpansionStatistics whole = Of(texts);
  ExpansionStatistics backwards(1, kWidth);
  for (int64_t end = 200; end > 0; end -= 8) {
    const Texts part = texts.Part(end - 8, 8);
    backwards.Grow(*std::max_element(part.labels.begin(), part.labels.end()) + 1);
    ASSERT_TRUE(backwards.Add(part.phi, part.labels).ok());
  }
  EXPECT_EQ(backwards.texts(), 200);
  ExpectEqualBits(whole, backwards);
}

TEST(ExpansionStatistics, WhatIsRemovedHasNeverBeenThere) {
  const Texts texts = Draw(200, 4);
  ExpansionStatistics statistics = Of(texts);
  const Texts gone = texts.Part(50, 100);
  ASSERT_TRUE(statistics.Remove(gone.phi, gone.labels).ok());
  ExpansionStatistics kept = Of(texts.Part(0, 50));
  const Texts rest = texts.Part(150, 50);
  ASSERT_TRUE(kept.Add(rest.phi, rest.labels).ok());
  ExpectEqualBits(kept, statistics);
  EXPECT_EQ(statistics.Remove(texts.phi, texts.labels).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ExpansionStatistics, AClassWithoutTextsIsNeverAnswered) {
  const Texts texts = Draw(200, 5);
  const ExpansionStatistics statistics = Of(texts, kClasses + 1);
  for (const auto& solved : {statistics.SolveLda(0.1), statistics.SolveRidge(0.1)}) {
    ASSERT_TRUE(solved.ok()) << solved.status();
    EXPECT_EQ(solved->weight[kClasses].abs().max().item<float>(), 0);
    EXPECT_EQ(solved->bias[kClasses].item<float>(), kNeverAnswered);
  }
  EXPECT_LT((statistics.SolveLda(0.1)->weight.narrow(0, 0, kClasses) - Of(texts).SolveLda(0.1)->weight)
                .abs()
                .max()
                .item<double>(),
            1e-6);
}

TEST(ExpansionStatistics, SaysWhereNothingCanBeSolved) {
  EXPECT_EQ(ExpansionStatistics(2, 3).SolveLda(0.1).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ExpansionStatistics(2, 3).SolveRidge(0.1).status().code(), absl::StatusCode::kFailedPrecondition);
  // Five texts do not span thirty dimensions.
  const ExpansionStatistics few = Of(Draw(5, 6));
  EXPECT_EQ(few.SolveLda(0).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(few.SolveRidge(0).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(few.SolveLda(0.1).ok());
}

TEST(ExpansionStatistics, RefusesSumsThatWouldBeRounded) {
  ExpansionStatistics statistics(1, 1);
  const at::Tensor large = at::zeros({1, 1}, at::kFloat).fill_(40);
  EXPECT_TRUE(statistics.Add(large, std::vector<int64_t>{0}).ok());
  EXPECT_EQ(statistics.Add(large * 2, std::vector<int64_t>{0}).code(), absl::StatusCode::kResourceExhausted);
}

TEST(ExpansionStatistics, ComesBackFromMemoryAndRefusesDamage) {
  const ExpansionStatistics statistics = Of(Draw(100, 7));
  train::VersionMemory memory;
  statistics.Store("t", memory);
  EXPECT_EQ(memory.tensors.at("t.second").numel(), kWidth * (kWidth + 1) / 2);
  const auto loaded = ExpansionStatistics::Load("t", memory);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectEqualBits(statistics, *loaded);
  for (const char* name : {"t.counts", "t.sums", "t.second"}) {
    train::VersionMemory damaged = memory;
    damaged.tensors.erase(name);
    EXPECT_EQ(ExpansionStatistics::Load("t", damaged).status().code(), absl::StatusCode::kDataLoss) << name;
    damaged = memory;
    damaged.tensors[name] = memory.tensors.at(name).narrow(0, 0, 2);
    EXPECT_EQ(ExpansionStatistics::Load("t", damaged).status().code(), absl::StatusCode::kDataLoss) << name;
    damaged.tensors[name] = memory.tensors.at(name).to(at::kFloat);
    EXPECT_EQ(ExpansionStatistics::Load("t", damaged).status().code(), absl::StatusCode::kDataLoss) << name;
  }
}

}  // namespace
}  // namespace engram::continual
