#pragma once

// Kinds of jobs. A kind is one file in kinds/ that registers itself and says everything that the server must know of
// it: what a request asks for, where its files lie, what it will take, what it leaves. Its work is done by the worker
// (server/worker/run.h), which finds it by the same number: that of its message in RunSpec.work.
//
//   class EvaluateKind final : public JobKindFor<engram::v1::EvaluateTaskRequest> { ... };
//   const JobKindRegistration kRegistration(std::make_unique<EvaluateKind>());
//
// Kinds have no state: all of this is thread-safe.

#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/jobs/store.h"
#include "engram/v1/job.pb.h"
#include "engram/worker/v1/worker.pb.h"
#include "server/data_paths.h"
#include "server/jobs/plan_context.h"
#include "server/rpc/names.h"

namespace engram::server {

// What will be queued: the store's record of it, what the API shows, and what the worker gets, with short names in the
// place of paths.
struct PlannedJob {
  jobs::JobRecord record;
  engram::v1::Job description;
  engram::worker::v1::RunSpec spec;
};

// What a kind knows of a planned job before it runs. Time and free disk are added by JobEstimator.
struct WorkEstimate {
  engram::v1::JobEstimate counts;  // texts, tokens, steps, memory, disk, warnings
  // Multiply-adds of one token in weight matrices, all passes together, and their precision; 0: nothing that can be
  // held against the speed of the machine.
  double products_per_token = 0;
  bool bf16 = false;
};

// What a job leaves when it succeeds.
enum class JobOutput {
  kVersion,  // a version of its model: runs/<job>/output becomes its directory
  kReport,   // numbers in its result, no files
  kDataset,  // a data set: the files of runs/<job>/output become its own
};

struct JobKindFacts {
  engram::worker::v1::RunSpec::WorkCase work;  // its message in RunSpec
  engram::v1::JobKind shown_as;                // in the API
  const char* name;                            // in metrics and the log: "train"
  JobOutput output;
};

class JobKind {
 public:
  explicit JobKind(const JobKindFacts& facts) : facts_(facts) {}
  virtual ~JobKind() = default;
  JobKind(const JobKind&) = delete;
  JobKind& operator=(const JobKind&) = delete;
  const JobKindFacts& facts() const { return facts_; }

  // The message that asks for a job of this kind.
  virtual const google::protobuf::Descriptor* request_type() const = 0;
  // Every check, every default, nothing stored. `request` is of request_type(). Errors name the request's field
  // (INVALID_ARGUMENT), what is not there (NOT_FOUND), or what must come first (FAILED_PRECONDITION). Reads a few small
  // files and the database.
  virtual absl::StatusOr<PlannedJob> Plan(const PlanContext& context,
                                          const google::protobuf::Message& request) const = 0;
  // Fills in the paths of the data sets; those of the base version are filled in by the caller. Paths are no part of
  // what a job is: data_dir may have been moved between two runs.
  virtual void FillPaths(const DataPaths& paths, engram::worker::v1::RunSpec& spec) const = 0;
  // The short name of the data set that a job makes; of kinds with JobOutput::kDataset.
  virtual std::string MadeDataset(const engram::worker::v1::RunSpec&) const { return ""; }
  // Reads and tokenizes texts. Errors are those that the job would have.
  virtual absl::StatusOr<WorkEstimate> Estimate(const PlanContext& context, const PlannedJob& job) const = 0;

 private:
  const JobKindFacts facts_;
};

// A kind that is asked for by a `Request`, which names a model and a task.
template <typename Request>
class JobKindFor : public JobKind {
 public:
  using JobKind::JobKind;
  const google::protobuf::Descriptor* request_type() const final { return Request::descriptor(); }
  absl::StatusOr<PlannedJob> Plan(const PlanContext& context, const google::protobuf::Message& request) const final {
    auto asked = static_cast<const Request&>(request);
    asked.set_task(ShortTaskName(asked.model(), asked.task()));  // both names of a task are taken
    return PlanRequest(context, asked);
  }

 private:
  virtual absl::StatusOr<PlannedJob> PlanRequest(const PlanContext& context, const Request& request) const = 0;
};

// Makes a kind known, before main. Two kinds with one number or one request end the program.
class JobKindRegistration {
 public:
  explicit JobKindRegistration(std::unique_ptr<const JobKind> kind);
};

std::vector<const JobKind*> AllJobKinds();
// nullptr if there is none: a specification that a newer server wrote, or a damaged one.
const JobKind* FindJobKind(engram::worker::v1::RunSpec::WorkCase work);

// Plans with the kind that takes requests of this type; INTERNAL if none does.
absl::StatusOr<PlannedJob> PlanJob(const PlanContext& context, const google::protobuf::Message& request);

// A job of a kind that starts from a version, with what all of them say of it; `task` and `label` may be empty.
PlannedJob MakeVersionJob(const JobKind& kind, const BaseVersion& base, const std::string& task, int32_t priority,
                          const std::string& label);

}  // namespace engram::server
