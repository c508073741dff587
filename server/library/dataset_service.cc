#include "server/library/dataset_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/streams.h"
#include "core/base/utf8.h"
#include "core/corpus/reading.h"
#include "server/library/catalog.h"
#include "server/library/dataset_uses.h"
#include "server/library/discard.h"
#include "server/rpc/names.h"
#include "server/rpc/page.h"
#include "server/rpc/unary.h"
#include "server/rpc/upload.h"

namespace engram::server {
namespace {

using engram::v1::UploadDatasetRequest;

// Receives both parts into memory (bounded), then checks and stores them.
class DatasetUpload final : public UploadCall<UploadDatasetRequest, engram::v1::Dataset> {
 public:
  DatasetUpload(const CallEnvironment& environment, const grpc::CallbackServerContext& context, DatasetShelf& shelf,
                int64_t max_bytes, ByteBudget& budget, engram::v1::Dataset* response)
      : UploadCall(environment, context, "UploadDataset", response),
        shelf_(shelf),
        max_bytes_(max_bytes),
        held_(budget) {}

 private:
  absl::Status Take(const UploadDatasetRequest& message) override;
  absl::Status Done(engram::v1::Dataset& response) override;
  void CleanUp() override { held_.Release(); }
  // What a part of the data set became.
  struct Part {
    corpus::Dataset rows;
    StreamDigest stored;  // of its canonical form; without bytes where there is no such part
    ByteSource canonical() const {
      return [this](const ByteSink& sink) { return corpus::RenderCanonical(rows, sink); };
    }
  };
  absl::StatusOr<Part> ReadPart(const char* field, const std::string& file, std::string bytes,
                                engram::v1::PartReport& report) const;
  // A part beside the training part.
  absl::StatusOr<Part> ReadFurtherPart(const char* field, const std::string& file, std::string bytes,
                                       engram::v1::PartReport& report, engram::v1::UploadReport& all) const;
  absl::StatusOr<jobs::DatasetRecord> Check(engram::v1::UploadReport& report);

  DatasetShelf& shelf_;
  const int64_t max_bytes_;
  ByteBudget::Share held_;
  std::string name_, training_file_, test_file_, validation_file_;
  corpus::ReadOptions options_;
  std::string training_bytes_, test_bytes_, validation_bytes_;  // as they came
  Part training_, test_, validation_;                           // once checked
};

absl::StatusOr<corpus::SpanAlignment> ToAlignment(engram::v1::SpanAlignment asked) {
  switch (asked) {
    case engram::v1::SPAN_ALIGNMENT_UNSPECIFIED:
    case engram::v1::SPAN_ALIGNMENT_CUT:
      return corpus::SpanAlignment::kCut;
    case engram::v1::SPAN_ALIGNMENT_STRICT:
      return corpus::SpanAlignment::kStrict;
    case engram::v1::SPAN_ALIGNMENT_CONTRACT:
      return corpus::SpanAlignment::kContract;
    case engram::v1::SPAN_ALIGNMENT_EXPAND:
      return corpus::SpanAlignment::kExpand;
    default:
      return InvalidField("misaligned",
                          absl::StrCat(static_cast<int>(asked), " is none of cut, strict, contract, expand"));
  }
}

absl::StatusOr<corpus::ReadOptions> ToOptions(const engram::v1::UploadHeader& header) {
  corpus::ReadOptions options;
  switch (header.kind()) {
    case engram::v1::DATASET_KIND_UNSPECIFIED:
      break;
    case engram::v1::DATASET_KIND_CLASSIFICATION:
      options.kind = corpus::DatasetKind::kClassification;
      break;
    case engram::v1::DATASET_KIND_TAGGING:
      options.kind = corpus::DatasetKind::kTagging;
      break;
    case engram::v1::DATASET_KIND_TEXT:
      options.kind = corpus::DatasetKind::kText;
      break;
    case engram::v1::DATASET_KIND_PAIRS:
      options.kind = corpus::DatasetKind::kPairs;
      break;
    case engram::v1::DATASET_KIND_WORD_TAGS:
      options.kind = corpus::DatasetKind::kWordTags;
      break;
    default:
      return InvalidField("kind", absl::StrCat(static_cast<int>(header.kind()), " is no kind of data set"));
  }
  options.format = header.format();
  options.text_column = header.text_column();
  options.pair_column = header.pair_column();
  options.label_column = header.label_column();
  options.word_column = header.word_column();
  options.tag_column = header.tag_column();
  options.strict = header.strict();
  ENGRAM_ASSIGN_OR_RETURN(options.misaligned, ToAlignment(header.misaligned()));
  return options;
}

void AddWarnings(const std::vector<corpus::Note>& notes,
                 google::protobuf::RepeatedPtrField<engram::v1::UploadWarning>& out) {
  for (const corpus::Note& note : notes) {
    engram::v1::UploadWarning& warning = *out.Add();
    warning.set_reason(note.reason);
    warning.set_message(note.message);
    warning.set_count(note.count);
  }
}

engram::v1::SampleRow FirstRow(const corpus::Dataset& dataset) {
  constexpr size_t kMaxBytes = 400, kMaxWords = 50;
  engram::v1::SampleRow row;
  const auto cut = [](std::string_view text) { return std::string(CutUtf8(text, kMaxBytes)); };
  if (corpus::HasTags(dataset.kind)) {
    const corpus::TaggedSentence sentence = dataset.sentences.front();
    row.set_text(cut(sentence.text));
    for (size_t i = 0; i < std::min(kMaxWords, sentence.words.size()); ++i) {
      row.add_words(cut(sentence.words[i]));
      row.add_tags(sentence.tags[i]);
    }
    return row;
  }
  row.set_text(cut(dataset.texts.front()));
  if (dataset.kind == corpus::DatasetKind::kPairs) row.set_text_pair(cut(dataset.second_texts.front()));
  if (corpus::HasLabels(dataset.kind)) row.set_label(cut(dataset.labels.front()));
  return row;
}

void Describe(const corpus::Reading& reading, engram::v1::PartReport& report) {
  report.set_format(reading.format);
  for (const auto& [column, role] : reading.columns) {
    engram::v1::ColumnReading& out = *report.add_columns();
    out.set_column(std::string(CutUtf8(column, 128)));
    out.set_role(role);
  }
  *report.mutable_sample() = FirstRow(reading.dataset);
  for (const auto& [label, count] : corpus::CountLabels(reading.dataset)) {
    engram::v1::LabelCount& out = *report.add_labels();
    out.set_label(label);
    out.set_count(count);
  }
  AddWarnings(reading.notes, *report.mutable_warnings());
  AddWarnings(corpus::OddRows(reading.dataset), *report.mutable_warnings());
}

absl::Status DatasetUpload::Take(const UploadDatasetRequest& message) {
  if (message.has_header()) {
    ENGRAM_ASSIGN_OR_RETURN(name_, ParseName("dataset", "datasets", message.header().dataset()));
    training_file_ = message.header().training_file();
    test_file_ = message.header().test_file();
    validation_file_ = message.header().validation_file();
    ENGRAM_ASSIGN_OR_RETURN(options_, ToOptions(message.header()));
    return absl::OkStatus();
  }
  std::string& part = message.has_test() ? test_bytes_ : message.has_validation() ? validation_bytes_ : training_bytes_;
  const std::string& bytes = message.has_test()         ? message.test()
                             : message.has_validation() ? message.validation()
                                                        : message.training();
  if (message.has_test() && test_file_.empty())
    return InvalidField("test_file", "is empty, but a test part was sent; name its file");
  if (message.has_validation() && validation_file_.empty())
    return InvalidField("validation_file", "is empty, but a validation part was sent; name its file");
  if (static_cast<int64_t>(part.size() + bytes.size()) > max_bytes_) {
    return StatusWithReason(absl::StatusCode::kResourceExhausted, "DATASET_TOO_LARGE",
                            absl::StrCat("the data set is larger than this server takes (", max_bytes_ >> 20,
                                         " MiB a part, max_dataset_mb); split it"));
  }
  ENGRAM_RETURN_IF_ERROR(held_.Add(static_cast<int64_t>(bytes.size())));
  part += bytes;
  return absl::OkStatus();
}

absl::StatusOr<DatasetUpload::Part> DatasetUpload::ReadPart(const char* field, const std::string& file,
                                                            std::string bytes, engram::v1::PartReport& report) const {
  corpus::ReadLimits limits;
  limits.max_bytes = static_cast<size_t>(max_bytes_);
  ENGRAM_ASSIGN_OR_RETURN(corpus::Reading reading,
                          corpus::ReadDataset(std::move(bytes), file, field, options_, limits));
  Describe(reading, report);
  Part part{std::move(reading.dataset), {}};
  ENGRAM_ASSIGN_OR_RETURN(part.stored, DigestStream(part.canonical()));
  return part;
}

absl::StatusOr<DatasetUpload::Part> DatasetUpload::ReadFurtherPart(const char* field, const std::string& file,
                                                                   std::string bytes, engram::v1::PartReport& report,
                                                                   engram::v1::UploadReport& all) const {
  if (bytes.empty()) return InvalidField(field, "is empty; send a file with at least one row, or leave it out");
  ENGRAM_ASSIGN_OR_RETURN(Part part, ReadPart(field, file, std::move(bytes), report));
  ENGRAM_RETURN_IF_ERROR(corpus::CheckFurtherPart(training_.rows, part.rows, field));
  AddWarnings(corpus::SharedRows(training_.rows, part.rows, field), *all.mutable_warnings());
  return part;
}

// Labels come back in every answer.
absl::Status CheckLabels(const std::vector<std::string>& labels) {
  constexpr size_t kMostBytes = 128, kShown = 32;
  for (const std::string& label : labels) {
    if (label.size() <= kMostBytes) continue;
    return InvalidField("training", absl::StrCat("has a label of ", label.size(), " bytes, \"",
                                                 AbslView(CutUtf8(label, kShown)), "...\"; a label has at most ",
                                                 kMostBytes, ": is another column meant? (label_column)"));
  }
  return absl::OkStatus();
}

// Fills the record and the report.
absl::StatusOr<jobs::DatasetRecord> DatasetUpload::Check(engram::v1::UploadReport& report) {
  if (training_bytes_.empty()) return InvalidField("training", "is empty; send a file with at least one row");
  ENGRAM_ASSIGN_OR_RETURN(training_,
                          ReadPart("training", training_file_, std::move(training_bytes_), *report.mutable_training()));
  ENGRAM_RETURN_IF_ERROR(corpus::CheckTrainingPart(training_.rows));
  jobs::DatasetRecord record;
  record.name = name_;
  record.kind = static_cast<int64_t>(training_.rows.kind);
  record.training_rows = training_.rows.size();
  record.labels = corpus::DistinctLabels(training_.rows);
  ENGRAM_RETURN_IF_ERROR(CheckLabels(record.labels));
  const bool tested = !test_file_.empty(), validated = !validation_file_.empty();
  if (tested) {
    ENGRAM_ASSIGN_OR_RETURN(
        test_, ReadFurtherPart("test", test_file_, std::move(test_bytes_), *report.mutable_test(), report));
  }
  if (validated) {
    ENGRAM_ASSIGN_OR_RETURN(validation_, ReadFurtherPart("validation", validation_file_, std::move(validation_bytes_),
                                                         *report.mutable_validation(), report));
  }
  record.test_rows = test_.rows.size();
  record.validation_rows = validation_.rows.size();
  // Without a validation part the digest is what it was before there were any.
  record.digest = Sha256Hex(training_.stored.sha256 + (tested ? test_.stored.sha256 : Sha256Hex("")) +
                            (validated ? validation_.stored.sha256 : ""));
  record.size_bytes = training_.stored.bytes + test_.stored.bytes + validation_.stored.bytes;
  return record;
}

absl::Status DatasetUpload::Done(engram::v1::Dataset& response) {
  engram::v1::UploadReport report;
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord record, Check(report));
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord stored, shelf_.Put(record, [&](const std::string& directory) {
    const std::pair<const char*, const Part*> files[] = {
        {"/train.jsonl", &training_}, {"/test.jsonl", &test_}, {"/validation.jsonl", &validation_}};
    for (const auto& [file, part] : files) {
      if (part->stored.bytes > 0) ENGRAM_RETURN_IF_ERROR(WriteStreamAtomic(directory + file, part->canonical()));
    }
    return absl::OkStatus();
  }));
  response = Catalog::Describe(stored);
  *response.mutable_report() = std::move(report);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerReadReactor<UploadDatasetRequest>* DatasetService::UploadDataset(grpc::CallbackServerContext* context,
                                                                             engram::v1::Dataset* response) {
  auto* upload = new DatasetUpload(environment_, *context, shelf_, max_bytes_, budget_, response);
  upload->Begin();
  return upload;
}

grpc::ServerUnaryReactor* DatasetService::GetDataset(grpc::CallbackServerContext* context,
                                                     const engram::v1::GetDatasetRequest* request,
                                                     engram::v1::Dataset* response) {
  return Answer(environment_, context, response, "GetDataset", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("name", "datasets", request->name()));
    ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord record, store_.GetDataset(name));
    *response = Catalog::Describe(record);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetService::ListDatasets(grpc::CallbackServerContext* context,
                                                       const engram::v1::ListDatasetsRequest* request,
                                                       engram::v1::ListDatasetsResponse* response) {
  return Answer(environment_, context, response, "ListDatasets", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t size, PageSize(request->page_size()));
    ENGRAM_ASSIGN_OR_RETURN(std::vector<jobs::DatasetRecord> page,
                            store_.ListDatasets(request->page_token(), size + 1));
    const auto describe = [](const jobs::DatasetRecord& record, engram::v1::Dataset& out) {
      out = Catalog::Describe(record);
      return absl::OkStatus();
    };
    ENGRAM_ASSIGN_OR_RETURN(const size_t count, FillPage(page, size, describe, *response->mutable_datasets()));
    if (count < page.size()) response->set_next_page_token(page[count - 1].name);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetService::DeleteDataset(grpc::CallbackServerContext* context,
                                                        const engram::v1::DeleteDatasetRequest* request,
                                                        engram::v1::DeleteDatasetResponse* response) {
  const auto work = [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("name", "datasets", request->name()));
    std::string staged;
    ENGRAM_RETURN_IF_ERROR(shelf_.WhileNoneChanges([&]() -> absl::Status {
      ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord record, store_.GetDataset(name));
      ENGRAM_RETURN_IF_ERROR(FindDatasetUses(store_, paths_, record, *response));
      if (response->served_tasks_size() > 0 && !request->force()) {
        return StatusWithReason(
            absl::StatusCode::kFailedPrecondition, "DATASET_SERVED",
            absl::StrCat(
                "a served task was trained on it, ", response->served_tasks(0),
                response->served_tasks_size() > 1 ? absl::StrCat(", and ", response->served_tasks_size() - 1, " more")
                                                  : "",
                ": without the data set it can be neither evaluated nor consolidated; move the label, or force "
                "the deletion (force, --force)"));
      }
      ENGRAM_RETURN_IF_ERROR(store_.DeleteDataset(name, request->validate_only()));
      if (request->validate_only()) return absl::OkStatus();
      ENGRAM_ASSIGN_OR_RETURN(staged, MoveToStaging(paths_, paths_.dataset(name)));
      return absl::OkStatus();
    }));
    if (!staged.empty()) RemoveStaged(staged);
    return absl::OkStatus();
  };
  return Change(environment_, context, *request, response, "DeleteDataset", work, WorkPool::Length::kLong);
}

}  // namespace engram::server
