// engram: the command line. `engram --help` lists the verbs, `engram VERB --help` explains one.

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "client/address.h"
#include "client/commands.h"
#include "client/help_verbs.h"
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

// Versions of a model and their bytes, which count a file that several share for each of them.
grpc::Status SizeOf(Session& session, const std::string& model, int64_t& versions, int64_t& bytes) {
  engram::v1::ListVersionsRequest request;
  request.set_model(model);
  const auto list = [&](grpc::ClientContext* context, const auto& versions_of, auto& page) {
    return session.Stub<engram::v1::ModelService>()->ListVersions(context, versions_of, &page);
  };
  const auto count = [&](const auto& page) {
    for (const engram::v1::Version& version : page.versions()) bytes += version.size_bytes();
    return page.versions_size();
  };
  return CountPages<engram::v1::ListVersionsResponse>(session, request, list, count, versions);
}

int Disk(Session& session) {
  std::vector<std::string> models;
  int64_t all = 0;
  const auto list = [&](grpc::ClientContext* context, const auto& request, auto& page) {
    return session.Stub<engram::v1::ModelService>()->ListModels(context, request, &page);
  };
  const auto remember = [&](const auto& page) {
    for (const engram::v1::Model& model : page.models()) models.push_back(model.name());
    return page.models_size();
  };
  grpc::Status status =
      CountPages<engram::v1::ListModelsResponse>(session, engram::v1::ListModelsRequest(), list, remember, all);
  nlohmann::ordered_json answer = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows = {{"MODEL", "VERSIONS", "SIZE"}};
  for (size_t i = 0; status.ok() && i < models.size(); ++i) {
    int64_t versions = 0, bytes = 0;
    status = SizeOf(session, models[i], versions, bytes);
    answer.push_back({{"model", models[i]}, {"versions", versions}, {"size_bytes", bytes}});
    rows.push_back({engram::client::LastPart(models[i]), std::to_string(versions), engram::client::FormatBytes(bytes)});
  }
  if (!status.ok()) return session.Fail(status);
  if (session.json) {
    std::printf("%s\n", answer.dump().c_str());
  } else {
    std::printf("%s(a file that versions share counts for each; engram_model_disk_bytes of /metrics counts it once)\n",
                engram::client::Table(rows).c_str());
  }
  return engram::client::kOk;
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
    const CLI::App& group = verb_given ? *app.get_subcommands()[0] : app;
    const std::string of = verb_given ? "engram " + group.get_name() : "engram";
    const std::string near = engram::client::NearestVerb(group, left[0]);
    return Session::Usage(
        "there is no verb \"" + left[0] + "\"; " +
        (near.empty() ? "`" + of + " --help` lists them" : "did you mean `" + of + " " + near + "`?"));
  }
  if (!verb_given && left.empty()) {
    std::fprintf(stderr, "%s", app.help().c_str());
    return engram::client::kUsage;
  }
  return Session::Usage(error.what());
}

// Whether errors are to be JSON must be known before the words are parsed.
bool AsksForJson(int argc, char** argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    if (std::string_view(argv[i]) == "--json") return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace engram::client;
  if (AsksForJson(argc, argv)) Session::ErrorsAsJson();
  Session session;
  CLI::App app("Engram teaches one text encoder task after task without forgetting, and serves it.", "engram");
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--address", session.address, "HOST:PORT of engramd")
      ->envname("ENGRAM_ADDRESS")
      ->capture_default_str();
  app.add_option("--token-file", session.token_file, "file with the token that the server wants")
      ->envname("ENGRAM_TOKEN_FILE");
  app.add_option("--ca", session.ca,
                 "speak TLS: PEM file of the authorities that signed the server's certificate, or \"system\"")
      ->envname("ENGRAM_CA");
  app.add_option("--certificate", session.certificate, "PEM file of a certificate to show to the server")
      ->envname("ENGRAM_CERTIFICATE");
  app.add_option("--key", session.key, "PEM file of the certificate's private key")->envname("ENGRAM_KEY");
  app.add_flag("--json", session.json, "print answers, and errors (on standard error), as JSON");
  app.set_version_flag("--version", "engram " ENGRAM_VERSION);
  app.add_option("--timeout", session.timeout_seconds, "seconds that a call may take; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  AddDatasetVerbs(app, session);
  AddModelVerbs(app, session);
  AddTaskVerbs(app, session);
  AddStrategyVerbs(app, session);
  AddJobVerbs(app, session);
  AddInferenceVerbs(app, session);
  AddCollectVerbs(app, session);
  AddAnnotateVerb(app, session);
  AddHelpVerbs(app, session);
  bool disk = false;
  CLI::App* status = app.add_subcommand("status", "Whether the server answers, and what it has to do");
  status->add_flag("--disk", disk, "how large the versions of each model are");
  status->callback(
      [&session, &disk] { session.run = [&session, &disk] { return disk ? Disk(session) : Status(session); }; });
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
    // Help and version are answers; everything else is an error.
    if (error.get_exit_code() == 0) return app.exit(error);
    return Session::Usage(error.what());
  }
  const bool asks_nobody = app.got_subcommand("help") || app.got_subcommand("completion");
  const std::string problem = asks_nobody ? "" : AddressProblem(session.address);
  if (!problem.empty()) return Session::Usage(problem);
  if (const std::string wrong = asks_nobody ? "" : session.Prepare(); !wrong.empty()) return Session::Usage(wrong);
  return session.run();
}
