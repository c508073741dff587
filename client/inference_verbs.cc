#include <algorithm>
#include <cstdio>
#include <istream>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "client/classify_file.h"
#include "client/commands.h"
#include "client/encode_file.h"
#include "client/encode_text.h"
#include "client/entity_page.h"
#include "client/gzip_input.h"
#include "client/output.h"
#include "client/record_file.h"
#include "client/tag_file.h"
#include "client/term_list.h"
#include "client/text_calls.h"
#include "client/text_source.h"

namespace engram::client {
namespace {

using engram::v1::InferenceService;

struct TextArguments {
  std::string model, text, file, task, long_texts;
  int top_k = 0;
  bool abstain = false, route = false;
  std::optional<double> abstain_below;
  bool truncate = false;
  std::string text_column, pair_column, pair;
  bool split_special_tokens = false;
  std::string out, prompt_name, html, aggregation = "first";
  std::string terms, term_label, term_priority;
  LongEncodeArguments encode;
  bool normalize = false, whole_file = false;
};

// nullopt: it cannot be read to its end. "-": standard input. gzip is unpacked.
std::optional<std::string> ReadAll(const std::string& file) {
  const std::unique_ptr<GzipInput> source = GzipInput::Open(file);
  if (!source) return std::nullopt;
  std::istream in(source.get());
  std::string text, buffer(size_t{1} << 16, '\0');
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), in.gcount() > 0)
    text.append(buffer, 0, static_cast<size_t>(in.gcount()));
  if (source->whole()) return text;
  return std::nullopt;
}

constexpr const char* kPairAlone =
    "--pair goes with one TEXT; for many pairs classify a table (--file, --pair-column, --out)";

// The second text of the only one. False where there is a file of texts.
template <typename Request>
bool AddPair(const TextArguments& arguments, Request& request) {
  if (!arguments.file.empty() || arguments.text == "-") return false;
  request.add_text_pairs(arguments.pair);
  return true;
}

constexpr const char* kUnreadable = "the file cannot be read to its end";

// What is to be sent, or the message that says why there is nothing.
struct TextInput {
  std::vector<std::string> texts;
  std::string error;
};

// The text itself, or one per line of the file ("-": standard input), empty lines too: one line in, one result out.
TextInput Texts(const TextArguments& arguments) {
  const bool stdin_text = arguments.text == "-";
  if (stdin_text ? !arguments.file.empty() : arguments.text.empty() == arguments.file.empty())
    return {{}, "give a TEXT, or --file FILE with one text per line (\"-\" for standard input)"};
  if (!stdin_text && arguments.file.empty()) return {{arguments.text}, ""};
  TextInput input;
  const std::optional<std::string> read = ReadAll(stdin_text ? "-" : arguments.file);
  if (!read) return {{}, kUnreadable};
  std::istringstream lines(*read);
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (!IsUtf8(line)) return {{}, "line " + std::to_string(number) + " is not UTF-8; convert the file first"};
    input.texts.push_back(line);
  }
  if (std::all_of(input.texts.begin(), input.texts.end(), IsBlank)) input.error = "there is no text in the file";
  return input;
}

std::string Percent(double share) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "%.1f%%", 100 * share);
  return buffer;
}

// Sends texts in calls of at most kTextsPerCall. Each answer goes to `print` with the texts that it is for, as soon as
// it is there; or, as JSON, all of them are one message at the end. The exit status.
template <typename Request, typename Response, typename Print>
int AnswerTexts(Session& session, const std::vector<std::string>& texts, Request request,
                typename TextCaller<Request, Response>::Method method, const Print& print) {
  TextCaller<Request, Response> caller(session, std::move(request), method);
  Response all;
  bool failed = false;
  for (size_t begin = 0; begin < texts.size(); begin += kTextsPerCall) {
    const size_t end = std::min(texts.size(), begin + kTextsPerCall);
    const std::vector<std::string> some(texts.begin() + static_cast<std::ptrdiff_t>(begin),
                                        texts.begin() + static_cast<std::ptrdiff_t>(end));
    Response part;
    if (const grpc::Status status = caller.Call(some, texts.size() == 1, part); !status.ok())
      return session.Fail(status);
    failed = failed || AnyError(part);
    if (session.json) {
      AddPart(part, all);
    } else {
      print(some, part);
      std::fflush(stdout);
    }
  }
  if (session.json) Session::PrintJson(all);
  return failed ? kFailed : kOk;
}

void PrintLabels(const std::vector<std::string>& texts, const engram::v1::ClassifyResponse& response) {
  for (int i = 0; i < response.results_size(); ++i) {
    const auto& result = response.results(i);
    std::printf("%s%s\n", Shorten(texts[static_cast<size_t>(i)]).c_str(),
                result.truncated()    ? "  (cut to the model's length)"
                : result.chunks() > 1 ? ("  (in " + std::to_string(result.chunks()) + " chunks)").c_str()
                                      : "");
    if (result.has_error()) std::printf("  error: %s\n", result.error().message().c_str());
    for (const auto& task : result.tasks()) {
      std::printf("  %-12s", LastPart(task.task()).c_str());
      const char* separator = " ";
      for (const auto& score : task.scores()) {
        std::printf("%s%s %s", separator, score.label().c_str(), Percent(score.probability()).c_str());
        separator = ", ";
      }
      if (task.has_routing_probability())
        std::printf("  (the router's choice, %s)", Percent(task.routing_probability()).c_str());
      if (task.has_confidence()) {
        std::printf("  (%s: confidence %s, threshold %s)", task.abstained() ? "no label fits" : "fits",
                    Percent(task.confidence()).c_str(), Percent(task.threshold()).c_str());
      }
      std::printf("\n");
    }
  }
}

FileJob JobOf(const TextArguments& arguments) {
  return {arguments.file, arguments.text_column, arguments.pair_column, arguments.out};
}

constexpr const char* kColumnsNeedOut = "--text-column and --pair-column need --file and --out";

int Classify(Session& session, const TextArguments& arguments) {
  engram::v1::ClassifyRequest request;
  const ModelReference reference = SplitReference(arguments.model);
  request.set_model(reference.model);
  request.set_version(reference.version);
  request.set_task(arguments.task);
  request.set_top_k(arguments.top_k);
  if (!arguments.long_texts.empty()) request.set_long_texts(engram::v1::LONG_TEXTS_CHUNK);
  request.set_truncate(arguments.truncate);
  request.set_route(arguments.route);
  request.set_abstain(arguments.abstain || arguments.abstain_below.has_value());
  if (arguments.abstain_below) request.set_abstain_below(*arguments.abstain_below);
  if (arguments.split_special_tokens) request.set_split_special_tokens(true);
  if (!arguments.pair.empty() && !AddPair(arguments, request)) return Session::Usage(kPairAlone);
  if (!arguments.out.empty()) {
    if (arguments.file.empty()) return Session::Usage("--out needs --file");
    return ClassifyFile(session, request, JobOf(arguments));
  }
  if (!arguments.text_column.empty() || !arguments.pair_column.empty()) return Session::Usage(kColumnsNeedOut);
  const TextInput input = Texts(arguments);
  if (!input.error.empty()) return Session::Usage(input.error);
  if (FormatOfFile(arguments.file) != RecordFormat::kLines) {
    std::fprintf(stderr, "note: each line of %s is taken as one text; with --out FILE its rows are read\n",
                 arguments.file.c_str());
  }
  return AnswerTexts<engram::v1::ClassifyRequest, engram::v1::ClassifyResponse>(
      session, input.texts, request, &InferenceService::Stub::Classify, PrintLabels);
}

void PrintEntities(const std::vector<std::string>& texts, const engram::v1::TagEntitiesResponse& response) {
  for (int i = 0; i < response.results_size(); ++i) {
    const auto& result = response.results(i);
    std::printf("%s%s\n", Shorten(texts[static_cast<size_t>(i)]).c_str(),
                result.truncated() ? "  (a word was longer than the model's window)" : "");
    if (result.has_error()) std::printf("  error: %s\n", result.error().message().c_str());
    if (!result.has_error() && result.entities().empty()) std::printf("  no entities\n");
    for (const auto& entity : result.entities()) {
      const bool listed = entity.source() == engram::v1::ENTITY_SOURCE_TERM;
      std::printf("  %-14s %s  [%lld, %lld)  %s\n", entity.type().c_str(), entity.text().c_str(),
                  static_cast<long long>(entity.start()), static_cast<long long>(entity.end()),
                  listed ? "of the list" : Percent(entity.score()).c_str());
    }
  }
}

// The texts with their entities in a page for a browser.
int DrawEntities(Session& session, const TextArguments& arguments, const std::vector<std::string>& texts,
                 const engram::v1::TagEntitiesRequest& request) {
  if (session.json) return Session::Usage("--html writes a page, --json prints an answer: give one of them");
  std::vector<engram::v1::TagEntitiesResult> results;
  const auto keep = [&](const auto&, const engram::v1::TagEntitiesResponse& part) {
    results.insert(results.end(), part.results().begin(), part.results().end());
  };
  const int code = AnswerTexts<engram::v1::TagEntitiesRequest, engram::v1::TagEntitiesResponse>(
      session, texts, request, &InferenceService::Stub::TagEntities, keep);
  if (results.size() != texts.size()) return code;  // the call failed, and has said so
  if (!WriteWhole(arguments.html, EntityPage("Entities: " + arguments.model, texts, results))) return kFailed;
  std::printf("wrote %s\n", arguments.html.c_str());
  return code;
}

// Adds the terms of the list; the message that says why there are none, empty if there is nothing to say.
std::string AddTerms(const TextArguments& arguments, engram::v1::TagEntitiesRequest& request) {
  if (arguments.terms.empty()) {
    const bool without = arguments.term_label.empty() && arguments.term_priority.empty();
    return without ? "" : "--term-label and --term-priority need --terms";
  }
  const std::optional<std::string> bytes = ReadAll(arguments.terms);
  if (!bytes) return "the list cannot be read to its end";
  TermList list = ParseTermList(*bytes, FormatOfFile(arguments.terms) == RecordFormat::kJsonLines, arguments.term_label,
                                /*case_sensitive=*/false);
  for (engram::v1::Term& term : list.terms) *request.add_terms() = std::move(term);
  if (arguments.term_priority == "longest") request.set_term_priority(engram::v1::TERM_PRIORITY_LONGEST);
  if (arguments.term_priority == "tagger") request.set_term_priority(engram::v1::TERM_PRIORITY_TAGGER);
  if (arguments.term_priority == "terms") request.set_term_priority(engram::v1::TERM_PRIORITY_TERMS);
  return list.error;
}

int TagEntities(Session& session, const TextArguments& arguments) {
  engram::v1::TagEntitiesRequest request;
  const ModelReference reference = SplitReference(arguments.model);
  request.set_model(reference.model);
  request.set_version(reference.version);
  request.set_task(arguments.task);
  if (arguments.aggregation == "average") request.set_aggregation(engram::v1::ENTITY_AGGREGATION_AVERAGE);
  if (arguments.aggregation == "max") request.set_aggregation(engram::v1::ENTITY_AGGREGATION_MAX);
  if (arguments.split_special_tokens) request.set_split_special_tokens(true);
  if (const std::string problem = AddTerms(arguments, request); !problem.empty()) return Session::Usage(problem);
  if (!arguments.out.empty()) {
    if (arguments.file.empty()) return Session::Usage("--out needs --file");
    if (!arguments.html.empty()) return Session::Usage("--out and --html are two ways to write: give one of them");
    return TagFile(session, request, JobOf(arguments));
  }
  if (!arguments.text_column.empty()) return Session::Usage(kColumnsNeedOut);
  const TextInput input = Texts(arguments);
  if (!input.error.empty()) return Session::Usage(input.error);
  if (!arguments.html.empty()) return DrawEntities(session, arguments, input.texts, request);
  return AnswerTexts<engram::v1::TagEntitiesRequest, engram::v1::TagEntitiesResponse>(
      session, input.texts, request, &InferenceService::Stub::TagEntities, PrintEntities);
}

// One text of any length: TEXT, or all of a file.
int EncodeOneText(Session& session, const TextArguments& arguments) {
  engram::v1::LongContextEncodeRequest request;
  const ModelReference reference = SplitReference(arguments.model);
  request.set_model(reference.model);
  request.set_version(reference.version);
  const std::optional<std::string> text = arguments.file.empty() ? arguments.text : ReadAll(arguments.file);
  if (!text) return Session::Usage(kUnreadable);
  request.set_text(*text);
  if (!IsUtf8(request.text())) return Session::Usage("the file is not UTF-8; convert it first");
  request.set_normalize(arguments.normalize);
  request.set_prompt_name(arguments.prompt_name);
  return EncodeText(session, std::move(request), arguments.encode, arguments.out);
}

int Encode(Session& session, const TextArguments& arguments) {
  const bool of_shape = !arguments.encode.config.empty() || !arguments.encode.device.empty();
  if (arguments.model.empty() != of_shape) {
    return Session::Usage(of_shape ? "--config stands for a MODEL; leave that out" : "MODEL is required");
  }
  if (of_shape && (!arguments.encode.plan || arguments.encode.plan_tokens.empty() || arguments.encode.config.empty()))
    return Session::Usage("a shape has a plan alone: give --plan --config FILE --plan-tokens N");
  if (arguments.encode.plan && !arguments.encode.plan_tokens.empty()) {
    if (!arguments.text.empty() || !arguments.file.empty())
      return Session::Usage("--plan-tokens stands for a text; leave that out");
    engram::v1::LongContextEncodeRequest request;
    if (of_shape) return PlanEncodes(session, std::move(request), arguments.encode);
    const ModelReference reference = SplitReference(arguments.model);
    request.set_model(reference.model);
    request.set_version(reference.version);
    return PlanEncodes(session, std::move(request), arguments.encode);
  }
  if (!arguments.encode.plan_tokens.empty()) return Session::Usage("--plan-tokens goes with --plan");
  if (arguments.text.empty() == arguments.file.empty())
    return Session::Usage("give a TEXT, or --file FILE with one text per line (\"-\" for standard input)");
  const bool lines = !arguments.file.empty() && !arguments.whole_file;
  if (lines) {
    if (arguments.encode.any()) {
      return Session::Usage(
          "--mode, --plan, --chunk-tokens, --chunks-out and the others of how a text is read are for one text: a TEXT, "
          "or --file with --whole-file");
    }
    engram::v1::EmbedRequest request;
    const ModelReference reference = SplitReference(arguments.model);
    request.set_model(reference.model);
    request.set_version(reference.version);
    request.set_truncate(arguments.truncate);
    request.set_normalize(arguments.normalize);
    request.set_prompt_name(arguments.prompt_name);
    return EncodeFile(session, std::move(request), {arguments.file, arguments.text_column, arguments.out});
  }
  if (arguments.truncate) return Session::Usage("--truncate is for --file with one text per line");
  if (!arguments.text_column.empty()) return Session::Usage("--text-column is for --file with a table or JSON");
  if (!arguments.out.empty() && !arguments.out.ends_with(".npy"))
    return Session::Usage("--out of one text must end in .npy");
  return EncodeOneText(session, arguments);
}

void PrintTokens(const std::vector<std::string>& /*texts*/, const engram::v1::TokenizeResponse& response) {
  for (const auto& result : response.results()) {
    if (result.has_error()) std::printf("error: %s\n", result.error().message().c_str());
    std::vector<std::vector<std::string>> rows = {{"id", "token", "code points"}};
    for (const auto& token : result.tokens()) {
      rows.push_back(
          {std::to_string(token.id()), token.token(),
           token.special() ? "-" : "[" + std::to_string(token.start()) + ", " + std::to_string(token.end()) + ")"});
    }
    if (!result.has_error()) std::printf("%s", Table(rows).c_str());
  }
}

int Tokenize(Session& session, const TextArguments& arguments) {
  const TextInput input = Texts(arguments);
  if (!input.error.empty()) return Session::Usage(input.error);
  engram::v1::TokenizeRequest request;
  const ModelReference reference = SplitReference(arguments.model);
  request.set_model(reference.model);
  request.set_version(reference.version);
  if (arguments.split_special_tokens) request.set_split_special_tokens(true);
  if (!arguments.pair.empty() && !AddPair(arguments, request)) return Session::Usage(kPairAlone);
  return AnswerTexts<engram::v1::TokenizeRequest, engram::v1::TokenizeResponse>(
      session, input.texts, request, &InferenceService::Stub::Tokenize, PrintTokens);
}

}  // namespace

void AddInferenceVerbs(CLI::App& app, Session& session) {
  const auto arguments = std::make_shared<TextArguments>();
  TextArguments& a = *arguments;
  const CLI::Validator file_or_stdin(
      [](std::string& path) { return path == "-" ? std::string() : CLI::ExistingFile(path); }, "FILE");
  const auto add = [&](const char* name, const char* help, int (*run)(Session&, const TextArguments&)) {
    CLI::App* verb = app.add_subcommand(name, help);
    verb->add_option("MODEL", a.model,
                     "MODEL, MODEL@VERSION or MODEL@LABEL; default: label stable, else the newest version")
        ->required();
    verb->add_option("TEXT", a.text, "the text");
    verb->add_option("--file", a.file, "file to read instead; \"-\" is standard input")->check(file_or_stdin);
    verb->callback([=, &session] { session.run = [=, &session] { return run(session, *arguments); }; });
    return verb;
  };
  CLI::App* classify =
      add("classify",
          "Labels and probabilities of texts\nExample: engram classify news \"Where is my card?\" --top-k 3", Classify);
  classify->add_option("--task", a.task, "one task; default: all");
  classify->add_option("--top-k", a.top_k, "only the most probable labels; default: all")
      ->check(CLI::NonNegativeNumber);
  classify->add_option("--pair-column", a.pair_column, "with --out: the same of the second texts, for tasks of pairs");
  classify->add_flag("--route", a.route, "each text by the one task that the version's router picks for it");
  classify->add_flag("--abstain", a.abstain, "say where no label fits, by the threshold that the training chose");
  classify->add_option("--abstain-below", a.abstain_below, "the same by this confidence, 0 to 1")
      ->check(CLI::Range(0.0, 1.0));
  classify->add_option("--long", a.long_texts, "how texts longer than the model's window are read: whole, in chunks")
      ->check(CLI::IsMember({"chunk"}));
  classify->add_flag("--truncate", a.truncate, "cut texts that are too long instead of refusing them");
  CLI::App* tag = add(
      "tag-entities",
      "Named entities in texts of any length\nExample: engram tag-entities news \"Ada lived in London.\"", TagEntities);
  tag->add_option("--task", a.task, "the tagger; default: the version's only one");
  tag->add_option("--html", a.html, "write a page for a browser with the entities drawn into the texts");
  tag->add_option("--aggregation", a.aggregation, "which of a word's tokens say what it is")
      ->check(CLI::IsMember({"first", "average", "max"}))
      ->capture_default_str();
  tag->add_option("--terms", a.terms,
                  "terms that are entities, too: a file as `engram annotate --terms` reads it, one label a term")
      ->check(CLI::ExistingFile);
  tag->add_option("--term-label", a.term_label, "with --terms: the label of terms for which the list gives none");
  tag->add_option("--term-priority", a.term_priority,
                  "with --terms: which stands where a term and an entity of the tagger overlap; default: longest")
      ->check(CLI::IsMember({"longest", "tagger", "terms"}));
  for (CLI::App* verb : {classify, tag}) {
    verb->add_option("--out", a.out,
                     "write the file again with the results beside it, as they come: .csv, .tsv or .jsonl");
    verb->add_option("--text-column", a.text_column,
                     "with --out: the column (.csv, .tsv) or key (.jsonl) of FILE that is the text; default: text");
  }
  CLI::App* encode = add("encode",
                         "The vectors of texts, as the model's own modules define them\nExample: engram encode news "
                         "--file lines.txt --out vectors.npy",
                         Encode);
  encode->add_option("--text-column", a.text_column,
                     "with --file: the column (.csv, .tsv) or key (.jsonl) that is the text; default: text");
  encode->add_flag("--whole-file", a.whole_file, "the content of FILE is one text of any length, not one per line");
  encode->add_flag("--truncate", a.truncate,
                   "with lines: cut texts to the model's window instead of reading them in chunks");
  encode->add_option("--prompt-name", a.prompt_name,
                     "which of the model's prompts to put before each text; default: its own");
  encode->add_flag("--normalize", a.normalize, "scale vectors to length 1");
  encode->add_option("--out", a.out, "file for the vectors: .npy, .jsonl or .csv; of one text .npy");
  encode->get_option("MODEL")->required(false);
  AddLongEncodeOptions(*encode, a.encode);
  CLI::App* tokenize =
      add("tokenize", "Token ids and offsets\nExample: engram tokenize news \"Where is my card?\"", Tokenize);
  for (CLI::App* verb : {classify, tag, tokenize}) {
    verb->add_flag("--split-special-tokens", a.split_special_tokens,
                   "special tokens that a text spells ([SEP]) are plain text; default: as the model's tokenizer says");
  }
  for (CLI::App* verb : {classify, tokenize})
    verb->add_option("--pair", a.pair, "second text, for models of text pairs");
}

}  // namespace engram::client
