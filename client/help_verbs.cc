#include "client/help_verbs.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>
#include <sstream>

#include "client/commands.h"

namespace engram::client {
namespace {

// One place where words are completed: behind "models show" come these words.
struct Place {
  std::string path;                // "models show"; empty behind engram itself
  std::vector<std::string> verbs;  // that may follow
  std::vector<std::string> options;
  std::vector<std::string> help;  // of each verb, then of each option, one line
};

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

void AddOptions(const CLI::App& app, Place& place) {
  for (const CLI::Option* option : app.get_options([](const CLI::Option*) { return true; })) {
    for (const std::string& name : option->get_lnames()) {
      place.options.push_back("--" + name);
      place.help.push_back(FirstLine(option->get_description()));
    }
  }
}

void Collect(const CLI::App& root, const CLI::App& app, const std::string& path, std::vector<Place>& out) {
  Place place{path, {}, {}, {}};
  const std::vector<const CLI::App*> verbs = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* verb : verbs) {
    place.verbs.push_back(verb->get_name());
    place.help.push_back(FirstLine(verb->get_description()));
  }
  AddOptions(app, place);
  if (&app != &root) {
    // The options of engram itself are taken behind every verb.
    Place all;
    AddOptions(root, all);
    for (size_t i = 0; i < all.options.size(); ++i) {
      if (std::find(place.options.begin(), place.options.end(), all.options[i]) != place.options.end()) continue;
      place.options.push_back(all.options[i]);
      place.help.push_back(all.help[i]);
    }
  }
  out.push_back(std::move(place));
  for (const CLI::App* verb : verbs)
    Collect(root, *verb, path.empty() ? verb->get_name() : path + " " + verb->get_name(), out);
}

std::string Join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// Bash and zsh (by bashcompinit) take the same function.
std::string BashScript(const std::vector<Place>& places) {
  std::ostringstream script;
  script << "_engram() {\n"
            "  local current=\"${COMP_WORDS[COMP_CWORD]}\" path=\"\" word i words files=1\n"
            "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
            "    word=\"${COMP_WORDS[i]}\"\n"
            "    case \"$path $word\" in\n";
  for (const Place& place : places) {
    if (!place.path.empty()) {
      const size_t last = place.path.rfind(' ');
      const std::string before = last == std::string::npos ? "" : place.path.substr(0, last);
      const std::string word = last == std::string::npos ? place.path : place.path.substr(last + 1);
      script << "      \"" << before << ' ' << word << "\") path=\"" << place.path << "\" ;;\n";
    }
  }
  script << "    esac\n"
            "  done\n"
            "  case \"$path\" in\n";
  for (const Place& place : places) {
    script << "    \"" << place.path << "\") words=\"" << Join(place.verbs) << (place.verbs.empty() ? "" : " ")
           << Join(place.options) << "\"; files=" << (place.verbs.empty() ? 1 : 0) << " ;;\n";
  }
  script << "  esac\n"
            "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
            "  if [[ $files == 1 && $current != -* ]]; then\n"
            "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
            "  fi\n"
            "}\n"
            "complete -o filenames -F _engram engram\n";
  return script.str();
}

// In single quotes, as fish reads them.
std::string FishQuoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return quoted + "'";
}

std::string FishScript(const std::vector<Place>& places) {
  std::ostringstream script;
  script << "complete -c engram -e\n";
  for (const Place& place : places) {
    // At this place: all words of the path were typed, and no verb that may follow.
    std::string condition;
    std::istringstream words(place.path);
    for (std::string word; words >> word;) condition += "__fish_seen_subcommand_from " + word + "; and ";
    condition += place.verbs.empty() ? "true" : "not __fish_seen_subcommand_from " + Join(place.verbs);
    for (size_t i = 0; i < place.verbs.size(); ++i) {
      script << "complete -c engram -n " << FishQuoted(condition) << " -f -a " << place.verbs[i] << " -d "
             << FishQuoted(place.help[i]) << '\n';
    }
    for (size_t i = 0; i < place.options.size(); ++i) {
      script << "complete -c engram -n " << FishQuoted(condition) << " -l " << place.options[i].substr(2) << " -d "
             << FishQuoted(place.help[place.verbs.size() + i]) << '\n';
    }
  }
  return script.str();
}

// Levenshtein's.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string CompletionScript(const CLI::App& app, const std::string& shell) {
  std::vector<Place> places;
  Collect(app, app, "", places);
  if (shell == "fish") return FishScript(places);
  const std::string script = BashScript(places);
  return shell == "zsh" ? "autoload -U +X bashcompinit && bashcompinit\n" + script : script;
}

std::string NearestVerb(const CLI::App& app, const std::string& word) {
  std::string nearest;
  size_t best = 0;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string name = verb->get_name();
    const size_t distance = name.starts_with(word) && word.size() > 2 ? 1 : Distance(word, name);
    if (distance > std::max<size_t>(1, name.size() / 3) || (!nearest.empty() && distance >= best)) continue;
    nearest = name;
    best = distance;
  }
  return nearest;
}

const CLI::App* FindVerb(const CLI::App& app, const std::vector<std::string>& words, std::string& lost) {
  const CLI::App* found = &app;
  for (const std::string& word : words) {
    const auto verbs = found->get_subcommands([&](const CLI::App* verb) { return verb->get_name() == word; });
    if (verbs.empty()) {
      lost = word;
      return nullptr;
    }
    found = verbs[0];
  }
  return found;
}

void AddHelpVerbs(CLI::App& app, Session& session) {
  const auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* help = app.add_subcommand("help", "Explain a verb\nExample: engram help models import");
  help->add_option("VERB", *words, "the verb; default: all of them");
  help->callback([&app, &session, words] {
    session.run = [&app, words] {
      std::string lost;
      const CLI::App* verb = FindVerb(app, *words, lost);
      if (verb == nullptr) {
        const std::string near = NearestVerb(app, lost);
        return Session::Usage("there is no verb \"" + lost + "\"" +
                              (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
      }
      std::string name = "engram";
      for (const std::string& word : *words) name += " " + word;
      // App::help would explain the verb that was asked for, which is this one.
      std::printf("%s", verb->get_formatter()->make_help(verb, name, CLI::AppFormatMode::Normal).c_str());
      return static_cast<int>(kOk);
    };
  });
  const auto shell = std::make_shared<std::string>();
  CLI::App* completion = app.add_subcommand("completion",
                                            "Print a script that lets a shell complete engram's verbs and options\n"
                                            "Example: source <(engram completion bash)");
  completion->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->callback([&app, &session, shell] {
    session.run = [&app, shell] {
      std::printf("%s", CompletionScript(app, *shell).c_str());
      return static_cast<int>(kOk);
    };
  });
}

}  // namespace engram::client
