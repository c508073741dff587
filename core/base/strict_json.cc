#include "core/base/strict_json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/foreign_content.h"
#include "core/base/utf8.h"

namespace engram {
namespace {

// A first pass over the text that builds nothing: it finds what the parser would silently accept.
class StructureCheck final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit StructureCheck(const JsonLimits& limits) : limits_(limits) {}

  std::string error;

  bool start_object(size_t) override {
    keys_.emplace_back();
    return Enter();
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    std::set<std::string>& seen = keys_.back();
    if (seen.size() == limits_.keys) return Fail(absl::StrCat("an object has more than ", limits_.keys, " keys"));
    return seen.insert(name).second || Fail(absl::StrCat("the key ", Quoted(name), " occurs twice; remove one"));
  }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t value, const string_t&) override {
    return std::isfinite(value) || Fail("a number is too large for a double");
  }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return Fail("binary content"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail(absl::StrCat("is no valid JSON (at byte ", position, ")"));
  }

 private:
  bool Enter() {
    return ++depth_ <= limits_.depth || Fail(absl::StrCat("nests deeper than ", limits_.depth, " levels"));
  }
  bool Fail(std::string why) {
    if (error.empty()) error = std::move(why);
    return false;
  }

  const JsonLimits limits_;
  std::vector<std::set<std::string>> keys_;
  int depth_ = 0;
};

template <typename Json>
absl::StatusOr<Json> Parse(std::string_view text, std::string_view name, const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    return InvalidField(name, absl::StrCat("has ", text.size(), " bytes; at most ", limits.bytes, " are read"));
  if (const auto zero = FindZeroByte(text))
    return InvalidField(name, absl::StrCat("is no valid JSON (at byte ", *zero, ")"));
  StructureCheck check(limits);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &check))
    return InvalidField(name, ForeignContent(text).value_or(check.error));
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return InvalidField(name, "must be one JSON object");
  return json;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

}  // namespace

std::optional<size_t> FindZeroByte(std::string_view text) {
  const size_t at = text.find('\0');
  return at == std::string_view::npos ? std::nullopt : std::optional(at);
}

absl::StatusOr<nlohmann::json> ParseStrictObject(std::string_view text, std::string_view name,
                                                 const JsonLimits& limits) {
  return Parse<nlohmann::json>(text, name, limits);
}

absl::StatusOr<nlohmann::ordered_json> ParseStrictOrderedObject(std::string_view text, std::string_view name) {
  return Parse<nlohmann::ordered_json>(text, name, JsonLimits());
}

absl::StatusOr<std::string> RenderJson(const nlohmann::ordered_json& json, std::string_view name) {
  // The lenient handler never throws; a text that it had to mend shows the replacement where the original had none.
  std::string text = json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::ignore);
  const std::string mended = json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  if (text != mended) return InvalidField(name, "a text in it is not valid UTF-8");
  text += '\n';
  if (text.size() > kMaxJsonBytes)
    return InvalidField(name, absl::StrCat("would have more than ", kMaxJsonBytes, " bytes"));
  return text;
}

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 120;
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    if (out.size() > kShown) {
      out += "...";
      break;
    }
    const int32_t code_point = DecodeUtf8(text, at);
    if (code_point < 0) ++at;
    AppendUtf8(code_point < 0x20 ? 0xFFFD : code_point, out);
  }
  return out + "\"";
}

std::string NearestName(std::string_view name, const std::set<std::string>& known) {
  constexpr size_t kLongest = 256;  // the distance is quadratic
  if (name.size() > kLongest) return "";
  std::string best;
  size_t least = name.size() / 2 + 1;
  for (const std::string& candidate : known) {
    const size_t distance = EditDistance(name, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

ObjectReader::ObjectReader(const nlohmann::json& json, std::string path) : json_(json), path_(std::move(path)) {
  if (!json_.is_object()) status_ = InvalidField(path_, "must be an object");
}

std::string ObjectReader::Field(std::string_view key) const {
  return path_.empty() ? std::string(key) : absl::StrCat(path_, ".", AbslView(key));
}

void ObjectReader::Fail(std::string_view key, std::string_view message) { Fail(InvalidField(Field(key), message)); }

void ObjectReader::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

const nlohmann::json* ObjectReader::Optional(const std::string& key) {
  asked_.insert(key);
  if (!ok()) return nullptr;
  auto found = json_.find(key);
  return found == json_.end() ? nullptr : &*found;
}

const nlohmann::json* ObjectReader::Required(const std::string& key) {
  const nlohmann::json* value = Optional(key);
  if (value == nullptr) Fail(key, "is missing");
  return value;
}

void ObjectReader::Text(const std::string& key, std::string& out) {
  const nlohmann::json* value = Required(key);
  if (value == nullptr) return;
  if (!value->is_string()) return Fail(key, "must be a text");
  out = value->get<std::string>();
}

void ObjectReader::Integer(const std::string& key, int64_t low, int64_t high, int64_t& out) {
  const nlohmann::json* value = Required(key);
  if (value == nullptr) return;
  // An unsigned value above the largest int64 would wrap in get<int64_t>.
  const bool huge = value->is_number_unsigned() &&
                    value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!value->is_number_integer() || huge || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    return Fail(key, absl::StrCat("must be an integer from ", low, " to ", high));
  }
  out = value->get<int64_t>();
}

void ObjectReader::Unsigned(const std::string& key, uint64_t& out) {
  const nlohmann::json* value = Required(key);
  if (value == nullptr) return;
  if (!value->is_number_unsigned()) return Fail(key, "must be an integer of at least 0");
  out = value->get<uint64_t>();
}

void ObjectReader::Real(const std::string& key, double low, double high, double& out) {
  const nlohmann::json* value = Required(key);
  if (value == nullptr) return;
  if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
    return Fail(key, absl::StrCat("must be a number from ", low, " to ", high));
  }
  out = value->get<double>();
}

void ObjectReader::TextList(const std::string& key, std::vector<std::string>& out) {
  const nlohmann::json* value = Required(key);
  if (value == nullptr) return;
  if (!value->is_array()) return Fail(key, "must be a list of texts");
  out.clear();
  for (const nlohmann::json& item : *value) {
    if (!item.is_string()) return Fail(key, "must be a list of texts");
    out.push_back(item.get<std::string>());
  }
}

void ObjectReader::TextMap(const std::string& key, std::map<std::string, std::string>& out) {
  const nlohmann::json* value = Required(key);
  if (value == nullptr) return;
  if (!value->is_object()) return Fail(key, "must be an object of texts");
  out.clear();
  for (const auto& [name, item] : value->items()) {
    if (!item.is_string()) return Fail(key, "must be an object of texts");
    out.emplace(name, item.get<std::string>());
  }
}

void ObjectReader::UnsignedMap(const std::string& key, std::map<std::string, uint64_t>& out) {
  const nlohmann::json* value = Required(key);
  if (value == nullptr) return;
  if (!value->is_object()) return Fail(key, "must be an object of integers of at least 0");
  out.clear();
  for (const auto& [name, item] : value->items()) {
    if (!item.is_number_unsigned()) return Fail(key, "must be an object of integers of at least 0");
    out.emplace(name, item.get<uint64_t>());
  }
}

absl::Status ObjectReader::Finish() const {
  if (!ok()) return status_;
  for (const auto& [key, value] : json_.items()) {
    if (asked_.contains(key)) continue;
    const std::string nearest = NearestName(key, asked_);
    return InvalidField(
        Field(Quoted(key)),
        absl::StrCat("is not known here",
                     nearest.empty() ? "" : absl::StrCat("; the nearest known name is ", Quoted(nearest))));
  }
  return absl::OkStatus();
}

}  // namespace engram
