#include <utility>

#include "absl/strings/str_cat.h"
#include "core/corpus/lines.h"
#include "core/corpus/readers.h"
#include "core/tagging/words.h"

namespace engram::corpus {

absl::Status ReadPlain(const ReaderInput& input, Reading& reading) {
  reading.format = "txt";
  // Empty lines separate paragraphs in many plain texts; they are no rows.
  ForEachLine(input.text, [&](int64_t, std::string_view line) {
    if (!tagging::TrimWhiteSpace(line).empty() && input.Keeps(reading.dataset.texts.size()))
      reading.dataset.texts.push_back(line);
  });
  reading.columns.emplace_back("line", "text");
  return absl::OkStatus();
}

absl::Status ReadFastText(const ReaderInput& input, Reading& reading) {
  constexpr std::string_view kPrefix = "__label__";
  reading.format = "fasttext";
  reading.dataset.kind = DatasetKind::kClassification;
  reading.columns = {{std::string(kPrefix), "label"}, {"rest of the line", "text"}};
  RowErrors errors;
  ForEachLine(input.text, [&](int64_t number, std::string_view line) {
    std::string_view rest = tagging::TrimWhiteSpace(line);
    if (rest.empty()) return;
    if (!rest.starts_with(kPrefix)) {
      errors.Add(number, "does not begin with __label__");
      return;
    }
    const size_t end = std::min(rest.size(), rest.find_first_of(" \t"));
    const std::string_view label = rest.substr(kPrefix.size(), end - kPrefix.size());
    rest = tagging::TrimWhiteSpace(rest.substr(end));
    if (label.empty()) {
      errors.Add(number, "has no label behind __label__");
    } else if (rest.starts_with(kPrefix) || rest.find(" __label__") != std::string_view::npos ||
               rest.find("\t__label__") != std::string_view::npos) {
      errors.Add(number, "has several labels; a classifier learns one label per text");
    } else if (rest.empty()) {
      errors.Add(number, "has no text");
    } else if (input.Keeps(reading.dataset.texts.size())) {
      reading.dataset.texts.push_back(rest);
      reading.dataset.labels.push_back(label);
    }
  });
  return errors.ToStatus(input.field);
}

}  // namespace engram::corpus
