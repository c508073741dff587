// engram: the command line. `engram --help` lists the verbs, `engram VERB --help` explains one.

#include <cstdio>
#include <cstdlib>

#include "client/commands.h"
#include "client/output.h"
#include "nlohmann/json.hpp"

namespace {

using engram::client::Session;

// Adds up count(page) over all pages; `list` fetches one.
template <typename Page, typename Request, typename List, typename Count>
grpc::Status CountPages(Session& session, Request request, const List& list, const Count& count, int64_t& total) {
  request.set_page_size(1000);
  do {
    Page page;
    const auto context = session.NewContext();
    grpc::Status status = list(context.get(), request, page);
    if (!status.ok()) return status;
    total += count(page);
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return grpc::Status::OK;
}

grpc::Status CountModels(Session& session, int64_t& total) {
  const auto list = [&](grpc::ClientContext* context, const auto& request, auto& page) {
    return session.Stub<engram::v1::ModelService>()->ListModels(context, request, &page);
  };
  return CountPages<engram::v1::ListModelsResponse>(
      session, engram::v1::ListModelsRequest(), list, [](const auto& page) { return page.models_size(); }, total);
}

grpc::Status CountJobs(Session& session, engram::v1::JobState state, int64_t& total) {
  engram::v1::ListJobsRequest jobs;
  jobs.set_state(state);
  const auto list = [&](grpc::ClientContext* context, const auto& request, auto& page) {
    return session.Stub<engram::v1::JobService>()->ListJobs(context, request, &page);
  };
  return CountPages<engram::v1::ListJobsResponse>(
      session, jobs, list, [](const auto& page) { return page.jobs_size(); }, total);
}

int Status(Session& session) {
  int64_t models = 0, queued = 0, running = 0;
  grpc::Status status = CountModels(session, models);
  if (status.ok()) status = CountJobs(session, engram::v1::JOB_STATE_QUEUED, queued);
  if (status.ok()) status = CountJobs(session, engram::v1::JOB_STATE_RUNNING, running);
  if (!status.ok()) return session.Fail(status);
  if (session.json) {
    const nlohmann::json answer = {
        {"address", session.address}, {"models", models}, {"queued", queued}, {"running", running}};
    std::printf("%s\n", answer.dump().c_str());
  } else {
    std::printf("%s serves: %s models, %s jobs queued, %s running\n", session.address.c_str(),
                std::to_string(models).c_str(), std::to_string(queued).c_str(), std::to_string(running).c_str());
  }
  return engram::client::kOk;
}

// A verb that does not exist is told by its name; without any, the help is what somebody looks for who types `engram`.
int MissingVerb(const CLI::App& app, const CLI::RequiredError& error) {
  const std::vector<std::string> left = app.remaining(/*recurse=*/true);
  const bool verb_given = !app.get_subcommands().empty();
  if (!left.empty() && left[0][0] != '-') {
    const std::string of = verb_given ? "engram " + app.get_subcommands()[0]->get_name() : "engram";
    return engram::client::Session::Usage("there is no verb \"" + left[0] + "\"; `" + of + " --help` lists them");
  }
  if (!verb_given && left.empty()) {
    std::fprintf(stderr, "%s", app.help().c_str());
    return engram::client::kUsage;
  }
  app.exit(error);
  return engram::client::kUsage;
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
  AddStrategyVerbs(app, session);
  AddJobVerbs(app, session);
  AddInferenceVerbs(app, session);
  app.add_subcommand("status", "Whether the server answers, and what it has to do")->callback([&session] {
    session.run = [&session] { return Status(session); };
  });
  for (CLI::App* verb : app.get_subcommands({})) {
    verb->fallthrough();
    for (CLI::App* nested : verb->get_subcommands({})) nested->fallthrough();
  }
  for (int i = 1; i < argc; ++i) {
    if (!IsUtf8(argv[i])) return Session::Usage("argument " + std::to_string(i) + " is not UTF-8");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::RequiredError& error) {
    return MissingVerb(app, error);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  return session.run();
}
