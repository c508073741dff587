#include "core/nn/position_extension.h"

#include <algorithm>
#include <limits>

#include "ATen/TensorOperators.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/index_select.h"

namespace engram::nn {
namespace {

constexpr double kAlpha = 0.4;

int64_t GroupSize(int64_t rows, int64_t length) { return (length + rows - 1) / rows; }

at::Tensor Rows(const at::Tensor& table, const at::Tensor& index) {
  return at::index_select(table, 0, index).to(at::kDouble);
}

// p: int64 positions, all >= n.
at::Tensor Hierarchical(const at::Tensor& table, const at::Tensor& p) {
  const int64_t n = table.size(0);
  const at::Tensor origin = kAlpha * table.select(0, 0).to(at::kDouble);
  const at::Tensor coarse = (Rows(table, p.floor_divide(n)) - origin) / (1 - kAlpha);
  const at::Tensor fine = (Rows(table, p.remainder(n)) - origin) / (1 - kAlpha);
  return kAlpha * coarse + (1 - kAlpha) * fine;
}

at::Tensor Interpolated(const at::Tensor& table, const at::Tensor& p, int64_t group) {
  const at::Tensor left = p.floor_divide(group);
  const at::Tensor share = p.remainder(group).to(at::kDouble).div(static_cast<double>(group)).unsqueeze(1);
  return Rows(table, left) * (1 - share) + Rows(table, (left + 1).clamp_max(table.size(0) - 1)) * share;
}

}  // namespace

std::string_view PositionExtensionName(PositionExtension kind) {
  switch (kind) {
    case PositionExtension::kHierarchical:
      return "hierarchical";
    case PositionExtension::kGrouped:
      return "grouped";
    case PositionExtension::kTiled:
      return "tiled";
    case PositionExtension::kInterpolated:
      return "interpolated";
  }
  return {};
}

int64_t LongestExtended(PositionExtension kind, int64_t rows) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // of a packed batch
  return kind == PositionExtension::kHierarchical && rows < kMost / rows ? rows * rows : kMost;
}

double PositionFactor(PositionExtension kind, int64_t rows, int64_t length) {
  if (length <= rows) return 1;
  const bool grouped = kind == PositionExtension::kGrouped || kind == PositionExtension::kInterpolated;
  return grouped ? static_cast<double>(GroupSize(rows, length))
                 : static_cast<double>(length) / static_cast<double>(rows);
}

at::Tensor ExtendedPositions(const at::Tensor& table, PositionExtension kind, int64_t length, int64_t begin,
                             int64_t end) {
  const int64_t n = table.size(0);
  if (length <= n) return table.narrow(0, begin, end - begin);
  if (kind == PositionExtension::kHierarchical && begin < n && end > n) {
    return at::cat({ExtendedPositions(table, kind, length, begin, n), ExtendedPositions(table, kind, length, n, end)});
  }
  const at::Tensor p = at::arange(begin, end, table.options().dtype(at::kLong));
  const int64_t group = GroupSize(n, length);
  switch (kind) {
    case PositionExtension::kHierarchical:
      if (end <= n) return table.narrow(0, begin, end - begin);
      return Hierarchical(table, p).to(table.scalar_type());
    case PositionExtension::kGrouped:
      return at::index_select(table, 0, p.floor_divide(group));
    case PositionExtension::kTiled:
      return at::index_select(table, 0, p.remainder(n));
    case PositionExtension::kInterpolated:
      return Interpolated(table, p, group).to(table.scalar_type());
  }
  return {};
}

std::vector<PositionTerm> PositionTerms(PositionExtension kind, int64_t rows, int64_t length, int64_t p) {
  if (length <= rows) return {{p, 1}};
  const int64_t group = GroupSize(rows, length);
  switch (kind) {
    case PositionExtension::kHierarchical: {
      if (p < rows) return {{p, 1}};
      constexpr double kCoarse = kAlpha / (1 - kAlpha);  // the definition, multiplied out
      return {{p % rows, 1}, {p / rows, kCoarse}, {0, -kCoarse}};
    }
    case PositionExtension::kGrouped:
      return {{p / group, 1}};
    case PositionExtension::kTiled:
      return {{p % rows, 1}};
    case PositionExtension::kInterpolated: {
      const double share = static_cast<double>(p % group) / static_cast<double>(group);
      return {{p / group, 1 - share}, {std::min(p / group + 1, rows - 1), share}};
    }
  }
  return {};
}

}  // namespace engram::nn
