"""Who is let in, when, and how large a batch may be; files that versions share."""
SERVE = "test_serve"
GROUPS = [
    ("core/serve/admission.cc", SERVE, [
        ("the call's own tokens are left out", "(ahead + static_cast<double>(tokens)) / speed", "ahead / speed"),
        ("no margin", "now + kMargin * all <= deadline", "now + all <= deadline"),
        ("a short call waits for all of a long one", "call->items_ <= items ? tokens", "true ? tokens"),
        ("short batches make a device slow", "if (!enough && (speed_seconds_", "if (false && (speed_seconds_"),
        ("idle time counts as computing", "if (waiting_tokens_ == 0) since_ = clock_.Now();", "if (waiting_tokens_ < 0) since_ = clock_.Now();"),
        ("bytes and tokens the wrong way round", "text_tokens_ / text_bytes_ :", "text_bytes_ / text_tokens_ :"),
    ]),
    ("core/serve/batcher.cc", SERVE, [
        ("a batch of double time", "count * absl::FDivDuration(limits_.batch_time, time)", "2 * count * absl::FDivDuration(limits_.batch_time, time)"),
        ("growth without bound", "std::min(fits, kMostGrowth * budget)", "std::max(fits, kMostGrowth * budget)"),
        ("long texts between the layers of others", "if ((fitting || !batch.empty()) && tokens", "if (!batch.empty() && tokens"),
    ]),
    ("server/inference/encode_turn.cc", "test_server", [
        ("what is computed is still ahead of others", "tokens_ - static_cast<int64_t>(share * static_cast<double>(tokens_))", "tokens_ - static_cast<int64_t>(share)"),
        ("all that was computed counts as new", "computed = left_ - left", "computed = tokens_ - left"),
    ]),
    ("core/corpus/row_lists.h", "test_corpus", [
        ("no more than 4 GiB", "while (number >> 32 > carries_.size())", "while (number >> 32 > carries_.size() + 9)"),
        ("the carry holds from the next place on", "std::upper_bound(carries_.begin()", "std::lower_bound(carries_.begin()"),
    ]),
    ("core/nn/between_layers.cc", "test_nn", [
        ("work has pauses, too", "std::exchange(current, nullptr)", "current"),
    ]),
    ("core/checkpoint/shared_files.cc", "test_checkpoint", [
        ("what a damaged file holds is taken", "if (!same) continue;", "if (!same && saved < 0) continue;"),
        ("shared files count for each name", "seen.emplace(about.st_dev, about.st_ino).second) bytes", "!seen.contains({0, 0})) bytes"),
    ]),
]
