#include "core/longcontext/model_vector.h"

#include <algorithm>
#include <string>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "c10/core/InferenceMode.h"
#include "core/base/utf8.h"

namespace engram::longcontext {
namespace {

using Ids = std::vector<int32_t>;

absl::StatusOr<tokenize::Encoding> Content(const tokenize::Tokenizer& tokenizer, std::string_view text) {
  tokenize::EncodeOptions plain;
  plain.add_special_tokens = false;
  return tokenizer.Encode(text, plain);
}

// One text of at most `window` tokens, read at once with its prompt as one string: as sentence-transformers reads it, whose prompt's length is
// that of the prompt alone with the special tokens before it.
ModelPart WholePart(const tokenize::Tokenizer& tokenizer, std::span<const int32_t> ids, int64_t prompt_ids,
                    bool has_prompt) {
  ModelPart part;
  part.sequence.ids = tokenizer.frame().Around(ids);
  part.prompt_tokens = has_prompt ? prompt_ids + static_cast<int64_t>(tokenizer.frame().before.size()) : 0;
  return part;
}

Chunk DescribePart(const tokenize::Encoding& content, int64_t tokens) {
  return tokens == 0 ? Chunk() : Describe(content, {0, tokens, 0, tokens});
}

// The vectors of the parts [first, last), encoded as one batch.
absl::Status EncodeParts(const nn::Model& model, const nn::SentenceVectors& vectors, std::span<const ModelPart> parts,
                         std::vector<at::Tensor>& out) {
  std::vector<const nn::Sequence*> sequences;
  for (const ModelPart& part : parts) sequences.push_back(&part.sequence);
  ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch batch, nn::Pack(sequences, model.parameters().device()));
  const at::Tensor hidden = model.Encode(batch, std::nullopt, nullptr).cpu();
  for (size_t i = 0; i < parts.size(); ++i) {
    const at::Tensor rows = hidden.narrow(0, batch.host_cu_seqlens[i], batch.length(static_cast<int64_t>(i)));
    out.push_back(vectors.Apply(rows, parts[i].prompt_tokens));
  }
  return absl::OkStatus();
}

absl::Status CheckResult(int64_t parts, int64_t width, const EncodeOptions& options) {
  const int64_t one = static_cast<int64_t>(sizeof(Chunk)) + width * static_cast<int64_t>(sizeof(double));
  if (parts <= options.max_result_bytes / one) return absl::OkStatus();
  return InvalidField("chunk_tokens",
                      absl::StrCat("makes ", parts, " chunks of ", one, " bytes each; at most ",
                                   options.max_result_bytes / one, " are taken: ask for longer chunks"));
}

std::vector<float> Floats(const at::Tensor& vector) {
  const at::Tensor floats = vector.to(at::kFloat).contiguous();
  return {floats.const_data_ptr<float>(), floats.const_data_ptr<float>() + floats.numel()};
}

}  // namespace

absl::StatusOr<std::string_view> FindPrompt(const checkpoint::SentenceModules& modules, std::string_view name) {
  const std::string wanted(name.empty() ? std::string_view(modules.default_prompt) : name);
  if (wanted.empty()) return std::string_view();
  const auto found = modules.prompts.find(wanted);
  if (found != modules.prompts.end()) return std::string_view(found->second);
  std::vector<std::string> names;
  for (const auto& [known, text] : modules.prompts) names.push_back(known);
  return InvalidField("prompt_name", absl::StrCat("this version has no prompt \"", AbslView(CutUtf8(name, 64)),
                                                  "\"; it has ", names.empty() ? "none" : absl::StrJoin(names, ", ")));
}

absl::StatusOr<ModelPlan> PlanModelVector(const checkpoint::SentenceModules& modules,
                                          const tokenize::Tokenizer& tokenizer, std::string_view text,
                                          const ModelPlanOptions& options) {
  const int64_t window = options.chunk_tokens == 0 ? modules.max_tokens : options.chunk_tokens;
  if (options.chunk_tokens != 0 && (window < 8 || window > modules.max_tokens)) {
    return InvalidField("chunk_tokens",
                        absl::StrCat("is ", window, "; it must be 0 or lie in [8, ", modules.max_tokens, "]"));
  }
  const int64_t special = tokenizer.frame().size();
  ENGRAM_ASSIGN_OR_RETURN(const tokenize::Encoding content, Content(tokenizer, text));
  ENGRAM_ASSIGN_OR_RETURN(const tokenize::Encoding prompt, Content(tokenizer, options.prompt));
  const auto prompt_ids = static_cast<int64_t>(prompt.ids.size());
  const bool has_prompt = !options.prompt.empty();
  const int64_t room = window - special - prompt_ids;
  if (room < 1) {
    return InvalidField(has_prompt ? "prompt_name" : "chunk_tokens",
                        absl::StrCat("leaves no room for the text: ", window, " tokens are read at once, of which ",
                                     special, " are special ones and ", prompt_ids, " the prompt's"));
  }
  if (options.overlap < 0 || options.overlap > room / 2)
    return InvalidField("overlap", absl::StrCat("is ", options.overlap, "; it must lie in [0, ", room / 2, "]"));
  // Prompt and text as one string: its tokens may differ from those of the two apart.
  Ids whole = content.ids;
  if (has_prompt) {
    ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding joined,
                            Content(tokenizer, absl::StrCat(AbslView(options.prompt), AbslView(text))));
    whole = std::move(joined.ids);
  }
  ModelPlan plan;
  plan.text_tokens = static_cast<int64_t>(content.ids.size());
  const bool fits = static_cast<int64_t>(whole.size()) + special <= window;
  if (fits || options.truncate) {
    plan.truncated = !fits;
    if (!fits) whole.resize(static_cast<size_t>(window - special));
    ModelPart part = WholePart(tokenizer, whole, prompt_ids, has_prompt);
    if (part.prompt_tokens >= static_cast<int64_t>(part.sequence.ids.size()))
      return InvalidField("text", "is empty, and the tokenizer adds nothing to it");
    part.chunk = DescribePart(content, fits ? plan.text_tokens : std::min(plan.text_tokens, room));
    plan.tokens = static_cast<int64_t>(part.sequence.ids.size());
    plan.parts.push_back(std::move(part));
    return plan;
  }
  for (const tokenize::TokenWindow& cut : tokenize::PlanTokenWindows(content.words, room, options.overlap)) {
    Ids ids = prompt.ids;
    ids.insert(ids.end(), content.ids.begin() + cut.begin, content.ids.begin() + cut.end);
    ModelPart part = WholePart(tokenizer, ids, prompt_ids, has_prompt);
    part.weight = cut.owned();
    part.chunk = Describe(content, cut);
    plan.tokens += static_cast<int64_t>(part.sequence.ids.size());
    plan.parts.push_back(std::move(part));
  }
  return plan;
}

absl::StatusOr<DocumentVectors> EncodeByModules(const nn::Model& model, const nn::SentenceVectors& vectors,
                                                const ModelPlan& plan, const EncodeOptions& options) {
  const c10::InferenceMode inference;
  if (plan.text_tokens == 0) return InvalidField("text", "is empty, or has nothing but white space; send some text");
  const auto count = static_cast<int64_t>(plan.parts.size());
  ENGRAM_RETURN_IF_ERROR(CheckResult(count, vectors.full_width(), options));
  std::vector<at::Tensor> parts;
  std::vector<int64_t> weights;
  DocumentVectors result;
  int64_t done = 0;
  for (size_t first = 0; first < plan.parts.size();) {
    size_t last = first;
    for (int64_t tokens = 0; last < plan.parts.size(); ++last) {
      const auto length = static_cast<int64_t>(plan.parts[last].sequence.ids.size());
      tokens += length;
      if (last > first && tokens > options.batch_tokens) break;
      done += length;
      result.chunks.push_back(plan.parts[last].chunk);
      weights.push_back(plan.parts[last].weight);
    }
    ENGRAM_RETURN_IF_ERROR(EncodeParts(model, vectors, std::span(plan.parts).subspan(first, last - first), parts));
    if (options.progress && !options.progress(done, plan.tokens)) return absl::CancelledError("the client went away");
    first = last;
  }
  const auto finish = [&](const at::Tensor& vector) { return options.normalize ? nn::UnitLength(vector) : vector; };
  result.document = Floats(finish(vectors.Combine(parts, weights)));
  result.tokens = plan.text_tokens;
  result.tokens_encoded = plan.tokens;
  result.windows = count;
  if (!options.chunk_vectors) return result;
  result.chunk_vectors = at::empty({count, vectors.width()}, at::kFloat);
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t one = 1;
    result.chunk_vectors.select(0, static_cast<int64_t>(i))
        .copy_(finish(vectors.Combine(std::span(&parts[i], 1), std::span(&one, 1))));
  }
  return result;
}

}  // namespace engram::longcontext
