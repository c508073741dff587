#include "core/tokenize/normalizers.h"

#include <algorithm>
#include <utility>

#include "core/base/utf8.h"
#include "core/tokenize/bert_normalizer.h"
#include "core/tokenize/code_points.h"

namespace engram::tokenize {
namespace {

// A character, and by how many characters the text grows (1) or shrinks (-n) with it; see AlignedWriter::Push.
struct Changed {
  int32_t c;
  int change;
  uint8_t combining_class;
};

// Canonical composition: of each starter with what follows it, as far as nothing of the same class stands between.
class Composer {
 public:
  explicit Composer(AlignedWriter& out) : out_(out) {}
  void Take(const Changed& next) {
    if (!starter_) {
      if (next.combining_class != 0) return out_.Push(next.c, next.change);
      starter_ = next;
      return;
    }
    const bool blocked = !marks_.empty() && marks_.back().combining_class >= next.combining_class;
    if (const int32_t whole = blocked ? -1 : Compose(starter_->c, next.c); whole >= 0) {
      starter_->c = whole;
      starter_->change += next.change - 1;
    } else if (next.combining_class == 0) {
      End();
      starter_ = next;
    } else {
      marks_.push_back(next);
    }
  }
  void End() {
    if (starter_) out_.Push(starter_->c, starter_->change);
    for (const Changed& mark : marks_) out_.Push(mark.c, mark.change);
    starter_.reset();
    marks_.clear();
  }

 private:
  AlignedWriter& out_;
  std::optional<Changed> starter_;
  std::vector<Changed> marks_;
};

class CanonicalNormalizer final : public TextNormalizer {
 public:
  explicit CanonicalNormalizer(bool compose) : compose_(compose) {}
  void Apply(AlignedText& text) const override {
    if (Stays(text.text)) return;
    AlignedWriter out(text);
    Composer composer(out);
    std::vector<Changed> marks;
    const auto take = [&](const Changed& next) { compose_ ? composer.Take(next) : out.Push(next.c, next.change); };
    const auto flush = [&] {
      std::stable_sort(marks.begin(), marks.end(),
                       [](const Changed& a, const Changed& b) { return a.combining_class < b.combining_class; });
      for (const Changed& mark : marks) take(mark);
      marks.clear();
    };
    std::vector<int32_t> parts;
    for (size_t at = 0; at < text.text.size();) {
      const int32_t c = DecodeUtf8(text.text, at);
      parts.clear();
      if ((FlagsOf(c) & kFlagDecomposes) != 0) {
        AppendDecomposed(c, parts);
      } else {
        parts.push_back(c);
      }
      for (size_t i = 0; i < parts.size(); ++i) {
        const Changed next{parts[i], i > 0 ? 1 : 0, CombiningClass(parts[i])};
        if (next.combining_class != 0) {
          marks.push_back(next);
        } else {
          flush();
          take(next);
        }
      }
    }
    flush();
    composer.End();
    text = std::move(out).Take();
  }

 private:
  // Whether nothing in it decomposes, composes or changes places.
  bool Stays(std::string_view text) const {
    for (size_t at = 0; at < text.size();) {
      if (static_cast<unsigned char>(text[at]) < 0x80) {
        ++at;
        continue;
      }
      const int32_t c = DecodeUtf8(text, at);
      if ((FlagsOf(c) & (kFlagDecomposes | kFlagMark)) != 0 || (compose_ && ComposesBackward(c))) return false;
    }
    return true;
  }

  const bool compose_;
};

class LowercaseNormalizer final : public TextNormalizer {
 public:
  void Apply(AlignedText& text) const override {
    AlignedWriter out(text);
    std::vector<int32_t> lowered;
    for (size_t at = 0; at < text.text.size();) {
      const int32_t c = DecodeUtf8(text.text, at);
      lowered.clear();
      if ((FlagsOf(c) & kFlagLower) != 0) {
        AppendLower(c, lowered);
      } else {
        lowered.push_back(c);
      }
      for (size_t i = 0; i < lowered.size(); ++i) out.Push(lowered[i], i > 0 ? 1 : 0);
    }
    text = std::move(out).Take();
  }
  bool lowercases() const override { return true; }
};

class PrependNormalizer final : public TextNormalizer {
 public:
  explicit PrependNormalizer(std::string what) : what_(std::move(what)) {}
  void Apply(AlignedText& text) const override {
    if (!text.text.empty()) text.Prepend(what_);
  }

 private:
  const std::string what_;
};

class ReplaceNormalizer final : public TextNormalizer {
 public:
  ReplaceNormalizer(std::string what, std::string with, bool runs)
      : what_(std::move(what)), with_(std::move(with)), runs_(runs) {}
  void Apply(AlignedText& text) const override {
    const std::string_view in = text.text;
    if (in.find(what_) == std::string_view::npos) return;
    AlignedWriter out(text);
    for (size_t at = 0; at < in.size();) {
      const size_t begin = std::min(in.find(what_, at), in.size());
      size_t end = begin;
      while (in.substr(end).starts_with(what_) && (runs_ || end == begin)) end += what_.size();
      const bool keep = end == begin || (runs_ && end - begin == what_.size());
      out.Keep(at, keep ? end : begin);
      if (!keep) out.Replace(end, with_);
      at = end;
    }
    text = std::move(out).Take();
  }

 private:
  const std::string what_, with_;
  const bool runs_;
};

class StripNormalizer final : public TextNormalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void Apply(AlignedText& text) const override {
    const std::string_view in = text.text;
    size_t begin = in.size(), end = 0;
    for (size_t at = 0; at < in.size();) {
      const size_t first = at;
      if (ClassOf(DecodeUtf8(in, at)) == CharacterKind::kSpace) continue;
      begin = std::min(begin, first);
      end = at;
    }
    begin = left_ ? begin : 0;
    end = right_ ? end : in.size();
    if (begin == 0 && end == in.size()) return;
    AlignedWriter out(text);
    if (begin < end) out.Keep(begin, end);
    text = std::move(out).Take();
  }

 private:
  const bool left_, right_;
};

}  // namespace

std::unique_ptr<TextNormalizer> MakeCanonicalNormalizer(bool compose) {
  return std::make_unique<CanonicalNormalizer>(compose);
}
std::unique_ptr<TextNormalizer> MakeLowercaseNormalizer() { return std::make_unique<LowercaseNormalizer>(); }
std::unique_ptr<TextNormalizer> MakePrependNormalizer(std::string what) {
  return std::make_unique<PrependNormalizer>(std::move(what));
}
std::unique_ptr<TextNormalizer> MakeReplaceNormalizer(std::string what, std::string with, bool runs) {
  return std::make_unique<ReplaceNormalizer>(std::move(what), std::move(with), runs);
}
std::unique_ptr<TextNormalizer> MakeStripNormalizer(bool left, bool right) {
  return std::make_unique<StripNormalizer>(left, right);
}

}  // namespace engram::tokenize
