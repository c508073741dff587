#pragma once

#include "absl/synchronization/mutex.h"
#include "core/jobs/store.h"
#include "engram/v1/dataset.grpc.pb.h"
#include "server/admin/metrics.h"
#include "server/config.h"
#include "server/data_paths.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

class DatasetService final : public engram::v1::DatasetService::CallbackService {
 public:
  DatasetService(jobs::Store& store, DataPaths paths, const Config& config, WorkPool& pool, Metrics& metrics)
      : store_(store),
        paths_(std::move(paths)),
        max_bytes_(config.max_dataset_mb << 20),
        pool_(pool),
        metrics_(metrics) {}

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
  const int64_t max_bytes_;
  // A data set's directory and its row in the store change together, one data set at a time.
  absl::Mutex publishing_;
  WorkPool& pool_;
  Metrics& metrics_;
};

}  // namespace engram::server
