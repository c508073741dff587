#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::corpus {

// Collects what is wrong with the rows of one file.
class RowErrors {
 public:
  void Add(int64_t line, std::string_view what);
  bool empty() const { return count_ == 0; }
  // INVALID_ARGUMENT for field "<field> line <first>", listing at most 20 lines and how many there are.
  absl::Status ToStatus(std::string_view field) const;

 private:
  static constexpr size_t kShown = 20;
  int64_t count_ = 0, first_ = 0;
  std::vector<std::string> shown_;
};

}  // namespace engram::corpus
