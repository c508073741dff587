#include "client/encode_text.h"

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "client/encode_file.h"
#include "client/output.h"

namespace engram::client {
namespace {

using engram::v1::InferenceService;
using engram::v1::LongContextEncodeRequest;
using engram::v1::LongContextEncodeResponse;
using engram::v1::LongContextPlan;

template <typename Enum>
using Names = std::map<std::string, Enum>;

const Names<engram::v1::LongContextMode> kModes = {
    {"model", engram::v1::LONG_CONTEXT_MODE_MODEL},
    {"chunk", engram::v1::LONG_CONTEXT_MODE_CHUNK},
    {"late", engram::v1::LONG_CONTEXT_MODE_LATE},
    {"full", engram::v1::LONG_CONTEXT_MODE_FULL},
    {"sliding", engram::v1::LONG_CONTEXT_MODE_SLIDING},
    {"max", engram::v1::LONG_CONTEXT_MODE_MAX},
    {"token_mean", engram::v1::LONG_CONTEXT_MODE_TOKEN_MEAN},
};
const Names<engram::v1::LongContextAggregation> kAggregations = {
    {"mean", engram::v1::LONG_CONTEXT_AGGREGATION_MEAN},
    {"token_mean", engram::v1::LONG_CONTEXT_AGGREGATION_TOKEN_MEAN},
    {"max", engram::v1::LONG_CONTEXT_AGGREGATION_MAX},
    {"attention", engram::v1::LONG_CONTEXT_AGGREGATION_ATTENTION},
};
const Names<engram::v1::LongContextPooling> kPoolings = {
    {"mean", engram::v1::LONG_CONTEXT_POOLING_MEAN},
    {"cls", engram::v1::LONG_CONTEXT_POOLING_CLS},
    {"last", engram::v1::LONG_CONTEXT_POOLING_LAST},
    {"max", engram::v1::LONG_CONTEXT_POOLING_MAX},
};
const Names<engram::v1::PositionExtension> kPositions = {
    {"hierarchical", engram::v1::POSITION_EXTENSION_HIERARCHICAL},
    {"grouped", engram::v1::POSITION_EXTENSION_GROUPED},
    {"tiled", engram::v1::POSITION_EXTENSION_TILED},
    {"interpolated", engram::v1::POSITION_EXTENSION_INTERPOLATED},
    {"linear", engram::v1::POSITION_EXTENSION_LINEAR},
    {"ntk_aware", engram::v1::POSITION_EXTENSION_NTK_AWARE},
    {"dynamic", engram::v1::POSITION_EXTENSION_DYNAMIC},
    {"yarn", engram::v1::POSITION_EXTENSION_YARN},
    {"dynamic_yarn", engram::v1::POSITION_EXTENSION_DYNAMIC_YARN},
};

template <typename Enum>
CLI::IsMember MemberOf(const Names<Enum>& names) {
  std::vector<std::string> all;
  for (const auto& [name, value] : names) all.push_back(name);
  return CLI::IsMember(all);
}

// The name of a value; "trained" for one without.
template <typename Enum>
std::string NameOf(const Names<Enum>& names, Enum value) {
  for (const auto& [name, known] : names) {
    if (known == value) return name;
  }
  return "trained";
}

// The value of a name that the parser has checked; the enum's first one for none.
template <typename Enum>
Enum ValueOf(const Names<Enum>& names, const std::string& name) {
  const auto found = names.find(name);
  return found == names.end() ? Enum() : found->second;
}

std::vector<std::string> PlanRow(const LongContextPlan& plan) {
  return {std::to_string(plan.tokens()),
          std::to_string(plan.tokens_encoded()),
          std::to_string(plan.windows()),
          FormatSeconds(plan.seconds()),
          FormatBytes(plan.bytes()),
          plan.free_bytes() == 0 ? "-" : FormatBytes(plan.free_bytes()),
          plan.largest_tokens() == 0 ? "-" : std::to_string(plan.largest_tokens())};
}

void PrintPlans(const std::vector<LongContextEncodeResponse>& responses) {
  const bool shape = responses.front().plan().weight_bytes() != 0;
  std::vector<std::vector<std::string>> rows = {
      {"tokens", "read by the encoder", "passes", "time", "memory", "free", "largest that fits"}};
  if (shape) rows[0].insert(rows[0].end(), {"weights", "attention alone", "positions"});
  for (const LongContextEncodeResponse& response : responses) {
    rows.push_back(PlanRow(response.plan()));
    if (!shape) continue;
    char positions[96];
    std::snprintf(positions, sizeof positions, "%s x %.4g%s", NameOf(kPositions, response.positions()).c_str(),
                  response.position_factor(), response.out_of_trained_range() ? ", beyond the training" : "");
    rows.back().insert(rows.back().end(), {FormatBytes(response.plan().weight_bytes()),
                                           FormatSeconds(response.plan().attention_seconds()), positions});
  }
  std::printf("%s", Table(rows).c_str());
}

// Redraws one line on a terminal; draws nothing elsewhere.
class EncodeProgress {
 public:
  ~EncodeProgress() { Clear(); }
  void Show(const engram::v1::LongContextProgress& progress) {
    if (!terminal_ || progress.total() == 0) return;
    const double share = static_cast<double>(progress.done()) / static_cast<double>(progress.total());
    const std::string left = share > 0 ? FormatSeconds(progress.seconds() * (1 - share) / share) + " left" : "";
    std::fprintf(stderr, "\r\033[Kencoding  %3.0f%%  %s", 100 * share, left.c_str());
    shown_ = true;
  }
  void Clear() {
    if (shown_) std::fprintf(stderr, "\r\033[K");
    shown_ = false;
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  bool shown_ = false;
};

// The final answer of a stream, or why there is none.
grpc::Status Await(Session& session, const engram::v1::StreamLongContextEncodeRequest& call,
                   LongContextEncodeResponse& response) {
  const auto context = session.NewContext();
  const auto reader = session.Stub<InferenceService>()->StreamLongContextEncode(context.get(), call);
  engram::v1::StreamLongContextEncodeResponse message;
  EncodeProgress progress;
  while (reader->Read(&message)) {
    if (message.has_progress()) progress.Show(message.progress());
    if (message.has_result()) response = std::move(*message.mutable_result());
  }
  progress.Clear();
  return reader->Finish();
}

void PrintSummary(const LongContextEncodeResponse& response, const std::string& out) {
  std::fprintf(stderr, "%lld token%s in %d chunk%s -> a vector of %lld numbers in %.2f s%s%s\n",
               static_cast<long long>(response.tokens()), response.tokens() == 1 ? "" : "s", response.chunks_size(),
               response.chunks_size() == 1 ? "" : "s", static_cast<long long>(response.vector().shape(0)),
               response.timings().compute_seconds(), out.empty() ? "" : ", written to ", out.c_str());
  if (response.out_of_trained_range()) {
    std::fprintf(stderr, "warning: %.4g positions for each one that the model was trained with: expect less of it\n",
                 response.position_factor());
  }
}

void PrintVector(const LongContextEncodeResponse& response) {
  std::vector<float> numbers(response.vector().data().size() / sizeof(float));
  std::memcpy(numbers.data(), response.vector().data().data(), numbers.size() * sizeof(float));
  for (size_t i = 0; i < numbers.size(); ++i) std::printf("%s%s", i == 0 ? "" : " ", ShortestFloat(numbers[i]).c_str());
  std::printf("\n");
}

void FillRequest(const LongEncodeArguments& arguments, LongContextEncodeRequest& request) {
  request.set_mode(ValueOf(kModes, arguments.mode));
  request.set_aggregation(ValueOf(kAggregations, arguments.aggregation));
  request.set_pooling(ValueOf(kPoolings, arguments.pooling));
  request.set_positions(ValueOf(kPositions, arguments.positions));
  request.set_position_factor(arguments.position_factor);
  request.set_query(arguments.query);
  if (arguments.temperature != 0) request.set_temperature(arguments.temperature);
  request.set_chunk_tokens(arguments.chunk_tokens);
  request.set_window_tokens(arguments.window_tokens);
  request.set_overlap(arguments.overlap);
  request.set_chunk_vectors(!arguments.chunks_out.empty());
  request.set_validate_only(arguments.plan);
}

}  // namespace

bool LongEncodeArguments::any() const {
  return !mode.empty() || !aggregation.empty() || !pooling.empty() || !positions.empty() || !query.empty() ||
         !chunks_out.empty() || chunk_tokens != 0 || overlap != 0 || window_tokens != 0 || !plan_tokens.empty() ||
         !config.empty() || !device.empty() || temperature != 0 || position_factor != 0 || plan;
}

void AddLongEncodeOptions(CLI::App& verb, LongEncodeArguments& a) {
  verb.add_option("--mode", a.mode, "of one text: how it is read; default: model, by its own modules")
      ->check(MemberOf(kModes));
  verb.add_option("--aggregation", a.aggregation, "with chunk and late: from chunks' vectors to the text's")
      ->check(MemberOf(kAggregations));
  verb.add_option("--pooling", a.pooling, "from a chunk's tokens to its vector")->check(MemberOf(kPoolings));
  verb.add_option("--positions", a.positions, "with full and sliding: positions beyond the trained ones")
      ->check(MemberOf(kPositions));
  verb.add_option("--position-factor", a.position_factor,
                  "with the positions linear, ntk_aware, dynamic and yarn; default: as the text's length asks for");
  verb.add_option("--query", a.query, "with --aggregation attention: the text that weighs the chunks");
  verb.add_option("--temperature", a.temperature, "with --aggregation attention; default: 0.05");
  verb.add_option("--chunk-tokens", a.chunk_tokens, "tokens per chunk; default: the model's longest");
  verb.add_option("--window-tokens", a.window_tokens,
                  "with late: tokens of a window; with sliding: tokens that a token sees on each side");
  verb.add_option("--overlap", a.overlap, "tokens that neighbouring chunks share")->capture_default_str();
  verb.add_option("--chunks-out", a.chunks_out, "write the chunks' vectors as .npy");
  verb.add_flag("--plan", a.plan, "say what it would take, in time and memory, and do nothing");
  verb.add_option("--plan-tokens", a.plan_tokens, "with --plan and no text: for texts of so many tokens");
  verb.add_option("--config", a.config, "with --plan and no MODEL: for a model of the shape that this config.json says")
      ->check(CLI::ExistingFile);
  verb.add_option("--device", a.device, "with --config: h100, by published rates; default: this machine")
      ->check(CLI::IsMember({"h100"}));
}

int PlanEncodes(Session& session, LongContextEncodeRequest request, const LongEncodeArguments& arguments) {
  FillRequest(arguments, request);
  if (!arguments.config.empty()) {
    std::ifstream file(arguments.config, std::ios::binary);
    request.set_config_json({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
    if (request.config_json().empty() || !IsUtf8(request.config_json()))
      return Session::Usage(arguments.config + " is no config.json");
    request.set_device(arguments.device);
    if (arguments.mode.empty()) request.set_mode(engram::v1::LONG_CONTEXT_MODE_FULL);
  }
  std::vector<LongContextEncodeResponse> responses;
  for (const int64_t tokens : arguments.plan_tokens) {
    engram::v1::StreamLongContextEncodeRequest call;
    *call.mutable_encode() = request;
    call.mutable_encode()->set_plan_tokens(tokens);
    if (const grpc::Status status = Await(session, call, responses.emplace_back()); !status.ok())
      return session.Fail(status);
  }
  if (!session.json) {
    PrintPlans(responses);
    return kOk;
  }
  for (const LongContextEncodeResponse& response : responses) session.Print(response, [] {});
  return kOk;
}

int EncodeText(Session& session, LongContextEncodeRequest request, const LongEncodeArguments& arguments,
               const std::string& out) {
  FillRequest(arguments, request);
  engram::v1::StreamLongContextEncodeRequest call;
  *call.mutable_encode() = std::move(request);
  LongContextEncodeResponse response;
  if (const grpc::Status status = Await(session, call, response); !status.ok()) return session.Fail(status);
  if (arguments.plan) return session.Print(response, [&] { PrintPlans({response}); });
  const auto write = [](const std::string& path, const engram::v1::Tensor& tensor) {
    return path.empty() || WriteWhole(path, NpyBytes({tensor.shape().begin(), tensor.shape().end()}, tensor.data()));
  };
  if (!write(out, response.vector()) || !write(arguments.chunks_out, response.chunk_vectors())) return kFailed;
  return session.Print(response, [&] {
    if (out.empty()) PrintVector(response);
    PrintSummary(response, out);
  });
}

}  // namespace engram::client
