#include "server/library/forget_texts.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/lack.h"
#include "core/checkpoint/version_directory.h"
#include "core/nn/device.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/version_memory.h"
#include "server/library/discard.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

namespace fs = std::filesystem;
using train::StoredExample;

constexpr int kMostTexts = 1024;
constexpr int64_t kPage = 1000;

struct Wanted {
  std::string model, dataset;
  std::set<int64_t> rows;  // from 0
  std::vector<std::string> texts;
};

absl::StatusOr<Wanted> ReadRequest(const engram::v1::ForgetTextsRequest& request) {
  Wanted wanted;
  ENGRAM_ASSIGN_OR_RETURN(wanted.model, ParseName("model", "models", request.model()));
  if (!request.dataset().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(wanted.dataset, ParseName("dataset", "datasets", request.dataset()));
  }
  for (const int64_t row : request.rows()) {
    if (row < 1) return InvalidField("rows", "are counted from 1");
    wanted.rows.insert(row - 1);
  }
  if (!wanted.rows.empty() && wanted.dataset.empty())
    return InvalidField("dataset", "is missing: rows are rows of a data set");
  if (request.texts_size() > kMostTexts)
    return InvalidField("texts",
                        absl::StrCat("are ", request.texts_size(), ", more than ", kMostTexts, " in one call"));
  wanted.texts.assign(request.texts().begin(), request.texts().end());
  for (const std::string& text : wanted.texts) {
    if (text.empty()) return InvalidField("texts", "holds an empty text");
  }
  if (wanted.dataset.empty() && wanted.texts.empty())
    return InvalidField("texts", "is empty, and so is dataset; name what is to be forgotten");
  return wanted;
}

absl::Status CheckIdle(jobs::Store& store, const std::string& model, absl::StatusCode code, std::string_view remedy) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> jobs, store.UnfinishedJobs());
  for (const jobs::JobRecord& job : jobs) {
    if (job.model == model)
      return StatusWithReason(code, "MODEL_IN_USE", absl::StrCat("job ", job.id, " is of it; ", AbslView(remedy)));
  }
  return absl::OkStatus();
}

// The tokens of an example without those that the tokenizer puts around a text.
std::vector<int32_t> Content(const std::vector<int32_t>& ids, const tokenize::TextFrame& frame) {
  if (static_cast<int64_t>(ids.size()) < frame.size()) return ids;
  return {ids.begin() + static_cast<int64_t>(frame.before.size()),
          ids.end() - static_cast<int64_t>(frame.after.size())};
}

// Says of the examples of one memory whether they are wanted.
class Matcher {
 public:
  // `tasks`: those that were trained on the data set.
  Matcher(const Wanted& wanted, std::set<std::string> tasks, std::vector<std::vector<int32_t>> texts,
          const tokenize::Tokenizer& tokenizer, const std::vector<StoredExample>& examples)
      : wanted_(wanted),
        tasks_(std::move(tasks)),
        texts_(std::move(texts)),
        frame_(tokenizer.frame()),
        separator_(tokenizer.special_ids().sep) {
    for (const StoredExample& stored : examples) {
      size_t& longest = longest_[stored.task];
      longest = std::max(longest, stored.example.sequence.ids.size());
    }
  }

  bool operator()(const StoredExample& stored) const {
    if (tasks_.contains(stored.task) && (wanted_.rows.empty() || wanted_.rows.contains(stored.example.source)))
      return true;
    return std::any_of(texts_.begin(), texts_.end(),
                       [&](const std::vector<int32_t>& text) { return IsOf(stored, text); });
  }

 private:
  // A text that was cut is as long as the longest of its task; a window of a tagged text may begin anywhere in it.
  bool IsOf(const StoredExample& stored, const std::vector<int32_t>& text) const {
    const std::vector<int32_t> content = Content(stored.example.sequence.ids, frame_);
    if (content == text) return true;
    const bool cut = stored.example.sequence.ids.size() >= longest_.at(stored.task);
    if (IsOfPair(content, text, cut)) return true;
    if (content.empty() || content.size() > text.size() || !cut) return false;
    if (stored.example.tags.empty()) return std::equal(content.begin(), content.end(), text.begin());
    return std::search(text.begin(), text.end(), content.begin(), content.end()) != text.end();
  }

  // Whether the text is one of the two of a pair. The longer one is cut first, so that only the longer one, or both down
  // to one length, may have been cut.
  bool IsOfPair(const std::vector<int32_t>& content, const std::vector<int32_t>& text, bool cut) const {
    std::vector<std::vector<int32_t>> parts(1);
    for (const int32_t id : content) {
      if (id != separator_) {
        parts.back().push_back(id);
      } else if (!parts.back().empty()) {
        parts.emplace_back();
      }
    }
    if (parts.size() != 2) return false;
    const size_t longer = std::max(parts[0].size(), parts[1].size());
    return std::any_of(parts.begin(), parts.end(), [&](const std::vector<int32_t>& part) {
      if (part == text) return true;
      return cut && part.size() + 1 >= longer && part.size() <= text.size() &&
             std::equal(part.begin(), part.end(), text.begin());
    });
  }

  const Wanted& wanted_;
  const std::set<std::string> tasks_;
  const std::vector<std::vector<int32_t>> texts_;
  const tokenize::TextFrame frame_;
  const int32_t separator_;  // between the two texts of a pair
  std::map<std::string, size_t> longest_;
};

// The directory again in staging, files shared by hard links but for the memories that change and engram.json.
absl::Status LinkFiles(const std::string& from, const std::string& to, const std::set<std::string>& but) {
  std::error_code code;
  for (auto entry = fs::recursive_directory_iterator(from, code); !code && entry != fs::recursive_directory_iterator();
       entry.increment(code)) {
    const fs::path relative = entry->path().lexically_relative(from);
    if (entry->is_directory(code) || but.contains(relative.generic_string())) continue;
    ENGRAM_RETURN_IF_ERROR(MakeDirectories((fs::path(to) / relative).parent_path().string()));
    fs::create_hard_link(entry->path(), fs::path(to) / relative, code);
    if (code) break;
  }
  return code ? StatusOfErrno(code.value(), "making the version anew") : absl::OkStatus();
}

class Forgetter {
 public:
  Forgetter(const Catalog& catalog, const DataPaths& paths, const Wanted& wanted)
      : catalog_(catalog), paths_(paths), wanted_(wanted) {}

  absl::Status Version(int64_t number, engram::v1::ForgetTextsResponse& response) const {
    ENGRAM_ASSIGN_OR_RETURN(checkpoint::VersionManifest manifest, catalog_.Manifest(wanted_.model, number));
    const std::string directory = paths_.version(wanted_.model, number);
    const std::set<std::string> tasks = TasksOf(manifest);
    if (KeepsSums(manifest, tasks)) response.add_sums_kept(VersionName(wanted_.model, number));
    std::map<std::string, train::VersionMemory> changed;  // by strategy
    ENGRAM_ASSIGN_OR_RETURN(const int64_t removed, Filter(directory, tasks, manifest, changed));
    if (removed == 0) return absl::OkStatus();
    ENGRAM_RETURN_IF_ERROR(Replace(directory, number, changed, manifest));
    engram::v1::ForgottenTexts* out = response.add_versions();
    out->set_version(VersionName(wanted_.model, number));
    out->set_texts(removed);
    return absl::OkStatus();
  }

 private:
  std::set<std::string> TasksOf(const checkpoint::VersionManifest& manifest) const {
    std::set<std::string> tasks;
    for (const checkpoint::ManifestTask& task : manifest.tasks) {
      if (!wanted_.dataset.empty() && task.dataset == wanted_.dataset) tasks.insert(task.name);
    }
    return tasks;
  }

  bool KeepsSums(const checkpoint::VersionManifest& manifest, const std::set<std::string>& tasks) const {
    const bool sums = std::any_of(manifest.memory.begin(), manifest.memory.end(),
                                  [](const checkpoint::ManifestMemory& memory) { return memory.rows == 0; });
    if (!wanted_.texts.empty()) return sums || !manifest.consolidations.empty();
    return (sums && !tasks.empty()) ||
           std::any_of(manifest.consolidations.begin(), manifest.consolidations.end(),
                       [&](const auto& consolidation) { return tasks.contains(consolidation.task); });
  }

  absl::StatusOr<int64_t> Filter(const std::string& directory, const std::set<std::string>& tasks,
                                 checkpoint::VersionManifest& manifest,
                                 std::map<std::string, train::VersionMemory>& changed) const {
    const bool keeps = std::any_of(manifest.memory.begin(), manifest.memory.end(),
                                   [](const checkpoint::ManifestMemory& memory) { return memory.rows > 0; });
    if (!keeps) return 0;
    ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(directory));
    std::vector<std::vector<int32_t>> texts;
    for (const std::string& text : wanted_.texts) {
      tokenize::EncodeOptions plain;
      plain.add_special_tokens = false;
      ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding encoding, tokenizer->Encode(text, plain));
      texts.push_back(std::move(encoding.ids));
    }
    int64_t removed = 0;
    for (checkpoint::ManifestMemory& memory : manifest.memory) {
      if (memory.rows == 0) continue;
      ENGRAM_ASSIGN_OR_RETURN(train::VersionMemory kept,
                              nn::GuardTorch([&] { return train::ReadVersionMemory(directory, memory.strategy); }));
      const Matcher matches(wanted_, tasks, texts, *tokenizer, kept.examples);
      const auto count = static_cast<int64_t>(std::erase_if(kept.examples, matches));
      if (count == 0) continue;
      removed += count;
      memory.rows = static_cast<int64_t>(kept.examples.size());
      memory.tasks = train::ExamplesPerTask(kept.examples);
      changed.emplace(memory.strategy, std::move(kept));
    }
    return removed;
  }

  absl::Status Replace(const std::string& directory, int64_t number,
                       const std::map<std::string, train::VersionMemory>& changed,
                       checkpoint::VersionManifest& manifest) const {
    const std::string staged = absl::StrCat(paths_.staging(), "/forget-", wanted_.model, "-", number);
    ENGRAM_RETURN_IF_ERROR(RemoveTree(staged));
    const absl::Status made = Make(directory, staged, changed, manifest);
    const absl::Status replaced = made.ok() ? checkpoint::ExchangeDirectories(staged, directory) : made;
    const absl::Status removed = RemoveTree(staged);  // after the exchange: the old files
    return replaced.ok() ? removed : replaced;
  }

  static absl::Status Make(const std::string& directory, const std::string& staged,
                           const std::map<std::string, train::VersionMemory>& changed,
                           checkpoint::VersionManifest& manifest) {
    std::set<std::string> files = {checkpoint::kManifestFile};
    for (const auto& [strategy, memory] : changed) files.insert(checkpoint::MemoryFile(strategy));
    ENGRAM_RETURN_IF_ERROR(MakeDirectories(staged));
    ENGRAM_RETURN_IF_ERROR(LinkFiles(directory, staged, files));
    for (const auto& entry : changed) {
      ENGRAM_RETURN_IF_ERROR(
          nn::GuardTorch([&] { return train::WriteVersionMemory(staged, entry.first, entry.second); }));
    }
    return checkpoint::WriteManifest(staged, manifest);
  }

  const Catalog& catalog_;
  const DataPaths& paths_;
  const Wanted& wanted_;
};

}  // namespace

absl::Status ForgetTexts(jobs::Store& store, const Catalog& catalog, const DataPaths& paths,
                         const engram::v1::ForgetTextsRequest& request, engram::v1::ForgetTextsResponse& response) {
  ENGRAM_ASSIGN_OR_RETURN(const Wanted wanted, ReadRequest(request));
  ENGRAM_RETURN_IF_ERROR(store.GetModel(wanted.model).status());
  ENGRAM_RETURN_IF_ERROR(
      CheckIdle(store, wanted.model, absl::StatusCode::kFailedPrecondition, "wait for it, or cancel it"));
  const Forgetter forget(catalog, paths, wanted);
  for (int64_t before = 0;;) {
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::VersionRecord> versions,
                            store.ListVersions(wanted.model, before, kPage));
    if (versions.empty()) break;
    before = versions.back().number;
    for (const jobs::VersionRecord& version : versions)
      ENGRAM_RETURN_IF_ERROR(forget.Version(version.number, response));
  }
  return CheckIdle(store, wanted.model, absl::StatusCode::kAborted,
                   "it began while texts were removed and may have read them; wait for it and ask again");
}

}  // namespace engram::server
