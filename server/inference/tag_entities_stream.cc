#include "server/inference/tag_entities_stream.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/serve/engine.h"
#include "server/inference/inference_call.h"
#include "server/inference/text_tagging.h"
#include "server/rpc/api_error.h"
#include "server/rpc/duplex.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::StreamedText;
using engram::v1::StreamTagEntitiesRequest;
using engram::v1::StreamTagEntitiesResponse;

// What a stream holds at most that is read and not written to the client yet: as many texts, and no further text while
// they have as many bytes. Enough to fill the device's batches with short texts.
constexpr size_t kMostTexts = 256, kMostBytes = size_t{1} << 20;
constexpr size_t kMaxIdBytes = 256;

// A text that is on its way. Shared with the sequences that are in the device's queue.
struct Item {
  StreamTagEntitiesResponse response;  // its answer, filled step by step
  std::string text;
  int64_t tokens = 0;  // that wait for the device
  TextTagging tagging;
  absl::Mutex mutex;
  size_t pending ABSL_GUARDED_BY(mutex) = 0;  // windows without a result
  absl::Status status ABSL_GUARDED_BY(mutex);
  bool done = false;  // guarded by the stream's mutex
};

class TagEntitiesStream final : public DuplexCall<StreamTagEntitiesRequest, StreamTagEntitiesResponse> {
 public:
  TagEntitiesStream(const InferenceBackend& backend, const grpc::CallbackServerContext& context)
      : DuplexCall(backend.environment, context, "StreamTagEntities", backend.bulk),
        backend_(backend),
        ticket_(backend.engine.admission().Join()) {}

 private:
  using Window = std::pair<std::shared_ptr<Item>, size_t>;

  void Open() override { ReadNext(); }
  void Take(StreamTagEntitiesRequest message) override;
  void OnLastRead() override ABSL_LOCKS_EXCLUDED(mutex_);
  void OnWritten() override ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Status Start(const StreamTagEntitiesRequest& message);
  void Tag(StreamedText text) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Prepare(Item& item) const;
  absl::Status Submit(const std::shared_ptr<Item>& item);
  void OnWindow(const std::shared_ptr<Item>& item, size_t window, absl::StatusOr<serve::SequenceResult> result);
  void Finish(const std::shared_ptr<Item>& item, absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);
  void Flush() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return held_.size() < kMostTexts && bytes_ < kMostBytes;
  }

  const InferenceBackend backend_;
  const std::unique_ptr<serve::Admission::Ticket> ticket_;
  std::optional<Tagger> tagger_;  // set by the first message, read-only afterwards
  int64_t taken_ = 0;
  absl::Mutex mutex_;
  std::deque<std::shared_ptr<Item>> held_ ABSL_GUARDED_BY(mutex_);  // in the order of their texts, until written
  size_t pushed_ ABSL_GUARDED_BY(mutex_) = 0;                       // of held_, from the front: given to gRPC
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;                        // of the texts of held_
  bool greeted_ ABSL_GUARDED_BY(mutex_) = false;                    // the first message is written
  bool waits_ ABSL_GUARDED_BY(mutex_) = false;                      // the next read waits for room
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;                      // the client has sent all
};

void TagEntitiesStream::Take(StreamTagEntitiesRequest message) {
  if (tagger_ && message.has_text()) {
    Tag(std::move(*message.mutable_text()));
    return;
  }
  absl::Status started = tagger_ ? InvalidField("text", "must be in each message behind the first") : Start(message);
  if (started.ok()) {
    ReadNext();
  } else {
    Close(started);
  }
}

absl::Status TagEntitiesStream::Start(const StreamTagEntitiesRequest& message) {
  if (!message.has_start()) return InvalidField("start", "must be the first message");
  if (message.start().texts_size() > 0)
    return InvalidField("start.texts", "must be empty: each text is a message of its own");
  ENGRAM_ASSIGN_OR_RETURN(auto version,
                          OpenServedVersion(backend_, message.start().model(), message.start().version()));
  ENGRAM_ASSIGN_OR_RETURN(tagger_, ChooseTagger(std::move(version), message.start(), backend_.matchers));
  StreamTagEntitiesResponse response;
  response.mutable_started()->set_model(ModelName(tagger_->version->model));
  response.mutable_started()->set_version(tagger_->version->number);
  response.mutable_started()->set_task(TaskName(tagger_->version->model, tagger_->task));
  Push(std::move(response));
  return absl::OkStatus();
}

void TagEntitiesStream::Tag(StreamedText text) {
  const auto item = std::make_shared<Item>();
  item->response.mutable_answer()->set_index(taken_++);
  item->response.mutable_answer()->set_id(text.id());
  item->text = std::move(*text.mutable_text());
  bool room = false;
  {
    const absl::MutexLock lock(&mutex_);
    held_.push_back(item);
    bytes_ += item->text.size();
    room = HasRoom();
    waits_ = !room;
  }
  absl::Status prepared = Prepare(*item);
  if (prepared.ok()) prepared = Submit(item);
  if (!prepared.ok()) Finish(item, std::move(prepared));
  if (room) ReadNext();
}

absl::Status TagEntitiesStream::Prepare(Item& item) const {
  ENGRAM_RETURN_IF_ERROR(scope().Alive());
  if (item.response.answer().id().size() > kMaxIdBytes)
    return InvalidField("text.id", absl::StrCat("is longer than ", kMaxIdBytes, " bytes"));
  if (static_cast<int64_t>(item.text.size()) > kMaxTextBytes)
    return InvalidField("text.text", absl::StrCat("is longer than ", kMaxTextBytes, " bytes; split it"));
  ENGRAM_RETURN_IF_ERROR(item.tagging.Prepare(*tagger_, item.text, "text.text"));
  const size_t most =
      std::min(static_cast<size_t>(kMaxTokens), kMaxTaggingLogits / static_cast<size_t>(tagger_->tags->size()));
  if (std::max(item.tagging.words(), static_cast<size_t>(item.tagging.tokens())) > most)
    return InvalidField("text.text", absl::StrCat("has more than ", most, " words or tokens; split it"));
  item.tagging.Reserve();
  return absl::OkStatus();
}

absl::Status TagEntitiesStream::Submit(const std::shared_ptr<Item>& item) {
  std::vector<std::shared_ptr<serve::BatchItem>> sequences;
  for (size_t w = 0; w < item->tagging.windows(); ++w) {
    sequences.push_back(std::make_shared<serve::SequenceItem>(
        tagger_->version, item->tagging.TakeSequence(w), std::vector{tagger_->task}, scope().deadline(),
        scope().cancelled_flag(),
        [stream = shared_from_this(), this, item, w](absl::StatusOr<serve::SequenceResult> result) {
          OnWindow(item, w, std::move(result));
        }));
  }
  if (sequences.empty()) {  // no token stands for any of its words
    Finish(item, absl::OkStatus());
    return absl::OkStatus();
  }
  {
    const absl::MutexLock lock(&item->mutex);
    item->pending = sequences.size();
  }
  item->tokens = item->tagging.tokens();
  ticket_->Add(item->tokens);
  return backend_.engine.batcher().Submit(std::move(sequences));
}

void TagEntitiesStream::OnWindow(const std::shared_ptr<Item>& item, size_t window,
                                 absl::StatusOr<serve::SequenceResult> result) {
  absl::Status status;
  {
    const absl::MutexLock lock(&item->mutex);
    if (result.ok()) {
      item->tagging.TakeLogits(window, result->logits.at(tagger_->task));
    } else {
      item->status.Update(result.status());
    }
    if (--item->pending > 0) return;
    status = item->status;
  }
  backend_.bulk.Schedule(
      [stream = shared_from_this(), this, item, status = std::move(status)] { Finish(item, status); });
}

// The text's answer is known: composed, or the error.
void TagEntitiesStream::Finish(const std::shared_ptr<Item>& item, absl::Status status) {
  if (item->tokens > 0) ticket_->Answered(item->tokens);
  engram::v1::TagEntitiesResult& result = *item->response.mutable_answer()->mutable_result();
  if (status.ok()) status = item->tagging.Compose(result);
  if (!status.ok()) *result.mutable_error() = ToError(status);
  backend_.engine.health().Note(status);
  backend_.environment.metrics.CountTexts(scope().method(), 1, result.tokens(), status.ok() ? 0 : 1);
  const absl::MutexLock lock(&mutex_);
  item->done = true;
  Flush();
}

void TagEntitiesStream::Flush() {
  while (pushed_ < held_.size() && held_[pushed_]->done) Push(std::move(held_[pushed_++]->response));
  if (ended_ && held_.empty()) Close(absl::OkStatus());
}

void TagEntitiesStream::OnWritten() {
  bool read = false;
  {
    const absl::MutexLock lock(&mutex_);
    if (!std::exchange(greeted_, true)) return;
    bytes_ -= held_.front()->text.size();
    held_.pop_front();
    --pushed_;
    Flush();
    read = waits_ && HasRoom();
    if (read) waits_ = false;
  }
  if (read) ReadNext();
}

void TagEntitiesStream::OnLastRead() {
  if (!tagger_) {
    Close(InvalidField("start", "must be the first message"));
    return;
  }
  const absl::MutexLock lock(&mutex_);
  ended_ = true;
  Flush();
}

}  // namespace

grpc::ServerBidiReactor<StreamTagEntitiesRequest, StreamTagEntitiesResponse>* StartStreamTagEntities(
    const InferenceBackend& backend, const grpc::CallbackServerContext& context) {
  return StartStream<TagEntitiesStream>(backend, context);
}

}  // namespace engram::server
