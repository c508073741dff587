#include <cstdio>
#include <memory>

#include "client/commands.h"
#include "client/follow.h"
#include "client/output.h"

namespace engram::client {
namespace {

using engram::v1::Job;
using engram::v1::JobService;

int List(Session& session, const std::string& model, const std::string& state, int limit) {
  engram::v1::ListJobsRequest request;
  request.set_page_size(limit);
  request.set_model(model);
  if (!state.empty()) {
    std::string name = "JOB_STATE_" + state;
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    engram::v1::JobState value;
    if (!engram::v1::JobState_Parse(name, &value))
      return Session::Usage("--state must be queued, running, paused, succeeded, failed or cancelled");
    request.set_state(value);
  }
  engram::v1::ListJobsResponse page;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<JobService>()->ListJobs(context.get(), request, &page);
  if (!status.ok()) return session.Fail(status);
  return session.Print(page, [&] {
    std::vector<std::vector<std::string>> rows = {{"id", "kind", "model", "task", "state", "accepted", "made"}};
    for (const Job& job : page.jobs()) {
      rows.push_back({LastPart(job.name()), KindName(job.kind()), LastPart(job.model()),
                      job.task().empty() ? "-" : job.task(), StateName(job.state()), FormatTime(job.create_time()),
                      job.result().version().empty() ? "-" : "version " + LastPart(job.result().version())});
    }
    std::printf("%s", Table(rows).c_str());
    if (!page.next_page_token().empty()) std::printf("... and older ones; --limit shows more\n");
  });
}

template <typename Request>
int Change(Session& session, const std::string& id,
           grpc::Status (JobService::Stub::*method)(grpc::ClientContext*, const Request&, Job*)) {
  Request request;
  request.set_name(id);
  Job job;
  const auto context = session.NewContext();
  const auto stub = session.Stub<JobService>();
  const grpc::Status status = (*stub.*method)(context.get(), request, &job);
  if (!status.ok()) return session.Fail(status);
  return session.Print(job, [&] { DescribeJob(job); });
}

}  // namespace

void AddJobVerbs(CLI::App& app, Session& session) {
  CLI::App* group = app.add_subcommand("jobs", "List, show, watch, cancel, pause and resume jobs");
  group->require_subcommand(1);
  const auto id = std::make_shared<std::string>(), model = std::make_shared<std::string>(),
             state = std::make_shared<std::string>();
  const auto limit = std::make_shared<int>(50);

  CLI::App* list = group->add_subcommand("list", "List jobs, newest first");
  list->add_option("--model", *model, "only jobs of this model");
  list->add_option("--state", *state, "only queued, running, paused, succeeded, failed or cancelled ones");
  list->add_option("--limit", *limit, "how many")->capture_default_str()->check(CLI::Range(1, 1000));
  list->callback([&session, model, state, limit] {
    session.run = [=, &session] { return List(session, *model, *state, *limit); };
  });

  const auto add = [&](const char* verb, const char* help, std::function<int()> run) {
    CLI::App* sub = group->add_subcommand(verb, help);
    sub->add_option("ID", *id, "the job's id or name")->required();
    sub->callback([&session, run = std::move(run)] { session.run = run; });
  };
  Session* s = &session;
  add("show", "Show a job in full", [=] { return Change(*s, *id, &JobService::Stub::GetJob); });
  add("watch", "Follow a job to its end", [=] { return FollowJob(*s, *id); });
  add("cancel", "End a job", [=] { return Change(*s, *id, &JobService::Stub::CancelJob); });
  add("pause", "Take a job out of the queue; a running one writes a checkpoint first",
      [=] { return Change(*s, *id, &JobService::Stub::PauseJob); });
  add("resume", "Queue a paused job again", [=] { return Change(*s, *id, &JobService::Stub::ResumeJob); });
}

}  // namespace engram::client
