#pragma once

// Rotary position embeddings (Su et al., "RoFormer", 2021) and the ways in which their frequencies are scaled for texts
// that are longer than those a model was trained on. Pure functions of the scaling and of one text's length: no state
// lives past a call, so a text's frequencies never depend on another text.
//
// With d rotated dimensions, base b, factor f, i = 0 ... d/2 - 1, a text of L tokens, M = max_positions and
// L0 = original_positions, w_i are the angles from token to token and a what cosines and sines are multiplied with:
//
//   default       w_i = b^(-2i/d), a = 1 (as everywhere where it is not named)
//   linear        w_i / f                                                   Chen et al. 2306.15595, position interpolation
//   ntk_aware     b' = b f^(d/(d-2))                                        bloc97's
//   ntk           b' = b f, then w_i / f^(2/d)                              Su Jianlin's, GTE's "ntk": other numbers
//   ntk_mixed     w_i / exp(ln f (i+1)^p / (d/2)^p), p = mixed_b            kexue.fm/9706
//   dynamic       b' = b (f max(L, M)/M - (f - 1))^(d/(d-2))
//   yarn          (1 - r_i) w_i + r_i w_i / f; r_i rises from 0 to 1 between the dimensions that turn beta_fast and
//                 beta_slow times in L0 tokens; a = g(f, mscale) / g(f, mscale_all_dim), or g(f, 1), with
//                 g(f, k) = 0.1 k ln f + 1                                  Peng et al. 2309.00071, as in their code: the
//                                                                           ramp is linear in i, not (eq. 18) in L0/lambda_i
//   dynamic_yarn  yarn with f = L / L0 where L > M; else 1, or M / L0 where the weights were trained so (`finetuned`)
//   longrope      w_i / e_i, e = short_factor up to L0 tokens, else long_factor; a = sqrt(1 + ln f / ln L0)
//   llama3        w_i where the wavelength is < L0/high_freq_factor, w_i / f where it is > L0/low_freq_factor, in
//                 between what lies linearly (in L0/lambda) between the two
//   proportional  the first `partial` of all head_dim/2 frequencies b^(-2i/head_dim) / f, the others 0
//
// A given attention_factor is a for yarn and longrope. cos and sin are both multiplied with a, logits with a^2.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::checkpoint {

enum class RopeKind {
  kDefault,
  kLinear,
  kNtkAware,
  kNtk,
  kNtkMixed,
  kDynamic,
  kYarn,
  kDynamicYarn,
  kLongRope,
  kLlama3,
  kProportional
};

struct Rope {
  RopeKind kind = RopeKind::kDefault;
  double base = 10'000;
  int64_t head_dim = 0;
  double partial = 1;              // the share of a head's dimensions that is rotated: the first ones
  double factor = 1;               // f
  int64_t max_positions = 0;       // M
  int64_t original_positions = 0;  // L0: how long the texts were on which the model was first trained
  std::optional<double> attention_factor = std::nullopt, mscale = std::nullopt, mscale_all_dim = std::nullopt;
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;                                     // yarn: the ramp begins and ends at whole dimensions
  bool finetuned = false;                                   // dynamic_yarn
  double low_freq_factor = 1, high_freq_factor = 4;         // llama3
  double mixed_b = 0;                                       // ntk_mixed
  std::vector<double> short_factor = {}, long_factor = {};  // longrope: width() / 2 numbers each

  // Dimensions of a head that are rotated, in pairs (j, j + width / 2).
  int64_t width() const;
};

// The kind of that name ("ntk_aware"), in config.json's spelling where there is one; "su" is longrope. nullopt: none.
std::optional<RopeKind> ParseRopeKind(std::string_view name);
std::string_view RopeKindName(RopeKind kind);

// Whether numbers come out of this scaling for every length; INVALID_ARGUMENT names the key of config.json.
absl::Status CheckRope(const Rope& rope);

// Whether frequencies differ between texts of different lengths.
bool DependsOnLength(const Rope& rope);

struct RopeFrequencies {
  std::vector<double> angles;   // w, width() / 2 of them, radians each token
  double attention_factor = 1;  // a
  bool operator==(const RopeFrequencies&) const = default;
};

// For a text of `length` >= 1 tokens. `rope` must have passed CheckRope.
RopeFrequencies FrequenciesOf(const Rope& rope, int64_t length);

// Rows of positions [first, first + count): a cos(p w) for each angle, then a sin(p w) for each. Computed in fp64 and
// rounded once: a phase in fp32 is off by 0.003 rad at 131,072 tokens. `out` has count * 2 * angles.size() numbers.
void FillRopeRows(const RopeFrequencies& frequencies, int64_t first, int64_t count, float* out);

}  // namespace engram::checkpoint
