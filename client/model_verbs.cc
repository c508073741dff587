#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "client/commands.h"
#include "client/confirm.h"
#include "client/gc_verb.h"
#include "client/output.h"
#include "client/send_file.h"
#include "client/stream_view.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

namespace fs = std::filesystem;
using engram::v1::Model;
using engram::v1::ModelService;
using engram::v1::Version;

// The folders of sentence-transformers' modules, as modules.json names them.
std::set<std::string> ModuleFolders(const std::string& directory) {
  std::ifstream file(fs::path(directory) / "modules.json", std::ios::binary);
  const auto modules = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  std::set<std::string> folders = {
      "1_Pooling"};  // the server says what it makes of one that modules.json does not name
  if (!modules.is_array()) return folders;
  for (const auto& module : modules) {
    if (module.is_object() && module.contains("path") && module["path"].is_string())
      folders.insert(module["path"].get<std::string>());
  }
  return folders;
}

// What a version is made of, or what Engram exported. Everything else in a model's directory (README, other formats) is
// named and stays at home.
bool IsModelFile(const std::string& path, const std::set<std::string>& modules) {
  static const char* const kFiles[] = {
      "config.json",           "model.safetensors", "tokenizer.json",
      "tokenizer_config.json", "vocab.txt",         "special_tokens_map.json",
      "added_tokens.json",     "modules.json",      "config_sentence_transformers.json",
      "engram.json",           "heads.safetensors", "continual.safetensors",
      "update.safetensors"};
  if (std::find(std::begin(kFiles), std::end(kFiles), path) != std::end(kFiles)) return true;
  if (path.starts_with("memory/")) return true;
  // The Transformer's own file: "sentence_bert_config.json", "sentence_roberta_config.json", ...
  if (path.starts_with("sentence_") && path.ends_with("_config.json") && path.find('/') == std::string::npos)
    return true;
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || !modules.contains(path.substr(0, slash))) return false;
  const std::string file = path.substr(slash + 1);
  return file == "config.json" || file == "model.safetensors";
}

// Weights of a sentence-transformers module that are there in PyTorch's form alone, which the server converts.
bool IsModuleBin(const std::string& path, const std::set<std::string>& modules, const std::vector<std::string>& files) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || path.substr(slash + 1) != "pytorch_model.bin") return false;
  const std::string folder = path.substr(0, slash);
  return modules.contains(folder) &&
         std::find(files.begin(), files.end(), folder + "/model.safetensors") == files.end();
}

// Weights in another form than model.safetensors, of which the server makes it: its shards with their index, else those
// of PyTorch.
bool IsOtherWeights(const std::string& path, bool torch) {
  const bool plain = path.find('/') == std::string::npos;
  const std::string_view stem = torch ? "pytorch_model" : "model", ending = torch ? ".bin" : ".safetensors";
  const bool shard = path.starts_with(std::string(stem) + "-") && path.ends_with(ending);
  return plain && (shard || path == std::string(stem).append(ending).append(".index.json") ||
                   (torch && path == "pytorch_model.bin"));
}

// Moves what the server needs as weights from `skipped` to `files`.
void TakeWeights(std::vector<std::string>& files, std::vector<std::string>& skipped) {
  for (const bool torch : {false, true}) {
    if (std::find(files.begin(), files.end(), "model.safetensors") != files.end()) return;
    const auto taken = std::stable_partition(skipped.begin(), skipped.end(),
                                             [&](const std::string& path) { return !IsOtherWeights(path, torch); });
    const bool any = taken != skipped.end();
    files.insert(files.end(), taken, skipped.end());
    skipped.erase(taken, skipped.end());
    if (any) return;
  }
}

void PrintModels(const std::vector<Model>& models) {
  std::vector<std::vector<std::string>> rows = {{"name", "versions", "newest", "labels"}};
  for (const Model& model : models) {
    std::string labels;
    const std::map<std::string, int64_t> sorted(model.labels().begin(), model.labels().end());
    for (const auto& [label, version] : sorted)
      labels += (labels.empty() ? "" : ", ") + label + "=" + std::to_string(version);
    rows.push_back({LastPart(model.name()), std::to_string(model.versions()), std::to_string(model.latest_version()),
                    labels.empty() ? "-" : labels});
  }
  std::printf("%s", Table(rows).c_str());
}

// "ewc lambda=1000 penalty_mode=auto"; "naive".
std::string WithOptions(const Version& version) {
  std::string text = version.strategy();
  const std::map<std::string, std::string> sorted(version.strategy_options().begin(), version.strategy_options().end());
  for (const auto& [option, value] : sorted) text += " " + option + "=" + value;
  return text;
}

void PrintVersions(const google::protobuf::RepeatedPtrField<Version>& versions) {
  std::vector<std::vector<std::string>> rows = {
      {"version", "from", "strategy", "tasks (* consolidated)", "labels", "size", "published"}};
  for (const Version& version : versions) {
    std::string tasks, labels;
    for (const auto& task : version.tasks())
      tasks += (tasks.empty() ? "" : ", ") + LastPart(task.name()) + (task.consolidated() ? "*" : "");
    for (const std::string& label : version.labels()) labels += (labels.empty() ? "" : ", ") + label;
    rows.push_back({LastPart(version.name()), version.parent().empty() ? "-" : LastPart(version.parent()),
                    version.job().empty() ? "imported" : WithOptions(version), tasks.empty() ? "-" : tasks,
                    labels.empty() ? "-" : labels, FormatBytes(version.size_bytes()),
                    FormatTime(version.create_time())});
  }
  std::printf("%s", Table(rows).c_str());
}

// What the jobs that made the versions measured on them, and on which texts.
void PrintFigures(const google::protobuf::RepeatedPtrField<Version>& versions) {
  std::vector<std::vector<std::string>> rows = {{"version", "task", "metric", "value", "texts", "measured on"}};
  for (const Version& version : versions) {
    for (const auto& metric : version.metrics()) {
      // The others are in --json and in engram.json.
      const std::string& name = metric.metric();
      if (name != "accuracy" && name != "macro_f1" && name != "entity_f1" && name != "perplexity") continue;
      char value[32];
      std::snprintf(value, sizeof value, "%.4f", metric.value());
      rows.push_back({LastPart(version.name()), LastPart(metric.task()), name, value, std::to_string(metric.count()),
                      MeasuredOn(metric.part())});
    }
  }
  if (rows.size() > 1) std::printf("\n%s", Table(rows).c_str());
}

// What each version has kept of what it learned, as far as somebody measured it.
void PrintStreams(const google::protobuf::RepeatedPtrField<Version>& versions) {
  std::vector<std::vector<std::string>> rows = {StreamColumns()};
  rows[0].insert(rows[0].begin(), "version");
  for (const Version& version : versions) {
    for (const auto& metrics : version.stream_metrics()) {
      if (!metrics.has_average() && !metrics.has_backward_transfer() && !metrics.has_forgetting()) continue;
      rows.push_back(StreamRow(metrics));
      rows.back().insert(rows.back().begin(), LastPart(version.name()));
    }
  }
  if (rows.size() > 1) std::printf("\n%s", Table(rows).c_str());
  if (versions.empty()) return;
  for (const auto& metrics : versions[0].stream_metrics()) {
    if (metrics.rows_size() > 0)
      std::printf("\nversion %s\n%s", LastPart(versions[0].name()).c_str(), Table(MatrixRows(metrics)).c_str());
  }
}

// What the versions keep for later tasks, above all whose texts.
void PrintMemories(const google::protobuf::RepeatedPtrField<Version>& versions) {
  std::vector<std::vector<std::string>> rows = {{"version", "keeps for", "size", "texts", "of"}};
  for (const Version& version : versions) {
    for (const auto& memory : version.memories()) {
      std::string tasks;
      for (const auto& task : memory.tasks()) {
        tasks += (tasks.empty() ? "" : ", ") + LastPart(task.task()) + " " + std::to_string(task.texts());
        if (!task.dataset().empty()) tasks += " (" + LastPart(task.dataset()) + ")";
        if (task.has_kept_since()) tasks += " since " + FormatTime(task.kept_since()).substr(0, 10);
      }
      rows.push_back({LastPart(version.name()), memory.strategy(), FormatBytes(memory.size_bytes()),
                      std::to_string(memory.texts()), tasks.empty() ? "-" : tasks});
    }
  }
  if (rows.size() > 1) std::printf("\n%s", Table(rows).c_str());
}

int Import(Session& session, const std::string& directory, const engram::v1::ImportHeader& what) {
  std::vector<std::string> files, skipped;
  std::error_code error;
  const std::set<std::string> module_folders = ModuleFolders(directory);
  for (const auto& entry :
       fs::recursive_directory_iterator(directory, fs::directory_options::follow_directory_symlink, error)) {
    if (!entry.is_regular_file()) continue;
    const std::string plain = entry.path().lexically_relative(directory).generic_string();
    (IsModelFile(plain, module_folders) ? files : skipped).push_back(plain);
  }
  if (error) return Session::Usage(directory + " cannot be read: " + error.message());
  TakeWeights(files, skipped);
  const auto bins = std::stable_partition(skipped.begin(), skipped.end(), [&](const std::string& path) {
    return !IsModuleBin(path, module_folders, files);
  });
  files.insert(files.end(), bins, skipped.end());
  skipped.erase(bins, skipped.end());
  if (std::find(files.begin(), files.end(), "config.json") == files.end()) {
    return Session::Usage(directory + " has no config.json; give the directory of a model in Hugging Face layout");
  }
  const auto context = session.NewContext();
  Version version;
  auto stub = session.Stub<ModelService>();
  auto writer = stub->ImportModel(context.get(), &version);
  engram::v1::ImportModelRequest header;
  *header.mutable_header() = what;
  bool sent = writer->Write(header);
  std::string unreadable;
  for (const std::string& file : files) {
    const auto write = [&](std::string bytes) {
      engram::v1::ImportModelRequest request;
      request.mutable_chunk()->set_path(file);
      request.mutable_chunk()->set_data(std::move(bytes));
      return writer->Write(request);
    };
    sent = sent && SendFile((fs::path(directory) / file).string(), write, unreadable);
  }
  engram::v1::ImportModelRequest end;
  end.set_end(true);
  if (sent && writer->Write(end)) writer->WritesDone();
  if (!unreadable.empty()) context->TryCancel();
  const grpc::Status status = writer->Finish();
  if (!unreadable.empty()) return FailUnreadable(unreadable);
  if (!status.ok()) return session.Fail(status);
  for (const std::string& file : skipped) {
    std::fprintf(session.json ? stderr : stdout, "not sent: %s (no file of a version in Hugging Face layout)\n",
                 file.c_str());
  }
  return session.Print(version, [&] {
    std::printf("imported %s (%zu files, %s)\n", version.name().c_str(), files.size(),
                FormatBytes(version.size_bytes()).c_str());
    for (const std::string& warning : version.warnings()) std::printf("warning: %s\n", warning.c_str());
  });
}

int List(Session& session) {
  engram::v1::ListModelsResponse all;
  engram::v1::ListModelsRequest request;
  request.set_page_size(1000);
  auto stub = session.Stub<ModelService>();
  do {
    engram::v1::ListModelsResponse page;
    const auto context = session.NewContext();
    if (const grpc::Status status = stub->ListModels(context.get(), request, &page); !status.ok())
      return session.Fail(status);
    request.set_page_token(page.next_page_token());
    all.mutable_models()->MergeFrom(page.models());
  } while (!request.page_token().empty());
  return session.Print(all, [&] { PrintModels({all.models().begin(), all.models().end()}); });
}

int Show(Session& session, const std::string& name, const std::string& heat_map) {
  engram::v1::ListVersionsResponse all;
  engram::v1::ListVersionsRequest request;
  request.set_model(name);
  request.set_page_size(1000);
  auto stub = session.Stub<ModelService>();
  do {
    engram::v1::ListVersionsResponse page;
    const auto context = session.NewContext();
    if (const grpc::Status status = stub->ListVersions(context.get(), request, &page); !status.ok())
      return session.Fail(status);
    request.set_page_token(page.next_page_token());
    all.mutable_versions()->MergeFrom(page.versions());
  } while (!request.page_token().empty());
  const int code = session.Print(all, [&] {
    PrintVersions(all.versions());
    PrintFigures(all.versions());
    PrintStreams(all.versions());
    PrintMemories(all.versions());
  });
  if (code != kOk || heat_map.empty()) return code;
  if (all.versions().empty()) return Session::Failed(name + " has no version");
  const auto& streams = all.versions(0).stream_metrics();
  return WriteHeatMap({streams.begin(), streams.end()}, LastPart(all.versions(0).name()), heat_map);
}

int Promote(Session& session, const std::string& name, const std::string& version, const std::string& label,
            std::optional<double> max_loss) {
  engram::v1::SetLabelRequest request;
  request.set_model(name);
  request.set_label(label);
  request.set_version(version);
  if (max_loss) request.set_max_loss(*max_loss / 100);
  Model model;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<ModelService>()->SetLabel(context.get(), request, &model);
  if (!status.ok()) return session.Fail(status);
  return session.Print(model, [&] { PrintModels({model}); });
}

int Rollback(Session& session, const std::string& name, const std::string& label) {
  engram::v1::RollbackLabelRequest request;
  request.set_model(name);
  request.set_label(label);
  Model model;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<ModelService>()->RollbackLabel(context.get(), request, &model);
  if (!status.ok()) return session.Fail(status);
  return session.Print(model, [&] { PrintModels({model}); });
}

int NotDeleted() { return isatty(STDIN_FILENO) == 0 ? kUsage : kFailed; }

int DeleteLabel(Session& session, const std::string& name, const std::string& label, bool yes) {
  if (!Confirm("Label \"" + label + "\" of " + LastPart(name) +
                   " and the history that rollback uses will be gone; the "
                   "versions stay.",
               yes)) {
    return NotDeleted();
  }
  engram::v1::DeleteLabelRequest request;
  request.set_model(name);
  request.set_label(label);
  Model model;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<ModelService>()->DeleteLabel(context.get(), request, &model);
  if (!status.ok()) return session.Fail(status);
  return session.Print(model, [&] { PrintModels({model}); });
}

int DeleteModel(Session& session, const std::string& name, bool yes) {
  engram::v1::GetModelRequest which;
  which.set_name(name);
  Model model;
  const auto asked = session.NewContext();
  if (const grpc::Status status = session.Stub<ModelService>()->GetModel(asked.get(), which, &model); !status.ok())
    return session.Fail(status);
  if (!Confirm("All " + std::to_string(model.versions()) + " versions of " + LastPart(model.name()) + " and its " +
                   std::to_string(model.labels_size()) + " labels will be gone.",
               yes)) {
    return NotDeleted();
  }
  engram::v1::DeleteModelRequest request;
  request.set_name(name);
  engram::v1::DeleteModelResponse response;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<ModelService>()->DeleteModel(context.get(), request, &response);
  if (!status.ok()) return session.Fail(status);
  return session.Print(response, [&] {
    std::printf("deleted %s with %lld versions\n", model.name().c_str(), static_cast<long long>(response.versions()));
  });
}

int Delete(Session& session, const ModelReference& reference, bool yes) {
  if (reference.version.empty()) return DeleteModel(session, reference.model, yes);
  if (reference.version.find_first_not_of("0123456789") != std::string::npos) {
    return Session::Usage("a version is deleted by its number (" + reference.model + "@3); `engram models show " +
                          reference.model + "` says which one the label points to, and `engram models delete-label " +
                          reference.model + " " + reference.version + "` deletes the label");
  }
  if (!Confirm("Version " + reference.version + " of " + LastPart(reference.model) + " will be gone.", yes))
    return NotDeleted();
  engram::v1::DeleteVersionRequest request;
  request.set_name("models/" + LastPart(reference.model) + "/versions/" + reference.version);
  engram::v1::DeleteVersionResponse response;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<ModelService>()->DeleteVersion(context.get(), request, &response);
  if (!status.ok()) return session.Fail(status);
  return session.Print(response, [&] { std::printf("deleted %s\n", request.name().c_str()); });
}

int Forget(Session& session, const engram::v1::ForgetTextsRequest& request, bool yes) {
  if (!Confirm("Texts will be removed from the memories of all versions of " + LastPart(request.model()) +
                   "; strategies that replay them have that much less to hold earlier tasks with.",
               yes)) {
    return NotDeleted();
  }
  engram::v1::ForgetTextsResponse response;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<ModelService>()->ForgetTexts(context.get(), request, &response);
  if (!status.ok()) return session.Fail(status);
  return session.Print(response, [&] {
    if (response.versions().empty()) std::printf("no version keeps such a text\n");
    for (const auto& version : response.versions()) {
      std::printf("%s: %lld %s removed\n", version.version().c_str(), static_cast<long long>(version.texts()),
                  version.texts() == 1 ? "text" : "texts");
    }
    for (const std::string& version : response.sums_kept()) {
      std::printf("%s also keeps sums over texts (importance, anchors, statistics), which name none of them\n",
                  version.c_str());
    }
  });
}

void AddForgetVerb(CLI::App& group, Session& session) {
  const auto request = std::make_shared<engram::v1::ForgetTextsRequest>();
  const auto name = std::make_shared<std::string>(), dataset = std::make_shared<std::string>();
  const auto texts = std::make_shared<std::vector<std::string>>();
  const auto rows = std::make_shared<std::vector<int64_t>>();
  const auto days = std::make_shared<std::optional<int64_t>>();
  const auto yes = std::make_shared<bool>(false);
  CLI::App* forget = group.add_subcommand("forget",
                                          "Remove training texts from what a model's versions keep for "
                                          "replay\nExample: engram models forget news --dataset "
                                          "emotion --row 17");
  forget->add_option("NAME", *name, "name of the model")->required();
  forget->add_option("--dataset", *dataset, "all texts of the tasks that were trained on this data set");
  forget->add_option("--row", *rows, "only this row of the data set, counted from 1 over its training part; repeatable")
      ->needs("--dataset");
  forget->add_option("--text", *texts, "this text, of whatever task; repeatable");
  forget->add_option("--older-than", *days, "every text that has been kept for more than so many days; 0: all")
      ->check(CLI::NonNegativeNumber);
  forget->add_flag("--yes", *yes, "do not ask");
  forget->callback([=, &session] {
    session.run = [=, &session] {
      request->set_model(*name);
      request->set_dataset(*dataset);
      for (const std::string& text : *texts) {
        if (!IsUtf8(text)) return Session::Usage("--text is not valid UTF-8");
        request->add_texts(text);
      }
      request->mutable_rows()->Assign(rows->begin(), rows->end());
      if (*days) request->set_older_than_days(**days);
      return Forget(session, *request, *yes);
    };
  });
}

// Receives into a sibling directory that takes the name once everything is there.
int Export(Session& session, const ModelReference& reference, std::string directory) {
  // "out/.partial" would lie inside of what it is to become.
  while (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
  if (fs::exists(directory)) return Session::Usage(directory + " exists already; choose another directory");
  const fs::path partial = directory + ".partial";
  std::error_code error;
  fs::remove_all(partial, error);
  engram::v1::ExportVersionRequest request;
  request.set_model(reference.model);
  request.set_version(reference.version);
  const auto context = session.NewContext();
  auto stub = session.Stub<ModelService>();
  auto reader = stub->ExportVersion(context.get(), request);
  engram::v1::ExportVersionResponse response;
  int64_t bytes = 0;
  bool written = true;
  while (written && reader->Read(&response)) {
    const fs::path relative = fs::path(response.chunk().path()).lexically_normal();
    // The server's word is not taken for where files go.
    written = relative.is_relative() && *relative.begin() != "..";
    if (!written) break;
    fs::create_directories((partial / relative).parent_path(), error);
    std::ofstream file(partial / relative, std::ios::binary | std::ios::app);
    file.write(response.chunk().data().data(), static_cast<std::streamsize>(response.chunk().data().size()));
    file.close();
    written = file.good();
    bytes += static_cast<int64_t>(response.chunk().data().size());
  }
  if (!written) context->TryCancel();
  const grpc::Status status = reader->Finish();
  if (written && status.ok()) fs::rename(partial, directory, error);
  if (!written || error) {
    fs::remove_all(partial, error);
    return Session::Failed(directory + " cannot be written");
  }
  if (!status.ok()) {
    fs::remove_all(partial, error);
    return session.Fail(status);
  }
  if (session.json) {
    std::printf("%s\n", nlohmann::json{{"directory", directory}, {"bytes", bytes}}.dump().c_str());
  } else {
    std::printf("exported %s to %s\n", FormatBytes(bytes).c_str(), directory.c_str());
  }
  return kOk;
}

void AddLabelVerbs(CLI::App& group, Session& session) {
  const auto name = std::make_shared<std::string>(), version = std::make_shared<std::string>(),
             label = std::make_shared<std::string>("stable");
  CLI::App* promote =
      group.add_subcommand("promote", "Point a label to a version\nExample: engram models promote news 3");
  promote->add_option("NAME", *name, "name of the model")->required();
  promote->add_option("VERSION", *version, "version's number, or another label")->required();
  promote->add_option("--label", *label, "the label")->capture_default_str();
  const auto max_loss = std::make_shared<std::optional<double>>();
  promote
      ->add_option(
          "--max-loss", *max_loss,
          "refuse a version that has lost more than so many points of accuracy or F1 on any task it knew before")
      ->check(CLI::Range(0.0, 100.0));
  promote->callback(
      [=, &session] { session.run = [=, &session] { return Promote(session, *name, *version, *label, *max_loss); }; });
  CLI::App* rollback = group.add_subcommand("rollback", "Point a label back to where it pointed before");
  rollback->add_option("NAME", *name, "name of the model")->required();
  rollback->add_option("--label", *label, "the label")->capture_default_str();
  CLI::App* remove = group.add_subcommand("delete-label", "Delete a label; the versions stay");
  const auto yes = std::make_shared<bool>(false);
  remove->add_option("NAME", *name, "name of the model")->required();
  remove->add_option("LABEL", *label, "the label")->required();
  remove->add_flag("--yes", *yes, "do not ask");
  remove->callback(
      [=, &session] { session.run = [=, &session] { return DeleteLabel(session, *name, *label, *yes); }; });
  rollback->callback([=, &session] { session.run = [=, &session] { return Rollback(session, *name, *label); }; });
}

}  // namespace

void AddModelVerbs(CLI::App& app, Session& session) {
  CLI::App* group = app.add_subcommand("models", "Import, list, show, promote, roll back, export and delete models");
  group->require_subcommand(1);
  const auto name = std::make_shared<std::string>(), directory = std::make_shared<std::string>(),
             label = std::make_shared<std::string>(), task = std::make_shared<std::string>(),
             tag_scheme = std::make_shared<std::string>(), request_id = std::make_shared<std::string>();

  CLI::App* imports = group->add_subcommand("import",
                                            "Make a version out of a directory in Hugging Face layout\nExample: engram "
                                            "models import news ./all-MiniLM-L6-v2");
  imports->add_option("NAME", *name, "name of the model")->required();
  imports->add_option("DIR", *directory, "directory with config.json, model.safetensors and tokenizer files")
      ->required()
      ->check(CLI::ExistingDirectory);
  imports->add_option("--label", *label, "label to set to the version");
  imports->add_option("--task", *task,
                      "name for the task of the head in the files, if there is one; default: imported");
  imports
      ->add_option("--tag-scheme", *tag_scheme,
                   "of a tagger whose labels are O, and B-x for each I-x: bio2 if it begins entities with B-x, iob1 if "
                   "with I-x, "
                   "lenient if either may be; default: what a trial of some sentences shows")
      ->check(CLI::IsMember({"bio2", "iob1", "lenient"}));
  imports->add_option("--request-id", *request_id, "the same id again gives the same version");
  imports->callback([=, &session] {
    session.run = [=, &session] {
      engram::v1::ImportHeader header;
      header.set_model(*name);
      header.set_label(*label);
      header.set_task(*task);
      header.set_tag_scheme(*tag_scheme);
      header.set_request_id(*request_id);
      return Import(session, *directory, header);
    };
  });
  group->add_subcommand("list", "List models")->callback([&session] {
    session.run = [&session] { return List(session); };
  });
  CLI::App* show = group->add_subcommand(
      "show", "Show a model's versions: tasks, labels, and what they have kept of what they learned");
  show->add_option("NAME", *name, "name of the model")->required();
  const auto heat_map = std::make_shared<std::string>();
  show->add_option("--heat-map", *heat_map, "write the newest version's matrix of scores to this SVG file");
  show->callback([=, &session] { session.run = [=, &session] { return Show(session, *name, *heat_map); }; });
  CLI::App* exports = group->add_subcommand(
      "export",
      "Write a version to a directory that transformers loads\nExample: engram models export news@stable ./news");
  exports->add_option("NAME", *name, "NAME, NAME@VERSION or NAME@LABEL")->required();
  exports->add_option("DIR", *directory, "a directory that does not exist yet")->required();
  exports->callback(
      [=, &session] { session.run = [=, &session] { return Export(session, SplitReference(*name), *directory); }; });
  CLI::App* remove = group->add_subcommand(
      "delete",
      "Delete a version that no label and no unfinished job needs, or a model with all versions and labels\n"
      "Example: engram models delete news@3");
  const auto yes = std::make_shared<bool>(false);
  remove->add_option("NAME", *name, "NAME@NUMBER: that version; NAME: the whole model")->required();
  remove->add_flag("--yes", *yes, "do not ask");
  remove->callback(
      [=, &session] { session.run = [=, &session] { return Delete(session, SplitReference(*name), *yes); }; });
  AddLabelVerbs(*group, session);
  AddForgetVerb(*group, session);
  AddGcVerb(*group, session);
}

}  // namespace engram::client
