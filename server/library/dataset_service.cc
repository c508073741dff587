#include "server/library/dataset_service.h"

#include <atomic>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/version_directory.h"
#include "core/corpus/dataset.h"
#include "server/library/catalog.h"
#include "server/library/discard.h"
#include "server/rpc/names.h"
#include "server/rpc/unary.h"
#include "server/rpc/upload.h"

namespace engram::server {
namespace {

using engram::v1::UploadDatasetRequest;

// Receives both parts into memory (bounded), then checks and stores them.
class DatasetUpload final : public UploadCall<UploadDatasetRequest, engram::v1::Dataset> {
 public:
  DatasetUpload(const CallEnvironment& environment, const grpc::CallbackServerContext& context, jobs::Store& store,
                const DataPaths& paths, absl::Mutex& publishing, int64_t max_bytes, engram::v1::Dataset* response)
      : UploadCall(environment, context, "UploadDataset", response),
        store_(store),
        paths_(paths),
        publishing_(publishing),
        max_bytes_(max_bytes) {}

 private:
  absl::Status Take(const UploadDatasetRequest& message) override;
  absl::Status Done(engram::v1::Dataset& response) override;
  absl::StatusOr<jobs::DatasetRecord> Check(std::string& training_bytes, std::string& test_bytes);
  absl::Status Publish(const jobs::DatasetRecord& record, const std::string& training, const std::string& test);

  jobs::Store& store_;
  const DataPaths paths_;
  absl::Mutex& publishing_;
  const int64_t max_bytes_;
  std::string name_, training_file_, test_file_;
  std::string training_, test_;
};

absl::Status DatasetUpload::Take(const UploadDatasetRequest& message) {
  if (message.has_header()) {
    ENGRAM_ASSIGN_OR_RETURN(name_, ParseName("dataset", "datasets", message.header().dataset()));
    training_file_ = message.header().training_file();
    test_file_ = message.header().test_file();
    return absl::OkStatus();
  }
  std::string& part = message.has_test() ? test_ : training_;
  const std::string& bytes = message.has_test() ? message.test() : message.training();
  if (message.has_test() && test_file_.empty())
    return InvalidField("test_file", "is empty, but a test part was sent; name its file");
  if (static_cast<int64_t>(part.size() + bytes.size()) > max_bytes_) {
    return StatusWithReason(absl::StatusCode::kResourceExhausted, "DATASET_TOO_LARGE",
                            absl::StrCat("the data set is larger than this server takes (", max_bytes_ >> 20,
                                         " MiB a part, max_dataset_mb); split it"));
  }
  part += bytes;
  return absl::OkStatus();
}

// Fills the record and replaces both parts by their canonical form.
absl::StatusOr<jobs::DatasetRecord> DatasetUpload::Check(std::string& training_bytes, std::string& test_bytes) {
  corpus::ReadLimits limits;
  limits.max_bytes = static_cast<size_t>(max_bytes_);
  if (training_bytes.empty()) return InvalidField("training", "is empty; send a file with at least one row");
  ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset training,
                          corpus::ParseDataset(std::move(training_bytes), training_file_, "training", limits));
  ENGRAM_RETURN_IF_ERROR(corpus::CheckTrainingPart(training));
  jobs::DatasetRecord record;
  record.name = name_;
  record.kind = static_cast<int64_t>(training.kind);
  record.training_rows = training.size();
  record.labels = corpus::DistinctLabels(training);
  training_bytes = corpus::RenderCanonical(training);
  if (!test_file_.empty()) {
    if (test_bytes.empty()) return InvalidField("test", "is empty; send a file with at least one row, or leave it out");
    ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset test,
                            corpus::ParseDataset(std::move(test_bytes), test_file_, "test", limits));
    ENGRAM_RETURN_IF_ERROR(corpus::CheckTestPart(training, test));
    record.test_rows = test.size();
    test_bytes = corpus::RenderCanonical(test);
  }
  record.digest = Sha256Hex(Sha256Hex(training_bytes) + Sha256Hex(test_bytes));
  record.size_bytes = static_cast<int64_t>(training_bytes.size() + test_bytes.size());
  return record;
}

absl::Status DatasetUpload::Publish(const jobs::DatasetRecord& record, const std::string& training,
                                    const std::string& test) {
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.datasets()));
  static std::atomic<int64_t> counter{0};
  const std::string staging = absl::StrCat(paths_.staging(), "/dataset-", ++counter);
  // A directory without a row in the store is what a crash left, or a deletion; it belongs to nobody.
  if (PathExists(paths_.dataset(record.name)) && absl::IsNotFound(store_.GetDataset(record.name).status())) {
    ENGRAM_RETURN_IF_ERROR(RemoveTree(paths_.dataset(record.name)));
  }
  ENGRAM_RETURN_IF_ERROR(
      checkpoint::BuildAndPublish(staging, paths_.dataset(record.name), [&](const std::string& directory) {
        ENGRAM_RETURN_IF_ERROR(WriteFileAtomic(directory + "/train.jsonl", training));
        return test.empty() ? absl::OkStatus() : WriteFileAtomic(directory + "/test.jsonl", test);
      }));
  return store_.AddDataset(record);
}

absl::Status DatasetUpload::Done(engram::v1::Dataset& response) {
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord record, Check(training_, test_));
  absl::MutexLock lock(&publishing_);
  const absl::StatusOr<jobs::DatasetRecord> known = store_.GetDataset(name_);
  if (known.ok() && known->digest != record.digest) {
    return StatusWithReason(
        absl::StatusCode::kAlreadyExists, "DATASET_EXISTS",
        absl::StrCat("data set \"", name_,
                     "\" exists with other content; data sets do not change: choose another name, or "
                     "delete it first"));
  }
  if (!known.ok()) ENGRAM_RETURN_IF_ERROR(Publish(record, training_, test_));
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord stored, store_.GetDataset(name_));
  response = Catalog::Describe(stored);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerReadReactor<UploadDatasetRequest>* DatasetService::UploadDataset(grpc::CallbackServerContext* context,
                                                                             engram::v1::Dataset* response) {
  auto* upload = new DatasetUpload(environment_, *context, store_, paths_, publishing_, max_bytes_, response);
  upload->Begin();
  return upload;
}

grpc::ServerUnaryReactor* DatasetService::GetDataset(grpc::CallbackServerContext* context,
                                                     const engram::v1::GetDatasetRequest* request,
                                                     engram::v1::Dataset* response) {
  return Answer(environment_, context, "GetDataset", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("name", "datasets", request->name()));
    ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord record, store_.GetDataset(name));
    *response = Catalog::Describe(record);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetService::ListDatasets(grpc::CallbackServerContext* context,
                                                       const engram::v1::ListDatasetsRequest* request,
                                                       engram::v1::ListDatasetsResponse* response) {
  return Answer(environment_, context, "ListDatasets", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t size, PageSize(request->page_size()));
    ENGRAM_ASSIGN_OR_RETURN(std::vector<jobs::DatasetRecord> page,
                            store_.ListDatasets(request->page_token(), size + 1));
    if (static_cast<int64_t>(page.size()) > size) {
      page.pop_back();
      response->set_next_page_token(page.back().name);
    }
    for (const jobs::DatasetRecord& record : page) *response->add_datasets() = Catalog::Describe(record);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetService::DeleteDataset(grpc::CallbackServerContext* context,
                                                        const engram::v1::DeleteDatasetRequest* request,
                                                        engram::v1::DeleteDatasetResponse* /*response*/) {
  const auto work = [this, request]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("name", "datasets", request->name()));
    std::string staged;
    {
      absl::MutexLock lock(&publishing_);
      ENGRAM_RETURN_IF_ERROR(store_.DeleteDataset(name));
      ENGRAM_ASSIGN_OR_RETURN(staged, MoveToStaging(paths_, paths_.dataset(name)));
    }
    RemoveStaged(staged);
    return absl::OkStatus();
  };
  return Answer(environment_, context, "DeleteDataset", work, WorkPool::Length::kLong);
}

}  // namespace engram::server
