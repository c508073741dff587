#include "core/serve/model_set.h"

namespace engram::serve {

bool ModelSet::Arrived(const Key& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() || !found->second.loading;
}

absl::StatusOr<ModelSet::Pointer> ModelSet::Get(const std::string& model, int64_t number) {
  const Key key(model, number);
  {
    absl::MutexLock lock(&mutex_);
    const auto arrived = [this, &key]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return Arrived(key); };
    mutex_.Await(absl::Condition(&arrived));
    const auto found = entries_.find(key);
    if (found != entries_.end()) {
      found->second.used = ++uses_;
      return found->second.version;
    }
    entries_[key] = {};
  }
  return Load(key);
}

absl::StatusOr<ModelSet::Pointer> ModelSet::Load(const Key& key) {
  absl::StatusOr<Pointer> loaded = loader_(key.first, key.second);
  std::vector<Done> waiting;
  {
    absl::MutexLock lock(&mutex_);
    Entry& entry = entries_.at(key);
    waiting.swap(entry.waiting);
    if (!loaded.ok() || entry.dropped) {
      entries_.erase(key);
    } else {
      entry.loading = false;
      entry.version = *loaded;
      entry.used = ++uses_;
      EvictAllBut(key);
    }
  }
  for (const Done& done : waiting) done(loaded);
  return loaded;
}

ModelSet::Pointer ModelSet::Fetch(const std::string& model, int64_t number, const Run& run, Done done) {
  const Key key(model, number);
  {
    absl::MutexLock lock(&mutex_);
    const auto [entry, is_new] = entries_.try_emplace(key);
    if (!entry->second.loading) {
      entry->second.used = ++uses_;
      return entry->second.version;
    }
    entry->second.waiting.push_back(std::move(done));
    if (!is_new) return nullptr;
  }
  run([this, key] { Load(key).status().IgnoreError(); });
  return nullptr;
}

void ModelSet::Prefetch(const std::string& model, int64_t number, const Run& run) {
  {
    absl::MutexLock lock(&mutex_);
    const auto first = entries_.lower_bound({model, 0});
    if (first == entries_.end() || first->first.first != model) return;
  }
  Fetch(model, number, run, [](const auto&) {});
}

bool ModelSet::Full() const {
  int64_t bytes = 0;
  for (const auto& [key, entry] : entries_) bytes += entry.version == nullptr ? 0 : entry.version->bytes;
  return static_cast<int64_t>(entries_.size()) > capacity_ || bytes > capacity_bytes_;
}

void ModelSet::EvictAllBut(const Key& newest) {
  while (Full()) {
    auto oldest = entries_.end();
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (entry->second.loading || entry->first == newest) continue;
      if (oldest == entries_.end() || entry->second.used < oldest->second.used) oldest = entry;
    }
    if (oldest == entries_.end()) return;
    entries_.erase(oldest);
  }
}

void ModelSet::Drop(const std::string& model, int64_t number) {
  absl::MutexLock lock(&mutex_);
  const auto found = entries_.find({model, number});
  if (found == entries_.end()) return;
  if (found->second.loading) {
    found->second.dropped = true;
  } else {
    entries_.erase(found);
  }
}

int64_t ModelSet::loaded() const {
  absl::MutexLock lock(&mutex_);
  int64_t count = 0;
  for (const auto& [key, entry] : entries_) count += entry.loading ? 0 : 1;
  return count;
}

}  // namespace engram::serve
