#include "server/library/forget_texts.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/files.h"
#include "core/base/lack.h"
#include "core/checkpoint/retention.h"
#include "core/checkpoint/version_directory.h"
#include "core/nn/device.h"
#include "core/tagging/words.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/task_router.h"
#include "core/train/version_memory.h"
#include "server/library/discard.h"
#include "server/rpc/names.h"
#include "server/worker/memories.h"

namespace engram::server {
namespace {

namespace fs = std::filesystem;
using train::StoredExample;

constexpr int kMostTexts = 1024;
constexpr int64_t kPage = 1000;
constexpr int64_t kMostDays = 36'500;

struct Wanted {
  std::string model, dataset;
  std::set<int64_t> rows;  // from 0
  std::vector<std::string> texts;
  std::optional<int64_t> older_than_days;
  absl::Time now;
};

absl::StatusOr<Wanted> ReadRequest(const engram::v1::ForgetTextsRequest& request, absl::Time now) {
  Wanted wanted;
  wanted.now = now;
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
  if (request.has_older_than_days()) {
    if (request.older_than_days() < 0 || request.older_than_days() > kMostDays)
      return InvalidField("older_than_days", absl::StrCat("must be in [0, ", kMostDays, "]"));
    wanted.older_than_days = request.older_than_days();
  }
  if (wanted.dataset.empty() && wanted.texts.empty() && !wanted.older_than_days)
    return InvalidField("texts", "is empty, and so are dataset and older_than_days; say what is to be forgotten");
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

// A wanted text as it may have been tokenized.
struct WantedTokens {
  std::vector<int32_t> ids;
  int64_t digest = 0;  // train::TokensDigest
};

// As one text, by its words between spaces, and by its words and signs: taggers get words, which tokenizers over bytes
// encode otherwise than a text.
absl::Status AddTokens(const std::string& text, const tokenize::Tokenizer& tokenizer,
                       std::vector<WantedTokens>& wanted) {
  tokenize::EncodeOptions plain;
  plain.add_special_tokens = false;
  const auto add = [&](std::vector<int32_t> ids) {
    const bool known =
        std::any_of(wanted.begin(), wanted.end(), [&](const WantedTokens& other) { return other.ids == ids; });
    const int64_t digest = train::TokensDigest(ids);
    if (!known) wanted.push_back({std::move(ids), digest});
  };
  ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding whole, tokenizer.Encode(text, plain));
  add(std::move(whole.ids));
  std::vector<std::string_view> words;
  for (const absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty()))
    words.emplace_back(word.data(), word.size());
  ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding spaced, tokenizer.EncodeWords(words, plain));
  add(std::move(spaced.ids));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<tagging::Word> parts, tagging::SplitWords(text));
  words.clear();
  for (const tagging::Word& part : parts) words.push_back(part.In(text));
  ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding split, tokenizer.EncodeWords(words, plain));
  add(std::move(split.ids));
  return absl::OkStatus();
}

// Says of the examples of one memory whether they are wanted.
class Matcher {
 public:
  // `tasks`: those that were trained on the data set; `expired`: those whose texts are too old.
  Matcher(const Wanted& wanted, std::set<std::string> tasks, std::set<std::string> expired,
          const std::vector<WantedTokens>& texts, const tokenize::Tokenizer& tokenizer,
          const std::vector<StoredExample>& examples)
      : wanted_(wanted),
        tasks_(std::move(tasks)),
        expired_(std::move(expired)),
        texts_(texts),
        frame_(tokenizer.frame()),
        separator_(tokenizer.special_ids().sep) {
    for (const StoredExample& stored : examples) {
      size_t& longest = longest_[stored.task];
      longest = std::max(longest, stored.example.sequence.ids.size());
    }
  }

  bool operator()(const StoredExample& stored) const {
    if (expired_.contains(stored.task)) return true;
    if (tasks_.contains(stored.task) && (wanted_.rows.empty() || wanted_.rows.contains(stored.example.source)))
      return true;
    return std::any_of(texts_.begin(), texts_.end(), [&](const WantedTokens& text) { return IsOf(stored, text); });
  }

 private:
  bool IsOf(const StoredExample& stored, const WantedTokens& text) const {
    const std::array<int64_t, 2>& whole = stored.example.whole;
    if (whole[0] == train::kUnknownWhole) return BeginsAs(stored, text.ids);
    if (whole[0] != 0) return text.digest == whole[0] || text.digest == whole[1];
    const std::vector<int32_t> content = Content(stored.example.sequence.ids, frame_);
    return content == text.ids || IsOfPair(content, text.ids, /*cut=*/false);
  }

  // Of a memory that does not know whether it has the whole text. One that was cut is as long as the longest of its task;
  // a window of a tagged text may begin anywhere in it.
  bool BeginsAs(const StoredExample& stored, const std::vector<int32_t>& text) const {
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
  const std::set<std::string> tasks_, expired_;
  const std::vector<WantedTokens>& texts_;
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
    const bool keeps = std::any_of(
        manifest.memory.begin(), manifest.memory.end(),
        [](const checkpoint::ManifestMemory& memory) { return memory.rows > 0 || memory.strategy == train::kRouter; });
    if (!keeps) return 0;
    ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(directory));
    std::vector<WantedTokens> texts;
    for (const std::string& text : wanted_.texts) ENGRAM_RETURN_IF_ERROR(AddTokens(text, *tokenizer, texts));
    int64_t removed = 0;
    int64_t counted = 0;  // by the router alone
    for (checkpoint::ManifestMemory& memory : manifest.memory) {
      const bool router = memory.strategy == train::kRouter;
      if (memory.rows == 0 && !router) continue;
      ENGRAM_ASSIGN_OR_RETURN(train::VersionMemory kept,
                              nn::GuardTorch([&] { return train::ReadVersionMemory(directory, memory.strategy); }));
      if (router) {
        ENGRAM_ASSIGN_OR_RETURN(counted, Uncount(tasks, texts, *tokenizer, kept));
        if (counted > 0) changed.emplace(memory.strategy, std::move(kept));
        continue;
      }
      std::set<std::string> expired;
      if (wanted_.older_than_days)
        expired = checkpoint::KeptTooLong(manifest, memory, *wanted_.older_than_days, wanted_.now);
      const Matcher matches(wanted_, tasks, std::move(expired), texts, *tokenizer, kept.examples);
      const auto count = static_cast<int64_t>(std::erase_if(kept.examples, matches));
      if (count == 0) continue;
      removed += count;
      memory.rows = static_cast<int64_t>(kept.examples.size());
      memory.tasks = train::ExamplesPerTask(kept.examples);
      std::erase_if(memory.kept_since, [&](const auto& since) { return !memory.tasks.contains(since.first); });
      changed.emplace(memory.strategy, std::move(kept));
    }
    return std::max(removed, counted);
  }

  // Takes the texts out of a router's counts, with all of the tasks that were trained on the data set. How many.
  absl::StatusOr<int64_t> Uncount(const std::set<std::string>& tasks, const std::vector<WantedTokens>& texts,
                                  const tokenize::Tokenizer& tokenizer, train::VersionMemory& memory) const {
    ENGRAM_ASSIGN_OR_RETURN(train::TaskRouter router, train::TaskRouter::FromMemory(memory));
    int64_t removed = 0;
    if (wanted_.rows.empty()) {
      for (const std::string& task : tasks) removed += router.ForgetTask(task);
    }
    for (const WantedTokens& text : texts) removed += router.ForgetText(text.ids, worker::FramingTokens(tokenizer));
    if (removed > 0) memory = router.ToMemory();
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
                         const engram::v1::ForgetTextsRequest& request, absl::Time now,
                         engram::v1::ForgetTextsResponse& response) {
  ENGRAM_ASSIGN_OR_RETURN(const Wanted wanted, ReadRequest(request, now));
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
