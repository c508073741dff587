#include "server/worker/memories.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/checkpoint/retention.h"

namespace engram::worker {

train::MemorySource OpenMemory(RunContext& context, const std::string& owner, const checkpoint::VersionManifest& base,
                               absl::Time now) {
  const int64_t days = context.spec.train().memory_retention_days();
  const auto memory = std::find_if(base.memory.begin(), base.memory.end(),
                                   [&](const checkpoint::ManifestMemory& known) { return known.strategy == owner; });
  std::set<std::string> expired;
  if (days > 0 && memory != base.memory.end() && memory->rows > 0) {
    expired = checkpoint::KeptTooLong(base, *memory, days, now);
    std::vector<std::string> named;
    for (const std::string& task : expired) {
      if (memory->tasks.empty() || memory->tasks.contains(task)) named.push_back(absl::StrCat("\"", task, "\""));
    }
    if (!named.empty()) {
      context.warnings.push_back(
          absl::StrCat("TEXTS_EXPIRED: texts of ", absl::StrJoin(named, ", "),
                       " were not replayed: they have been kept for more than ", days,
                       " days (memory_retention_days); `engram models forget --older-than` removes them"));
    }
  }
  return {context.spec.base_directory(), owner, std::move(expired)};
}

absl::Status WriteMemory(const RunContext& context, const std::string& owner, const train::VersionMemory& memory,
                         const std::string& task, bool grows, absl::Time begun, checkpoint::VersionManifest& manifest) {
  ENGRAM_RETURN_IF_ERROR(train::WriteVersionMemory(context.output(), owner, memory));
  checkpoint::ManifestMemory before;
  std::erase_if(manifest.memory, [&](checkpoint::ManifestMemory& known) {
    if (known.strategy != owner) return false;
    before = known;
    return true;
  });
  checkpoint::ManifestMemory entry;
  entry.strategy = owner;
  entry.file = checkpoint::MemoryFile(owner);
  entry.rows = static_cast<int64_t>(memory.examples.size());
  entry.tasks = train::ExamplesPerTask(memory.examples);
  entry.kept_since = checkpoint::KeptSince(before, entry.tasks, task, grows, begun);
  manifest.memory.push_back(std::move(entry));
  return absl::OkStatus();
}

std::vector<int32_t> FramingTokens(const tokenize::Tokenizer& tokenizer) {
  const tokenize::SpecialIds& ids = tokenizer.special_ids();
  std::vector<int32_t> framing;
  for (const int32_t id : {ids.cls, ids.sep, ids.pad}) {
    if (id >= 0) framing.push_back(id);
  }
  const tokenize::TextFrame& frame = tokenizer.frame();
  framing.insert(framing.end(), frame.before.begin(), frame.before.end());
  framing.insert(framing.end(), frame.after.begin(), frame.after.end());
  return framing;
}

}  // namespace engram::worker
