#pragma once

// engram.v1.DatasetService: data sets, which are uploaded, read and deleted as a whole and never changed. Uploads are
// received into memory (at most max_dataset_mb per part), checked completely, written in canonical form into staging
// and published by a rename; a data set's directory and its row in the store change together, one data set at a time.
//
// Thread-safe; what it is given outlives it. Errors: INVALID_ARGUMENT with the field, and the line, of what is wrong in
// a file, RESOURCE_EXHAUSTED (DATASET_TOO_LARGE), ALREADY_EXISTS (DATASET_EXISTS) for a name that is taken by other
// content, NOT_FOUND (DATASET_NOT_FOUND), FAILED_PRECONDITION (DATASET_IN_USE) while an unfinished job needs it, or
// (DATASET_SERVED) while a served task was trained on it and the request does not force it.

#include "core/jobs/store.h"
#include "engram/v1/dataset.grpc.pb.h"
#include "server/config.h"
#include "server/data_paths.h"
#include "server/library/byte_budget.h"
#include "server/library/dataset_shelf.h"
#include "server/rpc/call.h"

namespace engram::server {

class DatasetService final : public engram::v1::DatasetService::CallbackService {
 public:
  using Api = engram::v1::DatasetService;

  DatasetService(jobs::Store& store, DataPaths paths, DatasetShelf& shelf, const Config& config,
                 const CallEnvironment& environment)
      : store_(store),
        paths_(std::move(paths)),
        shelf_(shelf),
        max_bytes_(config.max_dataset_mb << 20),
        budget_(config.max_uploads_mb << 20),
        environment_(environment) {}

  grpc::ServerReadReactor<engram::v1::UploadDatasetRequest>* UploadDataset(grpc::CallbackServerContext* context,
                                                                           engram::v1::Dataset* response) override;
  grpc::ServerUnaryReactor* GetDataset(grpc::CallbackServerContext* context,
                                       const engram::v1::GetDatasetRequest* request,
                                       engram::v1::Dataset* response) override;
  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* context,
                                         const engram::v1::ListDatasetsRequest* request,
                                         engram::v1::ListDatasetsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteDataset(grpc::CallbackServerContext* context,
                                          const engram::v1::DeleteDatasetRequest* request,
                                          engram::v1::DeleteDatasetResponse* response) override;

 private:
  jobs::Store& store_;
  const DataPaths paths_;
  DatasetShelf& shelf_;
  const int64_t max_bytes_;
  ByteBudget budget_;
  const CallEnvironment environment_;
};

}  // namespace engram::server
