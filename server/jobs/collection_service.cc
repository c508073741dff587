#include "server/jobs/collection_service.h"

#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "google/protobuf/util/json_util.h"
#include "server/jobs/queue_job.h"
#include "server/rpc/names.h"
#include "server/rpc/unary.h"

namespace engram::server {

absl::Status ReadPages(const std::string& path, const std::string& token, int64_t page_size,
                       engram::v1::ListPagesResponse& response) {
  ENGRAM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  // A token is the byte at which the next line begins.
  size_t at = 0;
  const bool number = token.empty() || (absl::SimpleAtoi(token, &at) && at > 0);
  if (!number || at > bytes.size() || (at > 0 && bytes[at - 1] != '\n'))
    return InvalidField("page_token", "is none that an answer gave");
  const size_t begin = at;
  while (at < bytes.size() && response.pages_size() < page_size && at - begin < static_cast<size_t>(kPageBytes)) {
    const size_t end = bytes.find('\n', at);
    if (end == std::string_view::npos ||
        !google::protobuf::util::JsonStringToMessage(std::string(bytes.substr(at, end - at)), response.add_pages())
             .ok()) {
      return absl::DataLossError("the data set's pages are damaged; collect them again");
    }
    at = end + 1;
  }
  if (at < bytes.size()) response.set_next_page_token(absl::StrCat(at));
  return absl::OkStatus();
}

absl::Status CollectionService::List(const engram::v1::ListPagesRequest& request,
                                     engram::v1::ListPagesResponse& response) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("dataset", "datasets", request.dataset()));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size()));
  ENGRAM_RETURN_IF_ERROR(planning_.store.GetDataset(name).status());
  const std::string path = planning_.paths.pages(name);
  if (!PathExists(path)) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "NO_PAGES",
                            absl::StrCat("data set \"", name, "\" was uploaded and has no pages"));
  }
  return ReadPages(path, request.page_token(), size, response);
}

grpc::ServerUnaryReactor* CollectionService::CollectPages(grpc::CallbackServerContext* context,
                                                          const engram::v1::CollectPagesRequest* request,
                                                          engram::v1::Job* response) {
  if (request->validate_only()) {
    return Answer(environment_, context, response, "CollectPages",
                  [this, request, response] { return ValidateJob(planning_, estimator_, *request, response); });
  }
  return Change(environment_, context, *request, response, "CollectPages",
                [this, request, response] { return QueueJob(planning_, jobs_, "CollectPages", *request, response); });
}

grpc::ServerUnaryReactor* CollectionService::ListPages(grpc::CallbackServerContext* context,
                                                       const engram::v1::ListPagesRequest* request,
                                                       engram::v1::ListPagesResponse* response) {
  return Answer(environment_, context, response, "ListPages",
                [this, request, response] { return List(*request, *response); });
}

}  // namespace engram::server
