#include "client/classify_file.h"

#include <cstdio>
#include <utility>

namespace engram::client {
namespace {

using engram::v1::ClassifyRequest;
using engram::v1::ClassifyResponse;
using engram::v1::ClassifyResult;
using Results = FileResults<ClassifyRequest, ClassifyResponse>;

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

class LabelColumns final : public ResultColumns<ClassifyResult> {
 public:
  LabelColumns(std::vector<std::string> tasks, const ClassifyRequest& request)
      : tasks_(std::move(tasks)), abstains_(request.abstain()), routed_(request.route()) {}

  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    if (routed_) {
      names = {"task", "task_probability", "label", "label_probability"};
      if (abstains_) names.push_back("label_fits");
      return names;
    }
    for (const std::string& task : tasks_) {
      names.push_back(task);
      names.push_back(task + "_probability");
      if (abstains_) names.push_back(task + "_fits");
    }
    return names;
  }

  std::vector<std::string> Cells(const ClassifyResult& result) const override {
    std::vector<std::string> cells;
    if (routed_) {
      const bool there = result.tasks_size() > 0;
      cells.push_back(there ? LastPart(result.tasks(0).task()) : "");
      cells.push_back(there ? Number(result.tasks(0).routing_probability()) : "");
    }
    for (int i = 0; i < (routed_ ? 1 : static_cast<int>(tasks_.size())); ++i) {
      const bool scored = i < result.tasks_size() && result.tasks(i).scores_size() > 0;
      cells.push_back(scored ? result.tasks(i).scores(0).label() : "");
      cells.push_back(scored ? Number(result.tasks(i).scores(0).probability()) : "");
      if (abstains_) cells.push_back(!scored ? "" : result.tasks(i).abstained() ? "no" : "yes");
    }
    return cells;
  }

  nlohmann::ordered_json Members(const ClassifyResult& result) const override {
    nlohmann::ordered_json added;
    added["tasks"] = nlohmann::ordered_json::object();
    for (const auto& task : result.tasks()) {
      nlohmann::ordered_json& scores = added["tasks"][LastPart(task.task())] = nlohmann::ordered_json::array();
      for (const auto& score : task.scores())
        scores.push_back({{"label", score.label()}, {"probability", score.probability()}});
      if (task.has_confidence()) added["fits"][LastPart(task.task())] = !task.abstained();
      if (task.has_routing_probability()) added["task_probability"] = task.routing_probability();
    }
    return added;
  }

 private:
  const std::vector<std::string> tasks_;
  const bool abstains_, routed_;
};

}  // namespace

int ClassifyFile(Session& session, ClassifyRequest request, const FileJob& job) {
  int status = kOk;
  std::optional<RecordReader> reader = Results::Open(job, status);
  if (!reader) return status;
  if (FormatOfFile(job.out) != RecordFormat::kJsonLines) request.set_top_k(1);
  Results::Caller caller(session, request, &engram::v1::InferenceService::Stub::Classify);
  // The names of the columns to add need the tasks of the version; a word is enough to learn them.
  ClassifyResponse answer;
  const std::vector<std::string> pair(job.pair_column.empty() ? 0 : 1, "b");
  if (const grpc::Status failed = caller.Call({"a"}, /*alone=*/true, answer, pair); !failed.ok())
    return session.Fail(failed);
  std::vector<std::string> tasks;
  for (const auto& task : answer.results(0).tasks()) tasks.push_back(LastPart(task.task()));
  return Results(session, *reader, job, caller, LabelColumns(std::move(tasks), request)).Run();
}

}  // namespace engram::client
