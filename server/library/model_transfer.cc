#include "server/library/model_transfer.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/version_directory.h"
#include "server/library/discard.h"
#include "server/library/importer.h"
#include "server/rpc/names.h"
#include "server/rpc/stream.h"
#include "server/rpc/unary.h"
#include "server/rpc/upload.h"

namespace engram::server {
namespace {

using engram::v1::ExportVersionResponse;
using engram::v1::ImportModelRequest;

constexpr size_t kChunkBytes = 1 << 20;

class ModelImport final : public UploadCall<ImportModelRequest, engram::v1::Version> {
 public:
  ModelImport(const TransferParts& parts, const grpc::CallbackServerContext& context, engram::v1::Version* response)
      : UploadCall(parts.environment, context, "ImportModel", response),
        store_(parts.store),
        catalog_(parts.catalog),
        paths_(parts.paths),
        max_bytes_(parts.max_bytes) {
    static std::atomic<int64_t> counter{0};
    staging_ = absl::StrCat(paths_.staging(), "/import-", ++counter);
  }

 private:
  absl::Status Take(const ImportModelRequest& message) override;
  absl::Status TakeHeader(const engram::v1::ImportHeader& header);
  absl::Status TakeChunk(const engram::v1::FileChunk& chunk);
  absl::Status CloseFile();
  absl::Status Done(engram::v1::Version& response) override;
  void CleanUp() override {
    file_.close();
    RemoveStaged(staging_);
  }
  std::string received() const { return staging_ + "/received"; }

  jobs::Store& store_;
  const Catalog& catalog_;
  const DataPaths paths_;
  const int64_t max_bytes_;
  std::string staging_, model_, label_, task_ = "imported", tag_scheme_, request_id_;
  int64_t bytes_ = 0;
  std::set<std::string> files_;
  std::string path_;  // of the file that is being written
  std::ofstream file_;
};

absl::Status ModelImport::TakeHeader(const engram::v1::ImportHeader& header) {
  ENGRAM_ASSIGN_OR_RETURN(model_, ParseName("model", "models", header.model()));
  if (!header.label().empty()) ENGRAM_RETURN_IF_ERROR(CheckId("label", header.label()));
  tag_scheme_ = header.tag_scheme();
  if (!tag_scheme_.empty() && tag_scheme_ != "bio2" && tag_scheme_ != "iob1" && tag_scheme_ != "lenient")
    return InvalidField("tag_scheme", "must be bio2, iob1 or lenient, or left out");
  if (!header.task().empty()) {
    ENGRAM_RETURN_IF_ERROR(CheckId("task", header.task()));
    task_ = header.task();
  }
  ENGRAM_RETURN_IF_ERROR(CheckRequestId(header.request_id()));
  label_ = header.label();
  request_id_ = header.request_id();
  return MakeDirectories(received());
}

absl::Status ModelImport::CloseFile() {
  if (path_.empty()) return absl::OkStatus();
  file_.close();
  const bool good = !file_.fail();
  file_.clear();
  path_.clear();
  if (good) return absl::OkStatus();
  return StatusWithReason(
      absl::StatusCode::kResourceExhausted, "DISK_FULL",
      "a file could not be written; the server's disk may be full: free some space and import again");
}

absl::Status ModelImport::TakeChunk(const engram::v1::FileChunk& chunk) {
  constexpr size_t kMaxFiles = 64;
  if (chunk.path() != path_) {
    ENGRAM_RETURN_IF_ERROR(CloseFile());
    ENGRAM_RETURN_IF_ERROR(CheckRelativePath(chunk.path()));
    if (!files_.insert(chunk.path()).second)
      return InvalidField("chunk.path", "came twice; chunks of one file must follow each other");
    if (files_.size() > kMaxFiles)
      return InvalidField("chunk.path", absl::StrCat("is one more than the ", kMaxFiles, " files of an import"));
    const std::filesystem::path target = std::filesystem::path(received()) / chunk.path();
    ENGRAM_RETURN_IF_ERROR(MakeDirectories(target.parent_path().string()));
    file_.open(target, std::ios::binary | std::ios::trunc);
    path_ = chunk.path();
  }
  bytes_ += static_cast<int64_t>(chunk.data().size());
  if (bytes_ > max_bytes_) {
    return StatusWithReason(
        absl::StatusCode::kResourceExhausted, "MODEL_TOO_LARGE",
        absl::StrCat("the model is larger than this server takes (", max_bytes_ >> 20, " MiB, max_model_mb)"));
  }
  file_.write(chunk.data().data(), static_cast<std::streamsize>(chunk.data().size()));
  return file_.good() ? absl::OkStatus() : CloseFile();
}

absl::Status ModelImport::Take(const ImportModelRequest& message) {
  return message.has_header() ? TakeHeader(message.header()) : TakeChunk(message.chunk());
}

absl::Status ModelImport::Done(engram::v1::Version& response) {
  ENGRAM_RETURN_IF_ERROR(CloseFile());
  jobs::RequestKey key;
  if (!request_id_.empty()) key = {request_id_, "ImportModel", absl::StrCat(model_, " ", label_, " ", task_)};
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<std::string> earlier, store_.FindRequest(key));
  int64_t number = 0;
  if (earlier) {
    if (!absl::SimpleAtoi(LastPart(*earlier), &number)) return absl::InternalError("a stored request is damaged");
  } else {
    ENGRAM_ASSIGN_OR_RETURN(number, store_.ReserveVersion(model_));
    const std::string target = paths_.version(model_, number);
    ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.versions(model_)));
    engram::v1::JobResult result;  // the version's record keeps the warnings, so that they can be read again
    ENGRAM_RETURN_IF_ERROR(
        checkpoint::BuildAndPublish(staging_ + "/version", target, [&](const std::string& directory) -> absl::Status {
          ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> warnings,
                                  ImportVersion(received(), model_, number, task_, tag_scheme_, directory));
          for (const std::string& warning : warnings) result.add_warnings(warning);
          return absl::OkStatus();
        }));
    jobs::VersionRecord version;
    version.metrics = result.SerializeAsString();
    version.model = model_;
    version.number = number;
    version.size_bytes = bytes_;
    ENGRAM_RETURN_IF_ERROR(store_.AddVersion(version, label_, key));
  }
  ENGRAM_ASSIGN_OR_RETURN(const jobs::VersionRecord stored, store_.GetVersion(model_, number));
  return Reply(catalog_.Describe(stored), &response);
}

// Reads one chunk at a time, the next when the one before is on its way.
class ModelExport final : public StreamCall<ExportVersionResponse> {
 public:
  ModelExport(const TransferParts& parts, const grpc::CallbackServerContext& context,
              engram::v1::ExportVersionRequest request)
      : StreamCall(parts.environment, context, "ExportVersion", /*latest_only=*/false),
        store_(parts.store),
        catalog_(parts.catalog),
        paths_(parts.paths),
        request_(std::move(request)) {}

 private:
  void Open() override {
    if (const absl::Status listed = ListFiles(); !listed.ok()) {
      Close(listed);
    } else {
      Next();
    }
  }
  void OnWritten() override { Next(); }
  absl::Status ListFiles();
  void Next();

  jobs::Store& store_;
  const Catalog& catalog_;
  const DataPaths paths_;
  const engram::v1::ExportVersionRequest request_;
  std::string directory_;
  std::vector<std::string> files_ = {checkpoint::kManifestFile};
  size_t at_ = 0;
  std::ifstream file_;
};

absl::Status ModelExport::ListFiles() {
  ENGRAM_ASSIGN_OR_RETURN(const std::string model, ParseName("model", "models", request_.model()));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t number, store_.ResolveVersion(model, request_.version()));
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::VersionManifest manifest, catalog_.Manifest(model, number));
  for (const auto& [file, digest] : manifest.files) files_.push_back(file);
  directory_ = paths_.version(model, number);
  return absl::OkStatus();
}

void ModelExport::Next() {
  if (at_ == files_.size()) {
    Close(absl::OkStatus());
    return;
  }
  if (!file_.is_open()) file_.open(directory_ + "/" + files_[at_], std::ios::binary);
  std::string bytes(kChunkBytes, '\0');
  file_.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(file_.gcount()));
  if (file_.bad() || !file_.is_open()) {
    Close(absl::DataLossError("a file of the version cannot be read"));
    return;
  }
  ExportVersionResponse response;
  response.mutable_chunk()->set_path(files_[at_]);
  response.mutable_chunk()->set_data(std::move(bytes));
  if (file_.eof() || file_.peek() == std::ifstream::traits_type::eof()) {
    file_.close();
    file_.clear();
    ++at_;
  }
  Push(std::move(response));
}

}  // namespace

grpc::ServerReadReactor<ImportModelRequest>* StartImport(const TransferParts& parts,
                                                         const grpc::CallbackServerContext& context,
                                                         engram::v1::Version* response) {
  auto* import = new ModelImport(parts, context, response);
  import->Begin();
  return import;
}

grpc::ServerWriteReactor<ExportVersionResponse>* StartExport(const TransferParts& parts,
                                                             const grpc::CallbackServerContext& context,
                                                             const engram::v1::ExportVersionRequest& request) {
  return StartStream<ModelExport>(parts, context, request);
}

}  // namespace engram::server
