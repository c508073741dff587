#pragma once

// engram.v1.CollectionService: collections of pages become jobs, and what they found is listed page by page.
// Thread-safe; what it is given outlives it. Errors of ListPages: NOT_FOUND (DATASET_NOT_FOUND), FAILED_PRECONDITION
// (NO_PAGES) for a data set that no collection made, INVALID_ARGUMENT with the field.

#include <cstdint>
#include <string>

#include "engram/v1/collection.grpc.pb.h"
#include "server/jobs/estimator.h"
#include "server/jobs/job_manager.h"
#include "server/jobs/plan_context.h"
#include "server/rpc/call.h"

namespace engram::server {

// One answer out of a file of pages (engram.v1.Page as protobuf's JSON, one a line): at most `page_size` pages, and no
// further one once they have kPageBytes. `token`: empty, or next_page_token of the answer before; INVALID_ARGUMENT
// (field "page_token") otherwise. DATA_LOSS for a file that is damaged.
inline constexpr int64_t kPageBytes = 4 << 20;
absl::Status ReadPages(const std::string& path, const std::string& token, int64_t page_size,
                       engram::v1::ListPagesResponse& response);

class CollectionService final : public engram::v1::CollectionService::CallbackService {
 public:
  using Api = engram::v1::CollectionService;

  CollectionService(const PlanContext& planning, const JobEstimator& estimator, JobManager& jobs,
                    const CallEnvironment& environment)
      : planning_(planning), estimator_(estimator), jobs_(jobs), environment_(environment) {}

  grpc::ServerUnaryReactor* CollectPages(grpc::CallbackServerContext* context,
                                         const engram::v1::CollectPagesRequest* request,
                                         engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* ListPages(grpc::CallbackServerContext* context, const engram::v1::ListPagesRequest* request,
                                      engram::v1::ListPagesResponse* response) override;

 private:
  absl::Status List(const engram::v1::ListPagesRequest& request, engram::v1::ListPagesResponse& response);

  const PlanContext& planning_;
  const JobEstimator& estimator_;
  JobManager& jobs_;
  const CallEnvironment environment_;
};

}  // namespace engram::server
