#include "client/encode_text.h"

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
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
};

template <typename Enum>
CLI::IsMember MemberOf(const Names<Enum>& names) {
  std::vector<std::string> all;
  for (const auto& [name, value] : names) all.push_back(name);
  return CLI::IsMember(all);
}

// The value of a name that the parser has checked; the enum's first one for none.
template <typename Enum>
Enum ValueOf(const Names<Enum>& names, const std::string& name) {
  const auto found = names.find(name);
  return found == names.end() ? Enum() : found->second;
}

void PrintPlan(const LongContextPlan& plan) {
  const std::string largest = std::to_string(plan.largest_tokens());
  std::printf("%s", Table({{"tokens", "read by the encoder", "passes", "time", "memory", "free", "largest that fits"},
                           {std::to_string(plan.tokens()), std::to_string(plan.tokens_encoded()),
                            std::to_string(plan.windows()), FormatSeconds(plan.seconds()), FormatBytes(plan.bytes()),
                            plan.free_bytes() == 0 ? "-" : FormatBytes(plan.free_bytes()),
                            plan.largest_tokens() == 0 ? "-" : largest}})
                        .c_str());
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

void PrintSummary(const LongContextEncodeResponse& response, const std::string& out) {
  std::fprintf(stderr, "%lld tokens in %d chunks -> a vector of %lld numbers in %.2f s%s%s\n",
               static_cast<long long>(response.tokens()), response.chunks_size(),
               static_cast<long long>(response.vector().shape(0)), response.timings().compute_seconds(),
               out.empty() ? "" : ", written to ", out.c_str());
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

}  // namespace

bool LongEncodeArguments::any() const {
  return !mode.empty() || !aggregation.empty() || !pooling.empty() || !positions.empty() || !query.empty() ||
         !chunks_out.empty() || chunk_tokens != 0 || overlap != 0 || window_tokens != 0 || plan_tokens != 0 ||
         temperature != 0 || plan;
}

void AddLongEncodeOptions(CLI::App& verb, LongEncodeArguments& a) {
  verb.add_option("--mode", a.mode, "of one text: how it is read; default: model, by its own modules")
      ->check(MemberOf(kModes));
  verb.add_option("--aggregation", a.aggregation, "with chunk and late: from chunks' vectors to the text's")
      ->check(MemberOf(kAggregations));
  verb.add_option("--pooling", a.pooling, "from a chunk's tokens to its vector")->check(MemberOf(kPoolings));
  verb.add_option("--positions", a.positions, "with full and sliding: positions beyond the trained ones")
      ->check(MemberOf(kPositions));
  verb.add_option("--query", a.query, "with --aggregation attention: the text that weighs the chunks");
  verb.add_option("--temperature", a.temperature, "with --aggregation attention; default: 0.05");
  verb.add_option("--chunk-tokens", a.chunk_tokens, "tokens per chunk; default: the model's longest");
  verb.add_option("--window-tokens", a.window_tokens,
                  "with late: tokens of a window; with sliding: tokens that a token sees on each side");
  verb.add_option("--overlap", a.overlap, "tokens that neighbouring chunks share")->capture_default_str();
  verb.add_option("--chunks-out", a.chunks_out, "write the chunks' vectors as .npy");
  verb.add_flag("--plan", a.plan, "say what it would take, in time and memory, and do nothing");
  verb.add_option("--plan-tokens", a.plan_tokens, "with --plan and no text: for a text of so many tokens");
}

int EncodeText(Session& session, LongContextEncodeRequest request, const LongEncodeArguments& arguments,
               const std::string& out) {
  request.set_mode(ValueOf(kModes, arguments.mode));
  request.set_aggregation(ValueOf(kAggregations, arguments.aggregation));
  request.set_pooling(ValueOf(kPoolings, arguments.pooling));
  request.set_positions(ValueOf(kPositions, arguments.positions));
  request.set_query(arguments.query);
  if (arguments.temperature != 0) request.set_temperature(arguments.temperature);
  request.set_chunk_tokens(arguments.chunk_tokens);
  request.set_window_tokens(arguments.window_tokens);
  request.set_overlap(arguments.overlap);
  request.set_chunk_vectors(!arguments.chunks_out.empty());
  request.set_validate_only(arguments.plan);
  request.set_plan_tokens(arguments.plan_tokens);

  engram::v1::StreamLongContextEncodeRequest call;
  *call.mutable_encode() = std::move(request);
  const auto context = session.NewContext();
  const auto reader = session.Stub<InferenceService>()->StreamLongContextEncode(context.get(), call);
  engram::v1::StreamLongContextEncodeResponse message;
  LongContextEncodeResponse response;
  EncodeProgress progress;
  while (reader->Read(&message)) {
    if (message.has_progress()) progress.Show(message.progress());
    if (message.has_result()) response = std::move(*message.mutable_result());
  }
  progress.Clear();
  if (const grpc::Status status = reader->Finish(); !status.ok()) return session.Fail(status);
  if (arguments.plan) return session.Print(response, [&] { PrintPlan(response.plan()); });
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
