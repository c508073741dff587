// engram: the command line. `engram --help` lists the verbs, `engram VERB --help` explains one.

#include <cstdio>
#include <cstdlib>

#include "client/commands.h"

namespace {

int Status(engram::client::Session& session) {
  engram::v1::ListModelsResponse models;
  engram::v1::ListModelsRequest models_request;
  engram::v1::ListJobsResponse jobs;
  engram::v1::ListJobsRequest jobs_request;
  jobs_request.set_page_size(1000);
  auto context = session.NewContext();
  grpc::Status status = session.Stub<engram::v1::ModelService>()->ListModels(context.get(), models_request, &models);
  if (!status.ok()) return session.Fail(status);
  context = session.NewContext();
  status = session.Stub<engram::v1::JobService>()->ListJobs(context.get(), jobs_request, &jobs);
  if (!status.ok()) return session.Fail(status);
  int queued = 0, running = 0;
  for (const auto& job : jobs.jobs()) {
    queued += job.state() == engram::v1::JOB_STATE_QUEUED ? 1 : 0;
    running += job.state() == engram::v1::JOB_STATE_RUNNING ? 1 : 0;
  }
  if (session.json) {
    std::printf("{\"address\":\"%s\",\"models\":%d,\"queued\":%d,\"running\":%d}\n", session.address.c_str(),
                models.models_size(), queued, running);
  } else {
    std::printf("%s serves: %d models, %d jobs queued, %d running\n", session.address.c_str(), models.models_size(),
                queued, running);
  }
  return engram::client::kOk;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace engram::client;
  Session session;
  CLI::App app("Engram teaches one text encoder task after task without forgetting, and serves it.", "engram");
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--address", session.address, "HOST:PORT of engramd")
      ->envname("ENGRAM_ADDRESS")
      ->capture_default_str();
  app.add_flag("--json", session.json, "print answers as JSON");
  app.add_option("--timeout", session.timeout_seconds, "seconds that a call may take; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  AddDatasetVerbs(app, session);
  AddModelVerbs(app, session);
  AddTaskVerbs(app, session);
  AddJobVerbs(app, session);
  AddInferenceVerbs(app, session);
  app.add_subcommand("status", "Whether the server answers, and what it has to do")->callback([&session] {
    session.run = [&session] { return Status(session); };
  });
  for (CLI::App* verb : app.get_subcommands({})) {
    verb->fallthrough();
    for (CLI::App* nested : verb->get_subcommands({})) nested->fallthrough();
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  return session.run();
}
