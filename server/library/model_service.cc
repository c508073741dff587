#include "server/library/model_service.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/library/discard.h"
#include "server/library/forget_texts.h"
#include "server/library/model_transfer.h"
#include "server/rpc/names.h"
#include "server/rpc/page.h"
#include "server/rpc/unary.h"

namespace engram::server {
namespace {

absl::Status ListModelPage(jobs::Store& store, const engram::v1::ListModelsRequest& request,
                           engram::v1::ListModelsResponse& response) {
  ENGRAM_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size()));
  ENGRAM_ASSIGN_OR_RETURN(std::vector<jobs::ModelRecord> page, store.ListModels(request.page_token(), size + 1));
  const auto describe = [](const jobs::ModelRecord& record, engram::v1::Model& out) {
    out = Catalog::Describe(record);
    return absl::OkStatus();
  };
  ENGRAM_ASSIGN_OR_RETURN(const size_t count, FillPage(page, size, describe, *response.mutable_models()));
  if (count < page.size()) response.set_next_page_token(page[count - 1].name);
  return absl::OkStatus();
}

absl::Status ListVersionPage(jobs::Store& store, const Catalog& catalog, const engram::v1::ListVersionsRequest& request,
                             engram::v1::ListVersionsResponse& response) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string model, ParseName("model", "models", request.model()));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size()));
  int64_t before = 0;
  if (!request.page_token().empty() && (!absl::SimpleAtoi(request.page_token(), &before) || before < 1)) {
    return InvalidField("page_token", "is none that this server gave");
  }
  ENGRAM_ASSIGN_OR_RETURN(std::vector<jobs::VersionRecord> page, store.ListVersions(model, before, size + 1));
  const auto describe = [&](const jobs::VersionRecord& record, engram::v1::Version& out) {
    return Reply(catalog.Describe(record), &out);
  };
  ENGRAM_ASSIGN_OR_RETURN(const size_t count, FillPage(page, size, describe, *response.mutable_versions()));
  if (count < page.size()) response.set_next_page_token(absl::StrCat(page[count - 1].number));
  return absl::OkStatus();
}

absl::Status DescribeModel(jobs::Store& store, const std::string& model, engram::v1::Model* response) {
  ENGRAM_ASSIGN_OR_RETURN(const jobs::ModelRecord record, store.GetModel(model));
  *response = Catalog::Describe(record);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* context,
                                                   const engram::v1::ListModelsRequest* request,
                                                   engram::v1::ListModelsResponse* response) {
  return Answer(environment_, context, response, "ListModels",
                [this, request, response] { return ListModelPage(store_, *request, *response); });
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* context,
                                                 const engram::v1::GetModelRequest* request,
                                                 engram::v1::Model* response) {
  return Answer(environment_, context, response, "GetModel", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("name", "models", request->name()));
    ENGRAM_RETURN_IF_ERROR(DescribeModel(store_, name, response));
    ENGRAM_ASSIGN_OR_RETURN(const checkpoint::VersionManifest newest,
                            catalog_.Manifest(name, response->latest_version()));
    return Reply(catalog_.Stream(name, newest), response->mutable_stream_metrics());
  });
}

grpc::ServerUnaryReactor* ModelService::ListVersions(grpc::CallbackServerContext* context,
                                                     const engram::v1::ListVersionsRequest* request,
                                                     engram::v1::ListVersionsResponse* response) {
  return Answer(environment_, context, response, "ListVersions",
                [this, request, response] { return ListVersionPage(store_, catalog_, *request, *response); });
}

grpc::ServerUnaryReactor* ModelService::SetLabel(grpc::CallbackServerContext* context,
                                                 const engram::v1::SetLabelRequest* request,
                                                 engram::v1::Model* response) {
  return Change(environment_, context, *request, response, "SetLabel", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string model, ParseName("model", "models", request->model()));
    ENGRAM_RETURN_IF_ERROR(CheckId("label", request->label()));
    if (request->version().empty())
      return InvalidField("version", "is empty; name a version's number, or another label");
    ENGRAM_ASSIGN_OR_RETURN(const int64_t version, store_.ResolveVersion(model, request->version()));
    if (request->has_max_loss()) {
      if (!(request->max_loss() >= 0 && request->max_loss() <= 1))
        return InvalidField("max_loss", "must lie in [0, 1]; 0.01 is one point of accuracy or F1");
      ENGRAM_RETURN_IF_ERROR(catalog_.CheckForgetting(model, version, request->max_loss()));
    }
    ENGRAM_RETURN_IF_ERROR(store_.SetLabel(model, request->label(), version));
    on_label_(model, version);
    return DescribeModel(store_, model, response);
  });
}

grpc::ServerUnaryReactor* ModelService::RollbackLabel(grpc::CallbackServerContext* context,
                                                      const engram::v1::RollbackLabelRequest* request,
                                                      engram::v1::Model* response) {
  return Change(environment_, context, *request, response, "RollbackLabel",
                [this, request, response]() -> absl::Status {
                  ENGRAM_ASSIGN_OR_RETURN(const std::string model, ParseName("model", "models", request->model()));
                  const std::string label = request->label().empty() ? "stable" : request->label();
                  ENGRAM_RETURN_IF_ERROR(CheckId("label", label));
                  ENGRAM_ASSIGN_OR_RETURN(const int64_t version, store_.RollbackLabel(model, label));
                  on_label_(model, version);
                  return DescribeModel(store_, model, response);
                });
}

grpc::ServerUnaryReactor* ModelService::DeleteVersion(grpc::CallbackServerContext* context,
                                                      const engram::v1::DeleteVersionRequest* request,
                                                      engram::v1::DeleteVersionResponse* response) {
  const auto work = [this, request]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const auto version, ParseVersionName("name", request->name()));
    ENGRAM_RETURN_IF_ERROR(store_.DeleteVersion(version.first, version.second));
    on_delete_(version.first, version.second);
    ENGRAM_ASSIGN_OR_RETURN(const std::string staged,
                            MoveToStaging(paths_, paths_.version(version.first, version.second)));
    RemoveStaged(staged);
    return absl::OkStatus();
  };
  return Change(environment_, context, *request, response, "DeleteVersion", work, WorkPool::Length::kLong);
}

grpc::ServerUnaryReactor* ModelService::DeleteLabel(grpc::CallbackServerContext* context,
                                                    const engram::v1::DeleteLabelRequest* request,
                                                    engram::v1::Model* response) {
  return Change(environment_, context, *request, response, "DeleteLabel", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string model, ParseName("model", "models", request->model()));
    ENGRAM_RETURN_IF_ERROR(CheckId("label", request->label()));
    ENGRAM_RETURN_IF_ERROR(store_.DeleteLabel(model, request->label()));
    return DescribeModel(store_, model, response);
  });
}

grpc::ServerUnaryReactor* ModelService::DeleteModel(grpc::CallbackServerContext* context,
                                                    const engram::v1::DeleteModelRequest* request,
                                                    engram::v1::DeleteModelResponse* response) {
  const auto work = [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string model, ParseName("name", "models", request->name()));
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> numbers, store_.DeleteModel(model));
    response->set_versions(static_cast<int64_t>(numbers.size()));
    for (const int64_t number : numbers) {
      on_delete_(model, number);
      ENGRAM_ASSIGN_OR_RETURN(const std::string staged, MoveToStaging(paths_, paths_.version(model, number)));
      RemoveStaged(staged);
    }
    return absl::OkStatus();
  };
  return Change(environment_, context, *request, response, "DeleteModel", work, WorkPool::Length::kLong);
}

grpc::ServerUnaryReactor* ModelService::ForgetTexts(grpc::CallbackServerContext* context,
                                                    const engram::v1::ForgetTextsRequest* request,
                                                    engram::v1::ForgetTextsResponse* response) {
  return Change(
      environment_, context, *request, response, "ForgetTexts",
      [this, request, response] {
        return server::ForgetTexts(store_, catalog_, paths_, *request, environment_.clock.Now(), *response);
      },
      WorkPool::Length::kLong);
}

grpc::ServerReadReactor<engram::v1::ImportModelRequest>* ModelService::ImportModel(grpc::CallbackServerContext* context,
                                                                                   engram::v1::Version* response) {
  return StartImport({environment_, store_, catalog_, paths_, max_bytes_}, *context, response);
}

grpc::ServerWriteReactor<engram::v1::ExportVersionResponse>* ModelService::ExportVersion(
    grpc::CallbackServerContext* context, const engram::v1::ExportVersionRequest* request) {
  return StartExport({environment_, store_, catalog_, paths_, max_bytes_}, *context, *request);
}

}  // namespace engram::server
