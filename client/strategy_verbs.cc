#include "client/strategy_verbs.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "client/commands.h"
#include "client/output.h"

namespace engram::client {
namespace {

using engram::v1::ListStrategiesResponse;
using engram::v1::Strategy;
using engram::v1::TaskService;
using Options = google::protobuf::RepeatedPtrField<engram::v1::TaskOption>;

grpc::Status List(Session& session, grpc::ClientContext& context, ListStrategiesResponse& response) {
  return session.Stub<TaskService>()->ListStrategies(&context, engram::v1::ListStrategiesRequest(), &response);
}

std::string OptionsTable(const Options& options) {
  std::vector<std::vector<std::string>> rows = {{"option", "default", "allowed", "meaning"}};
  for (const auto& option : options)
    rows.push_back({option.name(), option.default_value(), option.allowed(), option.help()});
  return Table(rows);
}

std::string Needs(const Strategy& strategy) {
  std::string needs;
  const auto add = [&](bool needed, const char* what) {
    if (needed) needs += (needs.empty() ? "" : ", ") + std::string(what);
  };
  add(strategy.needs().consolidations(), "consolidated tasks");
  add(strategy.needs().examples(), "training texts");
  add(strategy.needs().teacher(), "a frozen copy of the model");
  add(strategy.needs().added_parameters(), "parameters of its own");
  add(strategy.needs().memory(), "a memory stored with the version");
  return needs.empty() ? "nothing" : needs;
}

std::string DefaultWhere(const Strategy& strategy) {
  if (strategy.default_if_consolidated()) return "where tasks are consolidated";
  return strategy.default_if_nothing_is_consolidated() ? "where none is" : "-";
}

// "2 copies of the encoder in memory, 1 further pass per batch".
std::string Cost(const engram::v1::StrategyCost& cost) {
  char text[96];
  std::snprintf(text, sizeof text, "%.3g %s of the encoder in memory, %.3g further %s per batch", cost.encoder_copies(),
                cost.encoder_copies() == 1 ? "copy" : "copies", cost.extra_passes(),
                cost.extra_passes() == 1 ? "pass" : "passes");
  return text;
}

void PrintAll(const ListStrategiesResponse& response) {
  std::vector<std::vector<std::string>> rows = {{"strategy", "default", "needs", "what it does"}};
  for (const Strategy& strategy : response.strategies())
    rows.push_back({strategy.name(), DefaultWhere(strategy), Needs(strategy), strategy.summary()});
  std::printf("%s", Table(rows).c_str());
}

void PrintOne(const Strategy& strategy) {
  std::printf("%s: %s\nneeds: %s\n", strategy.name().c_str(), strategy.summary().c_str(), Needs(strategy).c_str());
  for (const auto& cost : strategy.costs()) {
    std::printf("costs with %lld consolidated %s: %s\n", static_cast<long long>(cost.consolidations()),
                cost.consolidations() == 1 ? "task" : "tasks", Cost(cost).c_str());
  }
  if (strategy.options().empty()) {
    std::printf("It has no options of its own.\n");
  } else {
    std::printf("\n%s", OptionsTable(strategy.options()).c_str());
  }
}

int Show(Session& session, const std::string& name) {
  ListStrategiesResponse response;
  const auto context = session.NewContext();
  const grpc::Status status = List(session, *context, response);
  if (!status.ok()) return session.Fail(status);
  if (name.empty()) return session.Print(response, [&] { PrintAll(response); });
  std::string known;
  for (const Strategy& strategy : response.strategies()) {
    if (strategy.name() == name) return session.Print(strategy, [&] { PrintOne(strategy); });
    known += (known.empty() ? "" : ", ") + strategy.name();
  }
  return Session::Usage("there is no strategy \"" + name + "\"; the strategies are " + known);
}

// Help is printed before options reach their variables.
void Take(const CLI::App& app, const char* name, const char* variable, std::string& value) {
  const CLI::Option* option = app.get_option(name);
  const char* set = std::getenv(variable);
  if (option->count() > 0) {
    value = option->results().back();
  } else if (set != nullptr && *set != '\0') {
    value = set;
  }
}

}  // namespace

std::string TaskOptionsHelp(const CLI::App& app, Session& session) {
  constexpr auto kPatience = std::chrono::seconds(2);
  Take(app, "--address", "ENGRAM_ADDRESS", session.address);
  Take(app, "--token-file", "ENGRAM_TOKEN_FILE", session.token_file);
  Take(app, "--ca", "ENGRAM_CA", session.ca);
  Take(app, "--certificate", "ENGRAM_CERTIFICATE", session.certificate);
  Take(app, "--key", "ENGRAM_KEY", session.key);
  if (const std::string wrong = session.Prepare(); !wrong.empty())
    return "The options of --set and of each strategy are not listed here: " + wrong + ".";
  ListStrategiesResponse response;
  grpc::ClientContext context;
  session.Authorize(context);
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  if (!List(session, context, response).ok()) {
    return "The options of --set and of each strategy are listed here where a server answers (none does at " +
           session.address + ").";
  }
  std::string help = "Options of every training (--set option=value):\n" + OptionsTable(response.training_options());
  for (const Strategy& strategy : response.strategies()) {
    help += "\n--strategy " + strategy.name() + ": " + strategy.summary() + "\n";
    if (!strategy.options().empty()) help += OptionsTable(strategy.options());
  }
  return help;
}

void AddStrategyVerbs(CLI::App& app, Session& session) {
  const auto name = std::make_shared<std::string>();
  CLI::App* strategies = app.add_subcommand(
      "strategies", "How forgetting can be prevented, and with which options\nExample: engram strategies ewc");
  strategies->add_option("STRATEGY", *name, "one strategy with its options; default: all");
  strategies->callback([&session, name] { session.run = [name, &session] { return Show(session, *name); }; });
}

}  // namespace engram::client
