#pragma once

// Options as a table: what a user may set by name and text, stated once. The server's configuration, the options of a
// training and those of each strategy are such tables; parsing, range checks, error texts, help and documentation come
// from them.
//
//   const OptionTable table("option of ewc", {Option::Real("lambda", 1000, Closed(0, 1e9), "strength of the penalty"),
//                                             Option::Choice("penalty_mode", "auto", {"auto", "coupled"}, "...")});
//   ENGRAM_ASSIGN_OR_RETURN(const OptionValues values, table.Parse({{"lambda", "250"}}));
//   values.Real("lambda");  // 250
//
// Every error is INVALID_ARGUMENT for the option's name (InvalidField) and says what may stand there. A table and its
// values are immutable, so any number of threads may read them. core/base/struct_options.h binds a table to a struct.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/status.h"

namespace engram {

enum class OptionType {
  kReal,    // double, finite
  kWhole,   // int64_t
  kSeed,    // uint64_t, any
  kFlag,    // bool: "true" or "false"
  kChoice,  // std::string, one of a list
  kText,    // std::string, any
  kList,    // std::vector<std::string>, at least one, none empty or with a comma: the commas part them
};

// "real", "whole", "flag", "choice", "text", "list"; a seed is a whole number.
std::string_view OptionTypeName(OptionType type);

// A value of the type that OptionType names; std::monostate stands for the option's word (Option::word).
using OptionValue =
    std::variant<std::monostate, double, int64_t, uint64_t, bool, std::string, std::vector<std::string>>;

// Where a number must lie. Bounds of whole numbers are whole and at most 2^52 in size.
struct OptionRange {
  double low = 0, high = 0;
  bool low_excluded = false, high_excluded = false;
};
constexpr OptionRange Closed(double low, double high) { return {low, high, false, false}; }
constexpr OptionRange LeftOpen(double low, double high) { return {low, high, true, false}; }
constexpr OptionRange RightOpen(double low, double high) { return {low, high, false, true}; }

struct Option {
  std::string name;
  OptionType type = OptionType::kText;
  OptionValue default_value;
  OptionRange range;                 // of kReal and kWhole
  std::vector<std::string> choices;  // of kChoice
  std::string word;                  // may stand instead of a number ("model": as the model has it); empty: none may
  std::string help;                  // one line: meaning and unit

  static Option Real(std::string name, double value, OptionRange range, std::string help);
  static Option Whole(std::string name, int64_t value, OptionRange range, std::string help);
  static Option Seed(std::string name, uint64_t value, std::string help);
  static Option Flag(std::string name, bool value, std::string help);
  static Option Choice(std::string name, std::string value, std::vector<std::string> choices, std::string help);
  static Option Text(std::string name, std::string value, std::string help);
  static Option List(std::string name, std::vector<std::string> value, std::string help);
  // The same option with a word beside its numbers, which is also its default.
  Option WithWord(std::string word) &&;

  // The value that `text` stands for, checked.
  absl::StatusOr<OptionValue> Parse(std::string_view text) const;
  // INVALID_ARGUMENT for a value outside the range or the choices. NaN lies in no range.
  absl::Status Check(const OptionValue& value) const;
  // The text that parses back to the same value, to the bit ("0.10000000000000001").
  std::string Render(const OptionValue& value) const;
  // The same as somebody would write it ("0.1"); it too parses back to the bit.
  std::string Show(const OptionValue& value) const;
  // What may stand there: "[0, 1e9]", "(0, 1]", "[0, 0.9] or model", "auto, fp32 or bf16", "true or false"; empty for
  // texts and lists, which may be any.
  std::string Allowed() const;
};

// The values of all options of one table.
class OptionValues {
 public:
  // The value of the option of that name and type; the default where none was given. Asking for a name or type that the
  // table does not have is a mistake of the program and ends it (std::out_of_range, std::bad_variant_access).
  double Real(std::string_view name) const { return std::get<double>(Value(name)); }
  int64_t Whole(std::string_view name) const { return std::get<int64_t>(Value(name)); }
  uint64_t Seed(std::string_view name) const { return std::get<uint64_t>(Value(name)); }
  bool Flag(std::string_view name) const { return std::get<bool>(Value(name)); }
  const std::string& Text(std::string_view name) const { return std::get<std::string>(Value(name)); }  // kChoice too
  const std::vector<std::string>& List(std::string_view name) const {
    return std::get<std::vector<std::string>>(Value(name));
  }
  const OptionValue& Value(std::string_view name) const;

  // Every option as text: OptionTable::Parse gives the same values back to the bit.
  std::map<std::string, std::string> Render() const;
  // Every option as somebody would write it.
  std::map<std::string, std::string> Show() const;

  friend bool operator==(const OptionValues& a, const OptionValues& b) { return a.values_ == b.values_; }

 private:
  friend class OptionTable;
  std::shared_ptr<const std::vector<Option>> options_ = std::make_shared<std::vector<Option>>();
  std::map<std::string, OptionValue, std::less<>> values_;
};

class OptionTable {
 public:
  // No options.
  OptionTable() = default;
  // `what` completes "is no ..." for a name that the table does not have ("training option").
  OptionTable(std::string what, std::vector<Option> options);
  explicit OptionTable(std::vector<Option> options) : OptionTable("option", std::move(options)) {}
  // The same options under another `what`.
  OptionTable Named(std::string what) const;

  // In the order in which they were stated. Not of a table that is about to go.
  const std::vector<Option>& options() const& { return *options_; }
  const std::vector<Option>& options() const&& = delete;
  // The option of that name; nullptr if the table has none.
  const Option* Find(std::string_view name) const&;
  const Option* Find(std::string_view name) const&& = delete;
  // The error for a name that the table does not have: names the nearest option and lists all.
  absl::Status Unknown(std::string_view name) const;

  // The values that `texts` sets, all others at their defaults.
  absl::StatusOr<OptionValues> Parse(const std::map<std::string, std::string>& texts) const;
  OptionValues Defaults() const;

 private:
  std::string what_ = "option";
  std::shared_ptr<const std::vector<Option>> options_ = std::make_shared<std::vector<Option>>();
};

}  // namespace engram
