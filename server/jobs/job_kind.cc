#include "server/jobs/job_kind.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "server/rpc/names.h"

namespace engram::server {
namespace {

std::vector<std::unique_ptr<const JobKind>>& Registered() {
  static auto& kinds = *new std::vector<std::unique_ptr<const JobKind>>();
  return kinds;
}

}  // namespace

JobKindRegistration::JobKindRegistration(std::unique_ptr<const JobKind> kind) {
  if (FindJobKind(kind->facts().work) != nullptr) {
    std::fprintf(stderr, "two kinds of jobs have the number %d in RunSpec.work\n",
                 static_cast<int>(kind->facts().work));
    std::abort();
  }
  Registered().push_back(std::move(kind));
}

std::vector<const JobKind*> AllJobKinds() {
  std::vector<const JobKind*> kinds;
  for (const auto& kind : Registered()) kinds.push_back(kind.get());
  return kinds;
}

const JobKind* FindJobKind(engram::worker::v1::RunSpec::WorkCase work) {
  for (const auto& kind : Registered()) {
    if (kind->facts().work == work) return kind.get();
  }
  return nullptr;
}

absl::StatusOr<PlannedJob> PlanJob(const PlanContext& context, const google::protobuf::Message& request) {
  for (const auto& kind : Registered()) {
    if (kind->request_type() == request.GetDescriptor()) return kind->Plan(context, request);
  }
  return absl::InternalError("no kind of job takes this request");
}

PlannedJob MakeVersionJob(const JobKind& kind, const BaseVersion& base, const std::string& task, int32_t priority,
                          const std::string& label) {
  PlannedJob job;
  job.record.model = base.model;
  job.record.base_version = base.number;
  job.record.label = label;
  job.record.priority = priority;
  job.description.set_kind(kind.facts().shown_as);
  job.description.set_model(ModelName(base.model));
  job.description.set_task(task);
  job.description.set_base_version(VersionName(base.model, base.number));
  job.description.set_label(label);
  job.spec.set_model(base.model);
  job.spec.set_base_version(base.number);
  *job.spec.mutable_base_metrics() = base.evaluations;
  return job;
}

}  // namespace engram::server
