#include "core/tokenize/unigram_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/strict_json.h"

namespace engram::tokenize {
namespace {

constexpr double kUnknownPenalty = 10;  // below the lowest score of the vocabulary

absl::Status Refuse(std::string_view field, std::string why) {
  return InvalidField(absl::StrCat("tokenizer.json: model.", AbslView(field)), std::move(why));
}

}  // namespace

absl::StatusOr<std::unique_ptr<UnigramModel>> UnigramModel::Create(
    std::vector<std::pair<std::string, double>> vocabulary, int64_t unknown, bool byte_fallback) {
  if (unknown < 0 || unknown >= static_cast<int64_t>(vocabulary.size()))
    return Refuse("unk_id", "must be the id of a token of the vocabulary");
  auto model = std::unique_ptr<UnigramModel>(new UnigramModel());
  double lowest = std::numeric_limits<double>::infinity();
  for (auto& [token, score] : vocabulary) {
    if (token.empty()) return Refuse("vocab", "has an empty token");
    if (!std::isfinite(score)) return Refuse("vocab", absl::StrCat("the score of ", Quoted(token), " is no number"));
    lowest = std::min(lowest, score);
    model->scores_.push_back(score);
    model->tokens_.push_back(std::move(token));
  }
  // No token continues another: a prefix that no UTF-8 has.
  ENGRAM_ASSIGN_OR_RETURN(model->vocabulary_, Vocabulary::Create(model->tokens_, "\xff"));
  model->unknown_ = static_cast<int32_t>(unknown);
  model->unknown_score_ = lowest - kUnknownPenalty;
  for (unsigned byte = 0; byte_fallback && byte < 256; ++byte) {
    const int32_t id = model->vocabulary_.Find(absl::StrFormat("<0x%02X>", byte));
    if (id < 0) return Refuse("byte_fallback", absl::StrFormat("is true and the vocabulary lacks <0x%02X>", byte));
    model->bytes_.push_back(id);
  }
  std::vector<ModelToken> best;
  model->whole_.resize(model->tokens_.size());
  for (size_t id = 0; id < model->tokens_.size(); ++id) {
    best.clear();
    model->AppendBest(model->tokens_[id], best);
    model->whole_[id] = best.size() == 1 && best[0].id == static_cast<int32_t>(id);
  }
  return model;
}

void UnigramModel::Search(std::string_view piece, std::vector<Node>& ends) const {
  const auto offer = [&](size_t begin, size_t end, int32_t id, double score) {
    Node& node = ends[end];
    if (node.begin == kNone || score > node.score) node = {score, static_cast<uint32_t>(begin), id};
  };
  for (size_t at = 0; at < piece.size();) {
    const double before = ends[at].score;
    size_t next = at + 1;  // behind this character
    while (next < piece.size() && (static_cast<unsigned char>(piece[next]) & 0xC0) == 0x80) ++next;
    bool single = false;
    vocabulary_.ForEachPrefix(piece.substr(at), [&](int32_t id, size_t length) {
      offer(at, at + length, id, scores_[static_cast<size_t>(id)] + before);
      single = single || length == next - at;
    });
    if (!single) offer(at, next, unknown_, unknown_score_ + before);
    at = next;
  }
}

void UnigramModel::Emit(std::string_view text, uint32_t begin, int32_t id, std::vector<ModelToken>& out) const {
  const uint32_t end = begin + static_cast<uint32_t>(text.size());
  if (id < 0) {
    for (const char byte : text) out.push_back({bytes_[static_cast<unsigned char>(byte)], begin, end});
  } else {
    out.push_back({id, begin, end});
  }
}

// Most pieces of a text are words that the vocabulary has: one look instead of a search.
void UnigramModel::Append(std::string_view piece, std::vector<ModelToken>& out) const {
  const int32_t id = vocabulary_.Find(piece);
  if (id < 0 || !whole_[static_cast<size_t>(id)]) return AppendBest(piece, out);
  out.push_back({id, 0, static_cast<uint32_t>(piece.size())});
}

void UnigramModel::AppendBest(std::string_view piece, std::vector<ModelToken>& out) const {
  std::vector<Node> ends(piece.size() + 1);
  Search(piece, ends);
  struct Cut {
    uint32_t begin, end;
    int32_t id;
  };
  std::vector<Cut> cuts;  // from the last
  for (auto end = static_cast<uint32_t>(piece.size()); end > 0; end = ends[end].begin) {
    const Node& node = ends[end];
    const bool fuses = node.id == unknown_ && !cuts.empty() && cuts.back().id == unknown_;
    if (fuses) {
      cuts.back().begin = node.begin;  // neighbours that the vocabulary lacks are one token
    } else {
      cuts.push_back({node.begin, end, node.id});
    }
  }
  for (auto cut = cuts.rbegin(); cut != cuts.rend(); ++cut) {
    const std::string_view text = piece.substr(cut->begin, cut->end - cut->begin);
    int32_t id = cut->id;
    if (id == unknown_) {
      // Several fused may spell a token after all, as in the reference.
      const int32_t known = vocabulary_.Find(text);
      id = known >= 0 ? known : bytes_.empty() ? unknown_ : -1;
    }
    Emit(text, cut->begin, id, out);
  }
}

}  // namespace engram::tokenize
