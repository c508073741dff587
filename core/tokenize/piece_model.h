#pragma once

// A model that takes pieces of text apart into tokens of its vocabulary.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace engram::tokenize {

struct ModelToken {
  int32_t id;
  uint32_t begin, end;  // bytes of the piece
};

// Immutable and thread-safe.
class PieceModel {
 public:
  virtual ~PieceModel() = default;
  // Appends the tokens of a piece that is not empty, valid UTF-8 and shorter than 2 GiB.
  virtual void Append(std::string_view piece, std::vector<ModelToken>& out) const = 0;
  // The model's own tokens, by their ids.
  virtual const std::vector<std::string>& tokens() const = 0;
};

}  // namespace engram::tokenize
