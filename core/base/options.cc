#include "core/base/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/base/strict_json.h"

namespace engram {
namespace {

// All 17 digits that a double may need.
std::string Exact(double value) {
  std::array<char, 32> text{};
  snprintf(text.data(), text.size(), "%.17g", value);
  return text.data();
}

// The shortest text that parses back to the same double, exponents without padding: "1e9", "1e-8".
std::string Shortest(double value) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::general).ptr;
  std::string text(buffer.data(), end);
  const size_t e = text.find('e');
  if (e == std::string::npos) return text;
  size_t digits = e + 1;
  if (text[digits] == '+') text.erase(digits, 1);
  if (text[digits] == '-') ++digits;
  while (text[digits] == '0' && digits + 1 < text.size()) text.erase(digits, 1);
  return text;
}

// Whole numbers are shown with all their digits, also as bounds.
std::string Bound(double value, OptionType type) {
  return type == OptionType::kWhole ? absl::StrCat(static_cast<int64_t>(value)) : Shortest(value);
}

std::string Interval(const OptionRange& range, OptionType type) {
  return absl::StrCat(range.low_excluded ? "(" : "[", Bound(range.low, type), ", ", Bound(range.high, type),
                      range.high_excluded ? ")" : "]");
}

std::string Alternatives(const std::vector<std::string>& choices) {
  if (choices.empty()) return "";
  const auto last = choices.end() - 1;
  return choices.size() == 1 ? *last : absl::StrCat(absl::StrJoin(choices.begin(), last, ", "), " or ", *last);
}

// Written so that NaN lies in no range.
bool Inside(double value, const OptionRange& range) {
  return (range.low_excluded ? value > range.low : value >= range.low) &&
         (range.high_excluded ? value < range.high : value <= range.high);
}

std::string AsText(const OptionValue& value, const std::string& word, std::string (*real)(double)) {
  if (const auto* number = std::get_if<double>(&value)) return real(*number);
  if (const auto* whole = std::get_if<int64_t>(&value)) return absl::StrCat(*whole);
  if (const auto* seed = std::get_if<uint64_t>(&value)) return absl::StrCat(*seed);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) return absl::StrJoin(*list, ",");
  return word;
}

Option Make(std::string name, OptionType type, OptionValue value, std::string help) {
  Option option;
  option.name = std::move(name);
  option.type = type;
  option.default_value = std::move(value);
  option.help = std::move(help);
  return option;
}

}  // namespace

std::string_view OptionTypeName(OptionType type) {
  switch (type) {
    case OptionType::kReal:
      return "real";
    case OptionType::kWhole:
    case OptionType::kSeed:
      return "whole";
    case OptionType::kFlag:
      return "flag";
    case OptionType::kChoice:
      return "choice";
    case OptionType::kText:
      return "text";
    case OptionType::kList:
      return "list";
  }
  return "";
}

// ---------------------------------------------------------------- Option

Option Option::Real(std::string name, double value, OptionRange range, std::string help) {
  Option option = Make(std::move(name), OptionType::kReal, value, std::move(help));
  option.range = range;
  return option;
}

Option Option::Whole(std::string name, int64_t value, OptionRange range, std::string help) {
  Option option = Make(std::move(name), OptionType::kWhole, value, std::move(help));
  option.range = range;
  return option;
}

Option Option::Seed(std::string name, uint64_t value, std::string help) {
  return Make(std::move(name), OptionType::kSeed, value, std::move(help));
}

Option Option::Flag(std::string name, bool value, std::string help) {
  return Make(std::move(name), OptionType::kFlag, value, std::move(help));
}

Option Option::Choice(std::string name, std::string value, std::vector<std::string> choices, std::string help) {
  Option option = Make(std::move(name), OptionType::kChoice, std::move(value), std::move(help));
  option.choices = std::move(choices);
  return option;
}

Option Option::Text(std::string name, std::string value, std::string help) {
  return Make(std::move(name), OptionType::kText, std::move(value), std::move(help));
}

Option Option::List(std::string name, std::vector<std::string> value, std::string help) {
  return Make(std::move(name), OptionType::kList, std::move(value), std::move(help));
}

Option Option::WithWord(std::string text) && {
  word = std::move(text);
  default_value = std::monostate();
  return std::move(*this);
}

absl::StatusOr<OptionValue> Option::Parse(std::string_view text) const {
  const auto not_a = [&](const char* kind) {
    return InvalidField(name, absl::StrCat(Quoted(text), " is not ", kind, " in ", Allowed()));
  };
  OptionValue value;
  switch (type) {
    case OptionType::kReal:
      if (word.empty() || text != word) {
        if (!absl::SimpleAtod(AbslView(text), &value.emplace<double>())) return not_a("a number");
      }
      break;
    case OptionType::kWhole:
      if (word.empty() || text != word) {
        if (!absl::SimpleAtoi(AbslView(text), &value.emplace<int64_t>())) return not_a("a whole number");
      }
      break;
    case OptionType::kSeed:
      if (!absl::SimpleAtoi(AbslView(text), &value.emplace<uint64_t>())) return not_a("a whole number");
      break;
    case OptionType::kFlag:
      if (text != "true" && text != "false") return InvalidField(name, "must be true or false");
      value = text == "true";
      break;
    case OptionType::kChoice:
    case OptionType::kText:
      value.emplace<std::string>(text);
      break;
    case OptionType::kList:
      value.emplace<std::vector<std::string>>(absl::StrSplit(AbslView(text), ','));
      break;
  }
  ENGRAM_RETURN_IF_ERROR(Check(value));
  return value;
}

absl::Status Option::Check(const OptionValue& value) const {
  const auto outside = [&] {
    return InvalidField(name, absl::StrCat("is ", Show(value), "; it must lie in ", Allowed()));
  };
  if (const auto* number = std::get_if<double>(&value); number != nullptr && !Inside(*number, range)) return outside();
  if (const auto* whole = std::get_if<int64_t>(&value);
      whole != nullptr && !Inside(static_cast<double>(*whole), range)) {
    return outside();
  }
  if (const auto* text = std::get_if<std::string>(&value); text != nullptr && type == OptionType::kChoice) {
    if (std::find(choices.begin(), choices.end(), *text) == choices.end())
      return InvalidField(name, absl::StrCat(Quoted(*text), " is unknown; choose ", Allowed()));
  }
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    const auto bad = [](const std::string& entry) { return entry.empty() || entry.find(',') != std::string::npos; };
    if (list->empty() || std::any_of(list->begin(), list->end(), bad))
      return InvalidField(name, "must be a list with at least one entry, none of them empty or with a comma");
  }
  return absl::OkStatus();
}

std::string Option::Render(const OptionValue& value) const { return AsText(value, word, Exact); }

std::string Option::Show(const OptionValue& value) const { return AsText(value, word, Shortest); }

std::string Option::Allowed() const {
  switch (type) {
    case OptionType::kReal:
    case OptionType::kWhole:
      return word.empty() ? Interval(range, type) : absl::StrCat(Interval(range, type), " or ", word);
    case OptionType::kSeed:
      return "[0, 18446744073709551615]";
    case OptionType::kFlag:
      return "true or false";
    case OptionType::kChoice:
      return Alternatives(choices);
    case OptionType::kText:
    case OptionType::kList:
      break;
  }
  return "";
}

// ---------------------------------------------------------------- OptionValues

const OptionValue& OptionValues::Value(std::string_view name) const { return values_.at(std::string(name)); }

std::map<std::string, std::string> OptionValues::Render() const {
  std::map<std::string, std::string> texts;
  for (const Option& option : *options_) texts[option.name] = option.Render(Value(option.name));
  return texts;
}

std::map<std::string, std::string> OptionValues::Show() const {
  std::map<std::string, std::string> texts;
  for (const Option& option : *options_) texts[option.name] = option.Show(Value(option.name));
  return texts;
}

// ---------------------------------------------------------------- OptionTable

OptionTable::OptionTable(std::string what, std::vector<Option> options)
    : what_(std::move(what)), options_(std::make_shared<std::vector<Option>>(std::move(options))) {}

OptionTable OptionTable::Named(std::string what) const {
  OptionTable named = *this;
  named.what_ = std::move(what);
  return named;
}

const Option* OptionTable::Find(std::string_view name) const& {
  const auto found =
      std::find_if(options_->begin(), options_->end(), [name](const Option& option) { return option.name == name; });
  return found == options_->end() ? nullptr : &*found;
}

absl::Status OptionTable::Unknown(std::string_view name) const {
  std::set<std::string> known;
  for (const Option& option : *options_) known.insert(option.name);
  const std::string nearest = NearestName(name, known);
  return InvalidField(
      name, absl::StrCat("is no ", what_, nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?"),
                         known.empty() ? "; there is none" : absl::StrCat("; there are ", absl::StrJoin(known, ", "))));
}

OptionValues OptionTable::Defaults() const {
  OptionValues values;
  values.options_ = options_;
  for (const Option& option : *options_) values.values_[option.name] = option.default_value;
  return values;
}

absl::StatusOr<OptionValues> OptionTable::Parse(const std::map<std::string, std::string>& texts) const {
  OptionValues values = Defaults();
  for (const auto& [name, text] : texts) {
    const Option* option = Find(name);
    if (option == nullptr) return Unknown(name);
    ENGRAM_ASSIGN_OR_RETURN(values.values_[name], option->Parse(text));
  }
  return values;
}

}  // namespace engram
