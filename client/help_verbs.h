#pragma once

// What the CLI says of itself, all of it out of CLI11's own table of verbs and options: `help`, shell completion, and
// what a mistyped verb may have meant.

#include <string>
#include <vector>

#include "CLI/CLI.hpp"

namespace engram::client {

// A script that completes verbs, their options and the words that an option takes. `shell`: "bash", "zsh" or "fish".
std::string CompletionScript(const CLI::App& app, const std::string& shell);

// The verb of `app` that is nearest to `word`; empty if none is near.
std::string NearestVerb(const CLI::App& app, const std::string& word);

// `engram models show` -> the verb that the words lead to; nullptr if they lead nowhere, and `lost` is the word then.
const CLI::App* FindVerb(const CLI::App& app, const std::vector<std::string>& words, std::string& lost);

}  // namespace engram::client
