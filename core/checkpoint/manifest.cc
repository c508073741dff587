#include "core/checkpoint/manifest.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "core/base/files.h"
#include "core/base/strict_json.h"
#include "core/checkpoint/read_list.h"

namespace engram::checkpoint {
namespace {

using Json = nlohmann::json;
using Ordered = nlohmann::ordered_json;

constexpr int64_t kLeastChunkTokens = 1, kMostChunkTokens = 1 << 20;
constexpr int64_t kMaxCount = int64_t{1} << 53;  // beyond it other JSON readers round
constexpr size_t kMaxEntries = 10'000;           // tasks, consolidations, rows and columns of a matrix

bool IsSha256(const std::string& text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

absl::Status CheckDigest(const std::string& field, const std::string& digest, bool may_be_empty) {
  if (IsSha256(digest) || (may_be_empty && digest.empty())) return absl::OkStatus();
  return InvalidField(field, "must be a SHA-256: 64 lower-case hexadecimal digits");
}

absl::Status OneOf(const std::string& field, const std::string& value, const std::set<std::string>& known) {
  if (known.contains(value)) return absl::OkStatus();
  const std::string nearest = NearestName(value, known);
  return InvalidField(
      field,
      absl::StrCat("is ", Quoted(value), nearest.empty() ? ", which is not known" : "; did you mean " + nearest + "?"));
}

// A path that stays inside the version's directory.
bool IsSafeRelativePath(const std::string& path) {
  if (path.empty() || path.size() > 1024 || path.find('\0') != std::string::npos ||
      path.find('\\') != std::string::npos)
    return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

absl::Status CheckTask(const ManifestTask& task, const std::string& field, const VersionManifest& manifest) {
  if (task.name.empty()) return InvalidField(field + ".name", "must not be empty");
  ENGRAM_RETURN_IF_ERROR(OneOf(field + ".head_file", task.head_file, {kModelFile, kHeadsFile}));
  if (!manifest.files.contains(task.head_file))
    return InvalidField(field + ".head_file", "is not among the version's files");
  if (task.labels.empty() != (task.kind == TaskKind::kMaskedLanguageModel)) {
    return InvalidField(field + ".labels",
                        "must name the classes of a classifier, and is empty for a masked language model");
  }
  std::set<std::string> seen;
  for (const std::string& label : task.labels) {
    if (label.empty() || !seen.insert(label).second)
      return InvalidField(field + ".labels", absl::StrCat("has ", Quoted(label), " twice or empty"));
  }
  const Expansion& expansion = task.expansion;
  const bool expanded = expansion.kind != ExpansionKind::kNone;
  if (expanded && (task.kind != TaskKind::kSequenceClassification || task.pooling != Pooling::kMean))
    return InvalidField(field + ".expansion", "may stand before a mean-pooled head of texts alone");
  if (expanded ? expansion.width < 1 || expansion.width > kMaxExpansionWidth : expansion != Expansion())
    return InvalidField(field + ".expansion", absl::StrCat("has a width outside [1, ", kMaxExpansionWidth, "]"));
  ENGRAM_RETURN_IF_ERROR(CheckBlocks(task.blocks, field + ".blocks"));
  for (const std::string& name : task.blocks.earlier) {
    const ManifestTask* const earlier = FindManifestTask(manifest, name);
    // A column reads all that were there before it, so that later ones read more: none can read itself in a circle.
    if (earlier == nullptr || earlier->blocks.kind != BlocksKind::kProgressive ||
        earlier->blocks.earlier.size() >= task.blocks.earlier.size())
      return InvalidField(field + ".blocks.earlier", absl::StrCat(Quoted(name), " is no task with an earlier column"));
  }
  if (task.training_examples < 0 || task.training_examples > kMaxCount)
    return InvalidField(field + ".training_examples", "must be a count");
  if (task.abstention && (task.kind != TaskKind::kSequenceClassification || !(task.abstention->temperature > 0)))
    return InvalidField(field + ".abstention", "is of classification tasks, with a temperature above 0");
  if (task.text_pairs && task.kind != TaskKind::kSequenceClassification)
    return InvalidField(field + ".text_pairs", "is of classification tasks");
  if (task.chunk_tokens != 0 && (task.kind != TaskKind::kSequenceClassification || task.text_pairs ||
                                 task.chunk_tokens < kLeastChunkTokens || task.chunk_tokens > kMostChunkTokens))
    return InvalidField(field + ".chunk_tokens", "is of classification tasks of single texts, and a window's length");
  if (!task.tag_scheme.empty() && task.kind != TaskKind::kTokenClassification)
    return InvalidField(field + ".tag_scheme", "is of token classification tasks");
  return CheckDigest(field + ".dataset_digest", task.dataset_digest, /*may_be_empty=*/true);
}

absl::Status CheckConsolidation(const ManifestConsolidation& c, const std::string& field,
                                const std::set<std::string>& tasks, const VersionManifest& manifest) {
  if (!tasks.contains(c.task))
    return InvalidField(field + ".task", absl::StrCat(Quoted(c.task), " is no task of this version"));
  if (c.fisher.empty()) return InvalidField(field + ".fisher", "must name the kind of importance");
  if (c.samples < 1 || c.samples > kMaxCount) return InvalidField(field + ".samples", "must be at least 1");
  if (c.training_examples < 1 || c.training_examples > kMaxCount)
    return InvalidField(field + ".training_examples", "must be at least 1");
  if (!manifest.files.contains(c.file)) return InvalidField(field + ".file", "is not among the version's files");
  return absl::OkStatus();
}

absl::Status CheckMemory(const ManifestMemory& memory, const std::string& field, const VersionManifest& manifest) {
  if (memory.strategy.empty()) return InvalidField(field + ".strategy", "must not be empty");
  if (memory.file != MemoryFile(memory.strategy))
    return InvalidField(field + ".file", absl::StrCat("must be ", MemoryFile(memory.strategy)));
  if (!manifest.files.contains(memory.file)) return InvalidField(field + ".file", "is not among the version's files");
  if (memory.rows < 0 || memory.rows > kMaxCount) return InvalidField(field + ".rows", "must be a count");
  uint64_t rows = 0;
  for (const auto& [task, count] : memory.tasks) {
    if (task.empty() || count == 0 || count > static_cast<uint64_t>(memory.rows))
      return InvalidField(field + ".tasks", "must count the rows of each task that has any");
    rows += count;
  }
  if (!memory.tasks.empty() && rows != static_cast<uint64_t>(memory.rows))
    return InvalidField(field + ".tasks", absl::StrCat("counts ", rows, " rows, but rows is ", memory.rows));
  for (const auto& [task, since] : memory.kept_since) {
    absl::Time time;
    if (!memory.tasks.contains(task) || !absl::ParseTime(absl::RFC3339_full, since, &time, nullptr))
      return InvalidField(field + ".kept_since", "must be times of tasks that have rows, in RFC 3339");
  }
  return absl::OkStatus();
}

absl::Status CheckMatrix(const MetricsMatrix& matrix, const std::string& field) {
  if (matrix.metric.empty()) return InvalidField(field + ".metric", "must not be empty");
  if (matrix.values.size() != matrix.after.size())
    return InvalidField(field + ".values", "must have one row for each entry of after");
  for (const auto& row : matrix.values) {
    if (row.size() != matrix.tasks.size())
      return InvalidField(field + ".values", "must have one column for each entry of tasks");
    for (const std::optional<double>& value : row) {
      if (value && !std::isfinite(*value))
        return InvalidField(field + ".values", "must be finite; leave out what was not measured");
    }
  }
  return absl::OkStatus();
}

// A member whose text is the name of an enumerator.
template <typename Enum, typename Parse>
void ReadName(ObjectReader& reader, const std::string& key, const Parse& parse, Enum& out) {
  std::string name;
  reader.Text(key, name);
  if (!reader.ok()) return;
  const absl::StatusOr<Enum> value = parse(name, reader.Field(key));
  if (!value.ok()) return reader.Fail(value.status());
  out = *value;
}

absl::Status ReadExpansion(const Json& json, const std::string& path, Expansion& expansion) {
  ObjectReader reader(json, path);
  ReadName(reader, "kind", ParseExpansionKind, expansion.kind);
  reader.Integer("width", 1, kMaxExpansionWidth, expansion.width);
  reader.Unsigned("seed", expansion.seed);
  return reader.Finish();
}

absl::Status ReadAbstention(const Json& json, const std::string& path, Abstention& abstention) {
  ObjectReader reader(json, path);
  reader.Real("temperature", std::numeric_limits<double>::min(), std::numeric_limits<double>::max(),
              abstention.temperature);
  reader.Real("threshold", 0, 1, abstention.threshold);
  reader.Integer("texts", 1, kMaxCount, abstention.texts);
  reader.Real("answered", 0, 1, abstention.answered);
  reader.Real("accuracy_of_answered", 0, 1, abstention.accuracy_of_answered);
  return reader.Finish();
}

absl::Status ReadBlocks(const Json& json, const std::string& path, Blocks& blocks) {
  ObjectReader reader(json, path);
  ReadName(reader, "kind", ParseBlocksKind, blocks.kind);
  ReadName(reader, "places", ParseBlocksPlaces, blocks.places);
  reader.Integer("width", 0, kMaxBlocksWidth, blocks.width);
  reader.Real("scale", 0, std::numeric_limits<double>::max(), blocks.scale);
  reader.TextList("earlier", blocks.earlier);
  return reader.Finish();
}

absl::Status ReadTask(const Json& json, const std::string& path, ManifestTask& task) {
  ObjectReader reader(json, path);
  reader.Text("name", task.name);
  ReadName(reader, "kind", ParseTaskKind, task.kind);
  reader.TextList("labels", task.labels);
  reader.Text("head_file", task.head_file);
  reader.Text("head_prefix", task.head_prefix);
  ReadName(reader, "pooling", ParsePooling, task.pooling);
  if (const Json* expansion = reader.Optional("expansion"); expansion != nullptr)
    reader.Fail(ReadExpansion(*expansion, path + ".expansion", task.expansion));
  if (const Json* blocks = reader.Optional("blocks"); blocks != nullptr)
    reader.Fail(ReadBlocks(*blocks, path + ".blocks", task.blocks));
  reader.Text("dataset", task.dataset);
  reader.Text("dataset_digest", task.dataset_digest);
  reader.Integer("training_examples", 0, kMaxCount, task.training_examples);
  if (const Json* abstention = reader.Optional("abstention"); abstention != nullptr)
    reader.Fail(ReadAbstention(*abstention, path + ".abstention", task.abstention.emplace()));
  if (const Json* pairs = reader.Optional("text_pairs"); pairs != nullptr) {
    if (*pairs != Json(true)) reader.Fail(InvalidField(path + ".text_pairs", "must be true, or left out"));
    task.text_pairs = true;
  }
  if (reader.Optional("chunk_tokens") != nullptr)
    reader.Integer("chunk_tokens", kLeastChunkTokens, kMostChunkTokens, task.chunk_tokens);
  if (const Json* scheme = reader.Optional("tag_scheme"); scheme != nullptr) {
    if (*scheme == Json("iob1") || *scheme == Json("lenient")) {
      task.tag_scheme = scheme->get<std::string>();
    } else {
      reader.Fail(InvalidField(path + ".tag_scheme", "must be iob1 or lenient, or left out"));
    }
  }
  return reader.Finish();
}

absl::Status ReadConsolidation(const Json& json, const std::string& path, int64_t format,
                               ManifestConsolidation& consolidation) {
  ObjectReader reader(json, path);
  reader.Text("task", consolidation.task);
  reader.Text("fisher", consolidation.fisher);
  reader.Integer("samples", 1, kMaxCount, consolidation.samples);
  reader.Integer("training_examples", 1, kMaxCount, consolidation.training_examples);
  if (format == 1) {
    double gamma = 0;  // written as 1 and never used
    reader.Real("gamma", 0, 1, gamma);
  }
  reader.Text("file", consolidation.file);
  return reader.Finish();
}

absl::Status ReadMatrix(const Json& json, const std::string& path, MetricsMatrix& matrix) {
  ObjectReader reader(json, path);
  reader.Text("metric", matrix.metric);
  reader.TextList("after", matrix.after);
  reader.TextList("tasks", matrix.tasks);
  const Json* rows = reader.Required("values");
  if (rows != nullptr && !rows->is_array()) reader.Fail("values", "must be a list of lists of numbers");
  if (!reader.ok()) return reader.Finish();
  for (const Json& row : *rows) {
    if (!row.is_array()) return InvalidField(path + ".values", "must be a list of lists of numbers");
    std::vector<std::optional<double>>& values = matrix.values.emplace_back();
    for (const Json& value : row) {
      if (!value.is_null() && !value.is_number())
        return InvalidField(path + ".values", "must hold numbers, or null for what was not measured");
      values.push_back(value.is_null() ? std::nullopt : std::optional<double>(value.get<double>()));
    }
  }
  return reader.Finish();
}

absl::Status ReadMemory(const Json& json, const std::string& path, ManifestMemory& memory) {
  ObjectReader reader(json, path);
  reader.Text("strategy", memory.strategy);
  reader.Text("file", memory.file);
  reader.Integer("rows", 0, kMaxCount, memory.rows);
  if (reader.Optional("tasks") != nullptr) reader.UnsignedMap("tasks", memory.tasks);
  if (reader.Optional("kept_since") != nullptr) reader.TextMap("kept_since", memory.kept_since);
  return reader.Finish();
}

absl::Status ReadStrategy(const Json& json, VersionManifest& manifest) {
  ObjectReader reader(json, "strategy");
  reader.Text("name", manifest.strategy);
  reader.TextMap("options", manifest.strategy_options);
  return reader.Finish();
}

absl::Status ReadTraining(const Json& json, VersionManifest& manifest) {
  ObjectReader reader(json, "training");
  reader.TextMap("options", manifest.training_options);
  return reader.Finish();
}

// Format 1 wrote the training's options under the strategy, and lambda, gamma and penalty_mode for each of the five
// strategies of its time: naive had none of them, and gamma was online_ewc's.
absl::Status ReadStrategyOfFormat1(const Json& json, VersionManifest& manifest) {
  ObjectReader reader(json, "strategy");
  std::map<std::string, std::string>& training = manifest.training_options;
  std::map<std::string, std::string> penalty;
  std::string units;
  reader.Text("name", manifest.strategy);
  reader.TextMap("options", training);
  if (const Json* lambda = reader.Optional("lambda"); lambda != nullptr && !lambda->is_null()) {
    double value = 0;
    reader.Real("lambda", 0, std::numeric_limits<double>::max(), value);
    penalty["lambda"] = absl::StrFormat("%.17g", value);
  }
  reader.Text("lambda_units", units);
  if (reader.ok() && units != "bayes") reader.Fail("lambda_units", "must be bayes");
  for (const char* option : {"gamma", "penalty_mode"}) {
    if (auto found = training.extract(option)) penalty.insert(std::move(found));
  }
  if (manifest.strategy != "online_ewc") penalty.erase("gamma");
  if (manifest.strategy != "naive") manifest.strategy_options = std::move(penalty);
  return reader.Finish();
}

Ordered TaskJson(const ManifestTask& task) {
  Ordered json = {{"name", task.name},
                  {"kind", TaskKindName(task.kind)},
                  {"labels", task.labels},
                  {"head_file", task.head_file},
                  {"head_prefix", task.head_prefix},
                  {"pooling", PoolingName(task.pooling)},
                  {"dataset", task.dataset},
                  {"dataset_digest", task.dataset_digest},
                  {"training_examples", task.training_examples}};
  if (const Expansion& e = task.expansion; e.kind != ExpansionKind::kNone)
    json["expansion"] = {{"kind", ExpansionKindName(e.kind)}, {"width", e.width}, {"seed", e.seed}};
  if (task.abstention) {
    json["abstention"] = {{"temperature", task.abstention->temperature},
                          {"threshold", task.abstention->threshold},
                          {"texts", task.abstention->texts},
                          {"answered", task.abstention->answered},
                          {"accuracy_of_answered", task.abstention->accuracy_of_answered}};
  }
  if (task.text_pairs) json["text_pairs"] = true;
  if (task.chunk_tokens != 0) json["chunk_tokens"] = task.chunk_tokens;
  if (!task.tag_scheme.empty()) json["tag_scheme"] = task.tag_scheme;
  if (const Blocks& b = task.blocks; b.kind != BlocksKind::kNone) {
    json["blocks"] = {{"kind", BlocksKindName(b.kind)},
                      {"places", BlocksPlacesName(b.places)},
                      {"width", b.width},
                      {"scale", b.scale},
                      {"earlier", b.earlier}};
  }
  return json;
}

Ordered ConsolidationJson(const ManifestConsolidation& c) {
  return {{"task", c.task},
          {"fisher", c.fisher},
          {"samples", c.samples},
          {"training_examples", c.training_examples},
          {"file", c.file}};
}

Ordered MemoryJson(const ManifestMemory& memory) {
  Ordered json = {{"strategy", memory.strategy}, {"file", memory.file}, {"rows", memory.rows}};
  if (!memory.tasks.empty()) json["tasks"] = memory.tasks;
  if (!memory.kept_since.empty()) json["kept_since"] = memory.kept_since;
  return json;
}

Ordered MatrixJson(const MetricsMatrix& matrix) {
  Ordered values = Ordered::array();
  for (const auto& row : matrix.values) {
    Ordered cells = Ordered::array();
    for (const std::optional<double>& value : row) cells.push_back(value ? Ordered(*value) : Ordered(nullptr));
    values.push_back(std::move(cells));
  }
  Ordered json = Ordered::object();
  json["metric"] = matrix.metric;
  json["after"] = matrix.after;
  json["tasks"] = matrix.tasks;
  json["values"] = std::move(values);
  return json;
}

template <typename T, typename ToJson>
Ordered ListJson(const std::vector<T>& list, const ToJson& to_json) {
  Ordered json = Ordered::array();
  for (const T& item : list) json.push_back(to_json(item));
  return json;
}

absl::Status CheckFiles(const VersionManifest& manifest) {
  if (manifest.files.size() > kMaxJsonKeys)
    return InvalidField("files", absl::StrCat("a version holds at most ", kMaxJsonKeys, " files"));
  for (const char* required : {kConfigFile, kModelFile}) {
    if (!manifest.files.contains(required)) return InvalidField("files", absl::StrCat("does not list ", required));
  }
  for (const auto& [name, digest] : manifest.files) {
    if (!IsSafeRelativePath(name) || name == kManifestFile)
      return InvalidField("files", absl::StrCat(Quoted(name), " is no name of a version's file"));
    ENGRAM_RETURN_IF_ERROR(CheckDigest(absl::StrCat("files.", Quoted(name)), digest, /*may_be_empty=*/false));
  }
  return absl::OkStatus();
}

}  // namespace

std::string MemoryFile(std::string_view strategy) {
  return absl::StrCat("memory/", AbslView(strategy), ".safetensors");
}

const ManifestTask* FindManifestTask(const VersionManifest& manifest, std::string_view name) {
  const auto found = std::find_if(manifest.tasks.begin(), manifest.tasks.end(),
                                  [name](const ManifestTask& task) { return task.name == name; });
  return found == manifest.tasks.end() ? nullptr : &*found;
}

absl::Status CheckManifest(const VersionManifest& manifest) {
  if (manifest.model.empty()) return InvalidField("model", "must not be empty");
  if (manifest.version < 1 || manifest.version > kMaxCount) return InvalidField("version", "must be at least 1");
  if (manifest.parent && (*manifest.parent < 1 || *manifest.parent >= manifest.version)) {
    return InvalidField("parent", absl::StrCat("must be an earlier version than ", manifest.version));
  }
  if (manifest.strategy.empty()) return InvalidField("strategy.name", "must not be empty");
  ENGRAM_RETURN_IF_ERROR(CheckDigest("base_model_digest", manifest.base_model_digest, /*may_be_empty=*/true));
  ENGRAM_RETURN_IF_ERROR(CheckFiles(manifest));
  for (const size_t entries : {manifest.tasks.size(), manifest.consolidations.size(), manifest.memory.size(),
                               manifest.metrics.size(), manifest.measured.size()}) {
    if (entries > kMaxEntries)
      return InvalidField("tasks", absl::StrCat("a version holds at most ", kMaxEntries, " tasks"));
  }
  std::set<std::string> tasks;
  for (size_t i = 0; i < manifest.tasks.size(); ++i) {
    const std::string field = absl::StrCat("tasks[", i, "]");
    ENGRAM_RETURN_IF_ERROR(CheckTask(manifest.tasks[i], field, manifest));
    if (!tasks.insert(manifest.tasks[i].name).second) return InvalidField(field + ".name", "occurs twice");
  }
  if (!manifest.default_task.empty() && !tasks.contains(manifest.default_task)) {
    return InvalidField("default_task", absl::StrCat(Quoted(manifest.default_task), " is no task of this version"));
  }
  for (size_t i = 0; i < manifest.consolidations.size(); ++i) {
    ENGRAM_RETURN_IF_ERROR(
        CheckConsolidation(manifest.consolidations[i], absl::StrCat("consolidations[", i, "]"), tasks, manifest));
  }
  std::set<std::string> memories;
  for (size_t i = 0; i < manifest.memory.size(); ++i) {
    const std::string field = absl::StrCat("memory[", i, "]");
    ENGRAM_RETURN_IF_ERROR(CheckMemory(manifest.memory[i], field, manifest));
    if (!memories.insert(manifest.memory[i].strategy).second) return InvalidField(field + ".strategy", "occurs twice");
  }
  for (size_t i = 0; i < manifest.measured.size(); ++i)
    ENGRAM_RETURN_IF_ERROR(CheckMeasurement(manifest.measured[i], absl::StrCat("measured[", i, "]")));
  for (size_t i = 0; i < manifest.metrics.size(); ++i) {
    ENGRAM_RETURN_IF_ERROR(CheckMatrix(manifest.metrics[i], absl::StrCat("metrics[", i, "]")));
  }
  return absl::OkStatus();
}

absl::StatusOr<VersionManifest> ParseManifest(std::string_view text) {
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(text, kManifestFile));
  VersionManifest manifest;
  ObjectReader reader(json, "");
  int64_t format = 0;
  reader.Integer("format", kOldestManifestFormat, kManifestFormat, format);
  reader.Text("model", manifest.model);
  reader.Integer("version", 1, kMaxCount, manifest.version);
  if (const Json* parent = reader.Optional("parent"); parent != nullptr && !parent->is_null()) {
    reader.Integer("parent", 1, kMaxCount, manifest.parent.emplace());
  }
  reader.Text("created", manifest.created);
  reader.Text("default_task", manifest.default_task);
  ReadList(reader, "tasks", kMaxEntries, manifest.tasks, ReadTask);
  if (const Json* strategy = reader.Required("strategy"); strategy != nullptr)
    reader.Fail(format == 1 ? ReadStrategyOfFormat1(*strategy, manifest) : ReadStrategy(*strategy, manifest));
  if (format > 1) {
    if (const Json* training = reader.Required("training"); training != nullptr)
      reader.Fail(ReadTraining(*training, manifest));
    ReadList(reader, "memory", kMaxEntries, manifest.memory, ReadMemory);
  }
  ReadList(reader, "consolidations", kMaxEntries, manifest.consolidations,
           [format](const Json& item, const std::string& path, ManifestConsolidation& out) {
             return ReadConsolidation(item, path, format, out);
           });
  ReadList(reader, "metrics", kMaxEntries, manifest.metrics, ReadMatrix);
  if (const Json* measured = reader.Optional("measured"); measured != nullptr && reader.ok())
    ReadList(reader, "measured", kMaxEntries, manifest.measured, ReadMeasurement);
  reader.UnsignedMap("seeds", manifest.seeds);
  reader.Text("base_model_digest", manifest.base_model_digest);
  reader.TextMap("software", manifest.software);
  reader.TextMap("files", manifest.files);
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  ENGRAM_RETURN_IF_ERROR(CheckManifest(manifest));
  return manifest;
}

absl::StatusOr<std::string> RenderManifest(const VersionManifest& manifest) {
  ENGRAM_RETURN_IF_ERROR(CheckManifest(manifest));
  Ordered strategy = Ordered::object();
  strategy["name"] = manifest.strategy;
  strategy["options"] = manifest.strategy_options;
  Ordered training = Ordered::object();
  training["options"] = manifest.training_options;
  Ordered json = Ordered::object();
  json["format"] = kManifestFormat;
  json["model"] = manifest.model;
  json["version"] = manifest.version;
  json["parent"] = manifest.parent ? Ordered(*manifest.parent) : Ordered(nullptr);
  json["created"] = manifest.created;
  json["default_task"] = manifest.default_task;
  json["tasks"] = ListJson(manifest.tasks, TaskJson);
  json["strategy"] = std::move(strategy);
  json["training"] = std::move(training);
  json["consolidations"] = ListJson(manifest.consolidations, ConsolidationJson);
  json["memory"] = ListJson(manifest.memory, MemoryJson);
  json["metrics"] = ListJson(manifest.metrics, MatrixJson);
  if (!manifest.measured.empty()) json["measured"] = ListJson(manifest.measured, MeasurementJson);
  json["seeds"] = manifest.seeds;
  json["base_model_digest"] = manifest.base_model_digest;
  json["software"] = manifest.software;
  json["files"] = manifest.files;
  return RenderJson(json, kManifestFile);
}

absl::StatusOr<VersionManifest> ReadManifest(const std::string& directory) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadFile(absl::StrCat(directory, "/", kManifestFile), kMaxJsonBytes));
  return ParseManifest(text);
}

}  // namespace engram::checkpoint
