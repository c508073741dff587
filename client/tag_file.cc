#include "client/tag_file.h"

#include <utility>

namespace engram::client {
namespace {

using engram::v1::TagEntitiesRequest;
using engram::v1::TagEntitiesResponse;
using engram::v1::TagEntitiesResult;
using Results = FileResults<TagEntitiesRequest, TagEntitiesResponse>;

nlohmann::ordered_json Entities(const TagEntitiesResult& result) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& entity : result.entities()) {
    list.push_back({{"type", entity.type()},
                    {"text", entity.text()},
                    {"start", entity.start()},
                    {"end", entity.end()},
                    {"score", entity.score()}});
    if (entity.source() != engram::v1::ENTITY_SOURCE_UNSPECIFIED)
      list.back()["from"] = entity.source() == engram::v1::ENTITY_SOURCE_TERM     ? "list"
                            : entity.source() == engram::v1::ENTITY_SOURCE_TAGGER ? "tagger"
                                                                                  : "both";
  }
  return list;
}

class EntityColumns final : public ResultColumns<TagEntitiesResult> {
 public:
  std::vector<std::string> Names() const override { return {"entities"}; }
  std::vector<std::string> Cells(const TagEntitiesResult& result) const override { return {Entities(result).dump()}; }
  nlohmann::ordered_json Members(const TagEntitiesResult& result) const override {
    return {{"entities", Entities(result)}};
  }
};

}  // namespace

int TagFile(Session& session, TagEntitiesRequest request, const FileJob& job) {
  int status = kOk;
  std::optional<RecordReader> reader = Results::Open(job, status);
  if (!reader) return status;
  Results::Caller caller(session, std::move(request), &engram::v1::InferenceService::Stub::TagEntities);
  const EntityColumns columns;
  return Results(session, *reader, job, caller, columns).Run();
}

}  // namespace engram::client
