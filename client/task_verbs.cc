#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/commands.h"
#include "client/follow.h"
#include "client/strategy_verbs.h"
#include "client/stream_view.h"

namespace engram::client {
namespace {

using engram::v1::Job;
using engram::v1::TaskService;

// What the task verbs take in common.
struct TaskArguments {
  std::string model, task, base, label, request_id, dataset;
  int priority = 0;
  bool wait = false, validate_only = false;
  // start-task
  std::string kind, strategy;
  std::string lambda;  // a number or "auto"
  std::optional<int64_t> epochs;
  std::vector<std::string> settings;
  // consolidate-task
  std::string fisher;
  int64_t samples = 0;
  uint64_t seed = 0;
  // evaluate
  std::string heat_map;
  // cross-validate
  int folds = 5;
  uint64_t fold_seed = 0;
  bool term_held_out = false;
};

// MODEL@BASE and --from say the same; both is an error.
bool ResolveBase(TaskArguments& arguments) {
  const ModelReference reference = SplitReference(arguments.model);
  if (!reference.version.empty() && !arguments.base.empty()) return false;
  arguments.model = reference.model;
  if (!reference.version.empty()) arguments.base = reference.version;
  return true;
}

// What a training and its cross-validation are asked for alike; what is wrong with it, or nothing.
template <typename Request>
std::optional<std::string> FillTraining(const TaskArguments& arguments, Request& request) {
  request.set_model(arguments.model);
  request.set_task(arguments.task);
  request.set_dataset(arguments.dataset);
  request.set_base(arguments.base);
  request.set_strategy(arguments.strategy);
  request.set_label(arguments.label);
  request.set_priority(arguments.priority);
  request.set_request_id(arguments.request_id);
  request.set_validate_only(arguments.validate_only);
  if (arguments.kind == "classification") request.set_kind(engram::v1::TASK_KIND_SEQUENCE_CLASSIFICATION);
  if (arguments.kind == "ner") request.set_kind(engram::v1::TASK_KIND_TOKEN_CLASSIFICATION);
  if (arguments.kind == "mlm") request.set_kind(engram::v1::TASK_KIND_MASKED_LANGUAGE_MODEL);
  auto& options = *request.mutable_options();
  if (const std::string& lambda = arguments.lambda; lambda == "auto") {
    options["lambda"] = lambda;
  } else if (!lambda.empty()) {
    double value = 0;
    const auto [end, error] = std::from_chars(lambda.data(), lambda.data() + lambda.size(), value);
    if (error != std::errc() || end != lambda.data() + lambda.size())
      return "--lambda takes a number or auto, not \"" + lambda + "\"";
    request.set_lambda(value);
  }
  if (arguments.epochs) options["epochs"] = std::to_string(*arguments.epochs);
  for (const std::string& setting : arguments.settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) return "--set takes key=value, not \"" + setting + "\"";
    options[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  return std::nullopt;
}

template <typename Request>
using Method = grpc::Status (TaskService::Stub::*)(grpc::ClientContext*, const Request&, Job*);

// Asks for a job and says what became of it.
template <typename Request>
int Queue(Session& session, const Request& request, bool wait, Method<Request> method) {
  Job job;
  const auto context = session.NewContext();
  const auto stub = session.Stub<TaskService>();
  const grpc::Status status = ((*stub).*method)(context.get(), request, &job);
  return status.ok() ? PrintQueued(session, job, wait) : session.Fail(status);
}

// A training, or its cross-validation.
template <typename Request>
int Train(Session& session, TaskArguments arguments, Method<Request> method) {
  if (!ResolveBase(arguments)) return Session::Usage("give the version to start from once: MODEL@BASE or --from");
  Request request;
  if (const auto wrong = FillTraining(arguments, request)) return Session::Usage(*wrong);
  if constexpr (requires { request.set_folds(0); }) {
    request.set_folds(arguments.folds);
    request.set_fold_seed(arguments.fold_seed);
    request.set_term_held_out(arguments.term_held_out);
  }
  return Queue(session, request, arguments.wait, method);
}

int Consolidate(Session& session, TaskArguments arguments) {
  if (!ResolveBase(arguments)) return Session::Usage("give the version to start from once: MODEL@BASE or --from");
  engram::v1::ConsolidateTaskRequest request;
  request.set_model(arguments.model);
  request.set_task(arguments.task);
  request.set_base(arguments.base);
  request.set_dataset(arguments.dataset);
  request.set_fisher(arguments.fisher);
  request.set_samples(arguments.samples);
  request.set_seed(arguments.seed);
  request.set_label(arguments.label);
  request.set_priority(arguments.priority);
  request.set_request_id(arguments.request_id);
  request.set_validate_only(arguments.validate_only);
  return Queue(session, request, arguments.wait, &TaskService::Stub::ConsolidateTask);
}

// Writes the matrix that an evaluation has completed as a drawing.
int DrawJob(Session& session, const std::string& name, const std::string& path) {
  engram::v1::GetJobRequest request;
  request.set_name(name);
  Job job;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<engram::v1::JobService>()->GetJob(context.get(), request, &job);
  if (!status.ok()) return session.Fail(status);
  return WriteHeatMap({job.result().stream_metrics().begin(), job.result().stream_metrics().end()},
                      LastPart(job.model()), path);
}

int Evaluate(Session& session, TaskArguments arguments) {
  if (!ResolveBase(arguments)) return Session::Usage("give the version once: MODEL@VERSION or --from");
  engram::v1::EvaluateTaskRequest request;
  request.set_model(arguments.model);
  request.set_task(arguments.task);
  request.set_base(arguments.base);
  request.set_dataset(arguments.dataset);
  request.set_priority(arguments.priority);
  request.set_request_id(arguments.request_id);
  request.set_validate_only(arguments.validate_only);
  Job job;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<TaskService>()->EvaluateTask(context.get(), request, &job);
  if (!status.ok()) return session.Fail(status);
  const bool drawn = !arguments.heat_map.empty() && !arguments.validate_only;
  const int code = PrintQueued(session, job, arguments.wait || drawn);
  return code == kOk && drawn ? DrawJob(session, job.name(), arguments.heat_map) : code;
}

void AddCommon(CLI::App& verb, TaskArguments& arguments) {
  verb.add_option("MODEL", arguments.model, "MODEL or MODEL@BASE, where BASE is a version's number or a label")
      ->required();
  verb.add_option("--from", arguments.base, "the same as @BASE; default: label stable, else the newest version");
  verb.add_option("--priority", arguments.priority, "higher runs first, -1000 to 1000")->capture_default_str();
  verb.add_option("--request-id", arguments.request_id, "the same id again gives the same job");
  verb.add_flag("--wait", arguments.wait, "follow the job to its end");
  verb.add_flag("--validate-only", arguments.validate_only,
                "check everything and estimate time, memory and disk, but queue nothing");
}

// The options of a training.
void AddTraining(CLI::App& verb, TaskArguments& a) {
  verb.add_option("TASK", a.task, "name of the task")->required();
  verb.add_option("--dataset", a.dataset, "data set to train on")->required();
  verb.add_option("--kind", a.kind, "default: what the data set is for")
      ->check(CLI::IsMember({"classification", "ner", "mlm"}));
  verb.add_option("--strategy", a.strategy,
                  "how forgetting is prevented; `engram strategies` lists them and says which is taken by default");
  verb.add_option(
      "--lambda", a.lambda,
      "strength of the strategy's penalty in Bayes units, or auto: several are tried on held-out texts of the "
      "new task and of earlier ones (--set lambda_grid=), which takes as many trainings; the same as --set "
      "lambda=");
  verb.add_option("--epochs", a.epochs, "passes over the training part; the same as --set epochs=");
  verb.add_option("--set", a.settings, "an option of the training or of the strategy as key=value; repeatable");
  verb.add_option("--label", a.label, "label to set to the new version");
}

}  // namespace

void AddTaskVerbs(CLI::App& app, Session& session) {
  const auto arguments = std::make_shared<TaskArguments>();
  TaskArguments& a = *arguments;

  CLI::App* start = app.add_subcommand("start-task",
                                       "Train a task on top of a version\nExample: engram start-task news emotion "
                                       "--dataset emotion --strategy ewc --wait");
  AddCommon(*start, a);
  AddTraining(*start, a);
  start->footer([&app, &session] { return TaskOptionsHelp(app, session); });
  start->callback([&session, arguments] {
    session.run = [=, &session] { return Train(session, *arguments, &TaskService::Stub::StartTask); };
  });

  CLI::App* cross =
      app.add_subcommand("cross-validate",
                         "Measure a training by folds of its data set, then train the task on all of it\n"
                         "Example: engram cross-validate news emotion --dataset emotion --folds 5 --wait");
  AddCommon(*cross, a);
  AddTraining(*cross, a);
  cross->add_option("--folds", a.folds, "parts of the data set, 2 to 50")->capture_default_str();
  cross->add_option("--fold-seed", a.fold_seed, "of the choice of folds")->capture_default_str();
  cross->add_flag("--term-held-out", a.term_held_out,
                  "train no fold on rows in which one of its entities occurs: how well are unknown names found?");
  cross->footer([&app, &session] { return TaskOptionsHelp(app, session); });
  cross->callback([&session, arguments] {
    session.run = [=, &session] { return Train(session, *arguments, &TaskService::Stub::CrossValidateTask); };
  });

  CLI::App* consolidate =
      app.add_subcommand("consolidate-task",
                         "Take importance (Fisher) and anchors of a task, so that later tasks do not overwrite it\n"
                         "Example: engram consolidate-task news emotion --fisher sampled --wait");
  AddCommon(*consolidate, a);
  consolidate->add_option("TASK", a.task, "name of a task that the version has learned")->required();
  consolidate->add_option("--dataset", a.dataset,
                          "data set to take the importance on, with the task's labels; needed for an imported task; "
                          "default: the one that the task was trained on");
  consolidate->add_option("--fisher", a.fisher, "default: sampled")
      ->check(CLI::IsMember({"exact", "sampled", "empirical", "batched", "reversed"}));
  consolidate->add_option("--samples", a.samples, "texts drawn; default 1000");
  consolidate->add_option("--seed", a.seed, "of the choice of texts and labels");
  consolidate->add_option("--label", a.label, "label to set to the new version");
  consolidate->callback(
      [&session, arguments] { session.run = [=, &session] { return Consolidate(session, *arguments); }; });

  CLI::App* evaluate = app.add_subcommand(
      "evaluate", "Measure tasks of a version on their test data\nExample: engram evaluate news@canary --wait");
  AddCommon(*evaluate, a);
  evaluate->add_option("--task", a.task, "one task; default: all");
  evaluate->add_option("--dataset", a.dataset, "measure on this data set; default: the task's own");
  evaluate->add_option("--heat-map", a.heat_map,
                       "write the matrix of scores after each training to this SVG file; waits for the job");
  evaluate->callback([&session, arguments] { session.run = [=, &session] { return Evaluate(session, *arguments); }; });
}

}  // namespace engram::client
