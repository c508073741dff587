#pragma once

// Every random number of Engram comes from one counter-based generator, Philox 4x32-10 (Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). A number is a pure function of (seed, purpose, step, index): no state to
// save, the same on every thread count, the same after a resume.

#include <array>
#include <cstdint>

namespace engram {

// What a number is for: two purposes never share a stream. The values are part of the run format; append only.
enum class RandomPurpose : uint32_t {
  kShuffle = 1,        // order of the training rows; step = epoch
  kHeadInit = 2,       // initial weights of a head; step = 0
  kDropout = 3,        // step = micro-batch count, index = (site, element)
  kSampledFisher = 4,  // labels drawn from the model; step = sample
  kSubset = 5,         // choice of samples for importance, validation split
  kMasking = 6,        // masked language modelling
  kPermutation = 7,    // permuted-Fisher control
  kReplay = 8,         // choice of earlier examples to train on again and to keep; step = training step
  kExpansion = 9,      // fixed random expansion of a head; step = unit
  kLowRank = 10,       // initial factors of low-rank updates; step = number of the matrix
  kFolds = 11,  // order in which groups of rows are dealt to folds; step = 0, of development rows the fold's number
  kMissingTags = 12,  // words of which nothing is known, taken as outside of entities; step = micro-batch count
};

// One block of 128 random bits for a 128-bit counter and a 64-bit key.
constexpr std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0], b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

// A stream of numbers for one (seed, purpose, step). Value type, cheap to make; not thread-safe (make one per thread).
class RandomStream {
 public:
  RandomStream(uint64_t seed, RandomPurpose purpose, uint64_t step) : seed_(seed), purpose_(purpose), step_(step) {}

  uint32_t NextUint32() {
    if (used_ == 4) {
      block_ = Philox({static_cast<uint32_t>(index_), static_cast<uint32_t>(step_), static_cast<uint32_t>(step_ >> 32),
                       static_cast<uint32_t>(purpose_)},
                      seed_);
      ++index_;
      used_ = 0;
    }
    return block_[used_++];
  }
  uint64_t NextUint64() {
    const uint64_t high = NextUint32();
    return high << 32 | NextUint32();
  }
  // Uniform in [0, 1), 53 bits.
  double NextDouble() { return static_cast<double>(NextUint64() >> 11) * 0x1.0p-53; }
  // Uniform in [0, bound), without bias (rejection); bound > 0.
  uint64_t NextBelow(uint64_t bound) {
    const uint64_t limit = -bound % bound;  // 2^64 mod bound
    uint64_t value = NextUint64();
    while (value < limit) value = NextUint64();
    return value % bound;
  }
  // Standard normal (Box-Muller, one of the pair).
  double NextNormal();

 private:
  uint64_t seed_;
  RandomPurpose purpose_;
  uint64_t step_;
  uint32_t index_ = 0;
  int used_ = 4;
  std::array<uint32_t, 4> block_{};
};

}  // namespace engram
