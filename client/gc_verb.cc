#include "client/gc_verb.h"

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "client/confirm.h"
#include "client/output.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

using engram::v1::ModelService;
using engram::v1::Version;

grpc::Status ListModelNames(Session& session, std::vector<std::string>& names) {
  engram::v1::ListModelsRequest request;
  request.set_page_size(1000);
  do {
    engram::v1::ListModelsResponse page;
    const auto context = session.NewContext();
    grpc::Status status = session.Stub<ModelService>()->ListModels(context.get(), request, &page);
    if (!status.ok()) return status;
    for (const engram::v1::Model& model : page.models()) names.push_back(model.name());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return grpc::Status::OK;
}

grpc::Status ListVersions(Session& session, const std::string& model, std::vector<Version>& versions) {
  engram::v1::ListVersionsRequest request;
  request.set_model(model);
  request.set_page_size(1000);
  do {
    engram::v1::ListVersionsResponse page;
    const auto context = session.NewContext();
    grpc::Status status = session.Stub<ModelService>()->ListVersions(context.get(), request, &page);
    if (!status.ok()) return status;
    versions.insert(versions.end(), page.versions().begin(), page.versions().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return grpc::Status::OK;
}

// What becomes of a version that may go.
struct Collected {
  Version version;
  std::string kept;  // why it stays after all; empty: it is gone
};

grpc::Status Delete(Session& session, Collected& collected) {
  engram::v1::DeleteVersionRequest request;
  request.set_name(collected.version.name());
  engram::v1::DeleteVersionResponse response;
  const auto context = session.NewContext();
  grpc::Status status = session.Stub<ModelService>()->DeleteVersion(context.get(), request, &response);
  // An unfinished job needs it, or a label was set meanwhile: it goes the next time.
  if (status.error_code() != grpc::StatusCode::FAILED_PRECONDITION) return status;
  collected.kept = status.error_message();
  return grpc::Status::OK;
}

void Print(const Session& session, const std::vector<Collected>& all, bool dry_run) {
  int64_t bytes = 0, gone = 0;
  nlohmann::ordered_json versions = nlohmann::ordered_json::array();
  for (const Collected& one : all) {
    if (one.kept.empty()) bytes += one.version.size_bytes(), ++gone;
    if (session.json) {
      versions.push_back(
          {{"version", one.version.name()}, {"size_bytes", one.version.size_bytes()}, {"kept", one.kept}});
    } else if (one.kept.empty()) {
      std::printf("%s %s (%s)\n", dry_run ? "would delete" : "deleted", one.version.name().c_str(),
                  FormatBytes(one.version.size_bytes()).c_str());
    } else {
      std::printf("kept %s: %s\n", one.version.name().c_str(), one.kept.c_str());
    }
  }
  if (session.json) {
    const nlohmann::ordered_json answer = {{"dry_run", dry_run}, {"versions", versions}, {"size_bytes", bytes}};
    std::printf("%s\n", answer.dump().c_str());
  } else {
    std::printf("%lld versions, %s; files that other versions share stay with those\n", static_cast<long long>(gone),
                FormatBytes(bytes).c_str());
  }
}

int Collect(Session& session, const std::string& model, int64_t keep, bool dry_run, bool yes) {
  std::vector<std::string> models = {model};
  if (model.empty()) {
    models.clear();
    if (const grpc::Status status = ListModelNames(session, models); !status.ok()) return session.Fail(status);
  }
  std::vector<Collected> all;
  for (const std::string& name : models) {
    std::vector<Version> versions;
    if (const grpc::Status status = ListVersions(session, name, versions); !status.ok()) return session.Fail(status);
    for (Version& version : ToCollect(versions, keep)) all.push_back({std::move(version), ""});
  }
  if (!dry_run && !all.empty()) {
    if (!Confirm(std::to_string(all.size()) + " versions will be gone (--dry-run lists them).", yes))
      return Session::Failed("nothing was deleted");
    for (Collected& one : all) {
      if (const grpc::Status status = Delete(session, one); !status.ok()) return session.Fail(status);
    }
  }
  Print(session, all, dry_run);
  return kOk;
}

}  // namespace

std::vector<Version> ToCollect(const std::vector<Version>& versions, int64_t keep) {
  std::vector<Version> old;
  for (size_t i = 0; i < versions.size(); ++i) {
    if (static_cast<int64_t>(i) >= keep && versions[i].labels().empty()) old.push_back(versions[i]);
  }
  return old;
}

void AddGcVerb(CLI::App& models, Session& session) {
  struct Choice {
    std::string model;
    int64_t keep = 3;
    bool dry_run = false, yes = false;
  };
  const auto choice = std::make_shared<Choice>();
  CLI::App* gc = models.add_subcommand(
      "gc",
      "Delete old versions: those that no label points to, no unfinished job needs, and that are not among the newest\n"
      "Example: engram models gc news --keep 3 --dry-run");
  gc->add_option("NAME", choice->model, "one model; default: all");
  gc->add_option("--keep", choice->keep, "how many of the newest versions of a model stay, with a label or without")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str();
  gc->add_flag("--dry-run", choice->dry_run, "only say what would be deleted");
  gc->add_flag("--yes", choice->yes, "do not ask");
  gc->callback([choice, &session] {
    session.run = [choice, &session] {
      return Collect(session, choice->model, choice->keep, choice->dry_run, choice->yes);
    };
  });
}

}  // namespace engram::client
