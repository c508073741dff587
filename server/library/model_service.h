#pragma once

// engram.v1.ModelService: models, their versions and labels; versions come in by ImportModel and go out by
// ExportVersion. All of it is worked on in the pool: descriptions read engram.json, a deletion empties a directory.
//
// A version is deleted in three steps: its row in the store (from here on nobody finds it), a rename into staging, the
// files. A crash between them leaves what the next start removes; the answer comes when the disk is free again.
//
// Thread-safe; what it is given outlives it. Errors: INVALID_ARGUMENT with the field for what a request says wrongly,
// NOT_FOUND (MODEL_NOT_FOUND, VERSION_NOT_FOUND, LABEL_NOT_FOUND), FAILED_PRECONDITION (VERSION_IN_USE, MODEL_IN_USE), DATA_LOSS for
// files that are missing or damaged.

#include <functional>

#include "core/jobs/store.h"
#include "engram/v1/model.grpc.pb.h"
#include "server/config.h"
#include "server/data_paths.h"
#include "server/library/catalog.h"
#include "server/rpc/call.h"

namespace engram::server {

class ModelService final : public engram::v1::ModelService::CallbackService {
 public:
  using Api = engram::v1::ModelService;

  // `on_delete`: told of each version that was deleted, and `on_label` of each that a label now points to; from the pool's
  // threads.
  ModelService(jobs::Store& store, const Catalog& catalog, DataPaths paths, const Config& config,
               const CallEnvironment& environment, std::function<void(const std::string&, int64_t)> on_delete,
               std::function<void(const std::string&, int64_t)> on_label)
      : store_(store),
        catalog_(catalog),
        paths_(std::move(paths)),
        max_bytes_(config.max_model_mb << 20),
        environment_(environment),
        on_delete_(std::move(on_delete)),
        on_label_(std::move(on_label)) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const engram::v1::ListModelsRequest* request,
                                       engram::v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const engram::v1::GetModelRequest* request,
                                     engram::v1::Model* response) override;
  grpc::ServerUnaryReactor* ListVersions(grpc::CallbackServerContext* context,
                                         const engram::v1::ListVersionsRequest* request,
                                         engram::v1::ListVersionsResponse* response) override;
  grpc::ServerUnaryReactor* SetLabel(grpc::CallbackServerContext* context, const engram::v1::SetLabelRequest* request,
                                     engram::v1::Model* response) override;
  grpc::ServerUnaryReactor* RollbackLabel(grpc::CallbackServerContext* context,
                                          const engram::v1::RollbackLabelRequest* request,
                                          engram::v1::Model* response) override;
  grpc::ServerUnaryReactor* DeleteVersion(grpc::CallbackServerContext* context,
                                          const engram::v1::DeleteVersionRequest* request,
                                          engram::v1::DeleteVersionResponse* response) override;
  grpc::ServerUnaryReactor* DeleteLabel(grpc::CallbackServerContext* context,
                                        const engram::v1::DeleteLabelRequest* request,
                                        engram::v1::Model* response) override;
  grpc::ServerUnaryReactor* DeleteModel(grpc::CallbackServerContext* context,
                                        const engram::v1::DeleteModelRequest* request,
                                        engram::v1::DeleteModelResponse* response) override;
  grpc::ServerUnaryReactor* ForgetTexts(grpc::CallbackServerContext* context,
                                        const engram::v1::ForgetTextsRequest* request,
                                        engram::v1::ForgetTextsResponse* response) override;
  grpc::ServerReadReactor<engram::v1::ImportModelRequest>* ImportModel(grpc::CallbackServerContext* context,
                                                                       engram::v1::Version* response) override;
  grpc::ServerWriteReactor<engram::v1::ExportVersionResponse>* ExportVersion(
      grpc::CallbackServerContext* context, const engram::v1::ExportVersionRequest* request) override;

 private:
  jobs::Store& store_;
  const Catalog& catalog_;
  const DataPaths paths_;
  const int64_t max_bytes_;
  const CallEnvironment environment_;
  const std::function<void(const std::string&, int64_t)> on_delete_, on_label_;
};

}  // namespace engram::server
