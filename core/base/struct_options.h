#pragma once

// An OptionTable whose options are the members of a struct, so that a member is stated once: its default is the
// struct's own, name, range and help stand beside the pointer to it. Built once, for the life of the program:
//
//   const StructOptions<Tuning>& TuningTable() {
//     static const auto table = StructOptions<Tuning>("tuning option")
//                                   .Real("rate", &Tuning::rate, LeftOpen(0, 1), "learning rate at the peak")
//                                   .Whole("rounds", &Tuning::rounds, Closed(1, 100), "passes over the data");
//     return table;
//   }

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/options.h"

namespace engram {

template <typename Struct>
class StructOptions {
 public:
  // `what` completes "is no ..." for a name that the table does not have.
  explicit StructOptions(std::string what) : what_(std::move(what)) {}

  StructOptions& Real(const char* name, double Struct::*member, OptionRange range, const char* help) {
    return Add(Option::Real(name, defaults_.*member, range, help), member);
  }
  // `word` stands for nullopt, which must be the default.
  StructOptions& Real(const char* name, std::optional<double> Struct::*member, OptionRange range, const char* word,
                      const char* help) {
    return Add(
        Option::Real(name, 0, range, help).WithWord(word),
        [member](const Struct& from) {
          const std::optional<double>& value = from.*member;
          return value ? OptionValue(*value) : OptionValue();
        },
        [member](Struct& to, const OptionValue& value) {
          const auto* number = std::get_if<double>(&value);
          to.*member = number == nullptr ? std::nullopt : std::optional<double>(*number);
        });
  }
  StructOptions& Whole(const char* name, int64_t Struct::*member, OptionRange range, const char* help) {
    return Add(Option::Whole(name, defaults_.*member, range, help), member);
  }
  StructOptions& Seed(const char* name, uint64_t Struct::*member, const char* help) {
    return Add(Option::Seed(name, defaults_.*member, help), member);
  }
  StructOptions& Flag(const char* name, bool Struct::*member, const char* help) {
    return Add(Option::Flag(name, defaults_.*member, help), member);
  }
  StructOptions& Text(const char* name, std::string Struct::*member, const char* help) {
    return Add(Option::Text(name, defaults_.*member, help), member);
  }
  StructOptions& List(const char* name, std::vector<std::string> Struct::*member, const char* help) {
    return Add(Option::List(name, defaults_.*member, help), member);
  }
  StructOptions& Choice(const char* name, std::string Struct::*member, std::vector<std::string> choices,
                        const char* help) {
    return Add(Option::Choice(name, defaults_.*member, std::move(choices), help), member);
  }
  // Every value of the enum with its name.
  template <typename Enum>
  StructOptions& Choice(const char* name, Enum Struct::*member, std::vector<std::pair<Enum, std::string>> names,
                        const char* help) {
    std::vector<std::string> choices;
    for (const auto& [unused, text] : names) choices.push_back(text);
    const auto get = [member, names](const Struct& from) -> OptionValue {
      for (const auto& [value, text] : names) {
        if (value == from.*member) return text;
      }
      return std::string();
    };
    const auto set = [member, names](Struct& to, const OptionValue& chosen) {
      for (const auto& [value, text] : names) {
        if (text == std::get<std::string>(chosen)) to.*member = value;
      }
    };
    return Add(Option::Choice(name, std::get<std::string>(get(defaults_)), std::move(choices), help), get, set);
  }

  OptionTable table() const { return OptionTable(what_, options_); }

  // The option `name` of `target` from text, or from a value of the option's type. INVALID_ARGUMENT for an unknown name
  // or a value that may not stand there; `target` is then as it was.
  absl::Status Set(Struct& target, std::string_view name, std::string_view text) const {
    const size_t i = IndexOf(name);
    if (i == options_.size()) return table().Unknown(name);
    ENGRAM_ASSIGN_OR_RETURN(const OptionValue value, options_[i].Parse(text));
    bindings_[i].set(target, value);
    return absl::OkStatus();
  }
  absl::Status SetValue(Struct& target, std::string_view name, const OptionValue& value) const {
    const size_t i = IndexOf(name);
    if (i == options_.size()) return table().Unknown(name);
    ENGRAM_RETURN_IF_ERROR(options_[i].Check(value));
    bindings_[i].set(target, value);
    return absl::OkStatus();
  }
  // INVALID_ARGUMENT for the first member that may not have the value that it has.
  absl::Status Check(const Struct& values) const {
    for (size_t i = 0; i < options_.size(); ++i) ENGRAM_RETURN_IF_ERROR(options_[i].Check(bindings_[i].get(values)));
    return absl::OkStatus();
  }
  // Every option as text: Set of all of them gives an equal struct, to the bit.
  std::map<std::string, std::string> Render(const Struct& values) const {
    std::map<std::string, std::string> texts;
    for (size_t i = 0; i < options_.size(); ++i) texts[options_[i].name] = options_[i].Render(bindings_[i].get(values));
    return texts;
  }
  // Every option as somebody would write it.
  std::map<std::string, std::string> Show(const Struct& values) const {
    std::map<std::string, std::string> texts;
    for (size_t i = 0; i < options_.size(); ++i) texts[options_[i].name] = options_[i].Show(bindings_[i].get(values));
    return texts;
  }

 private:
  using Get = std::function<OptionValue(const Struct&)>;
  using Put = std::function<void(Struct&, const OptionValue&)>;
  struct Binding {
    Get get;
    Put set;
  };

  template <typename T>
  StructOptions& Add(Option option, T Struct::*member) {
    return Add(
        std::move(option), [member](const Struct& from) { return OptionValue(from.*member); },
        [member](Struct& to, const OptionValue& value) { to.*member = std::get<T>(value); });
  }
  StructOptions& Add(Option option, Get get, Put set) {
    options_.push_back(std::move(option));
    bindings_.push_back({std::move(get), std::move(set)});
    return *this;
  }
  size_t IndexOf(std::string_view name) const {
    size_t i = 0;
    while (i < options_.size() && options_[i].name != name) ++i;
    return i;
  }

  std::string what_;
  const Struct defaults_{};
  std::vector<Option> options_;
  std::vector<Binding> bindings_;
};

}  // namespace engram
