"""The batcher, the engine, the versions in memory; the order of jobs."""
GROUPS = [
    ("core/serve/batcher.cc", "test_serve", [
        ("batcher: two models share a batch", "if (item->batch_key() == key && fits) {", "if (key != nullptr && fits) {"),
        ("batcher: the budget is not kept", "tokens + item->tokens() <= limits_.batch_tokens;", "tokens <= limits_.batch_tokens;"),
        ("batcher: an item above the budget waits for ever", "const bool fits = batch.empty() ||", "const bool fits ="),
        ("batcher: shortest first", "return a->tokens() > b->tokens();", "return a->tokens() < b->tokens();"),
        ("batcher: who left is computed", "if (item.cancelled()) return absl::CancelledError", "if (false) return absl::CancelledError"),
        ("batcher: who is late is computed", "if (item.deadline() <= now)", "if (now == absl::InfiniteFuture())"),
        ("batcher: dead items keep their share of the queue", "queued_tokens_ -= (*it)->tokens();", ""),
        ("batcher: the queue has no bound", "if (queued_tokens_ > 0 && queued_tokens_ + tokens > limits_.queued_tokens) {", "if (false) {"),
        ("batcher: shutting down drops what is queued", "for (const auto& item : left)", "for (const auto& item : std::deque<std::shared_ptr<BatchItem>>())"),
    ]),
    ("core/serve/engine.cc", "test_serve", [
        ("engine: every text gets the first one's row", "all.select(0, row)", "all.select(0, 0 * row)"),
        ("engine: tokens start at the batch's beginning", "all.narrow(0, packed.host_cu_seqlens[i], packed.length(row))", "all.narrow(0, 0 * packed.host_cu_seqlens[i], packed.length(row))"),
        ("engine: the queue time is not measured", "result.queue_seconds = absl::ToDoubleSeconds(start - item.enqueued);", ""),
        ("engine: the device's failures are not noted", "health_.Note(logits.status());", ""),
        ("engine: a failed batch is answered for its first text only", "item.Fail(logits.status()); continue;", "if (i == 0) { item.Fail(logits.status()); } continue;"),
        ("engine: tokens are not counted", "counters_.tokens += packed.tokens();", ""),
    ]),
    ("core/serve/model_set.cc", "test_serve", [
        ("model set: the newest goes first", "entry->second.used < oldest->second.used", "entry->second.used > oldest->second.used"),
        ("model set: a use is not noted", "found->second.used = ++uses_;", ""),
        ("model set: one more than the capacity", "static_cast<int64_t>(entries_.size()) > capacity_", "static_cast<int64_t>(entries_.size()) > capacity_ + 1"),
        ("model set: nobody waits for a load", "mutex_.Await(absl::Condition(&arrived));", "(void)arrived;"),
        ("model set: a failed load is remembered", "if (!loaded.ok() || entry.dropped) { entries_.erase(key);", "if (!loaded.ok() || entry.dropped) {"),
        ("model set: what comes last makes room", "|| entry->first == newest", "|| (entry->first == newest && false)"),
        ("model set: a version dropped on its way stays", "found->second.dropped = true;", ""),
    ]),
    ("core/serve/device_health.h", "test_serve", [
        ("device health: any error is the device's", "StatusReason(status) == \"DEVICE_FAILED\" &&", ""),
        ("device health: told more than once", "!failed_.exchange(true)", "(failed_.exchange(true) || true)"),
    ]),
]
