// Single-thread tokenization, driven by tokenizer_vs_hf.py. Any line on standard input encodes all texts once ->
// {"seconds", "tokens"}.

#include <chrono>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "core/tokenize/tokenizer.h"
#include "nlohmann/json.hpp"

int main(int argc, char** argv) {
  CLI::App app("Tokenization for bench/tokenizer_vs_hf.py");
  std::string directory, texts_file;
  app.add_option("--model", directory)->required();
  app.add_option("--texts", texts_file)->required();
  CLI11_PARSE(app, argc, argv);
  const auto tokenizer = engram::tokenize::LoadTokenizer(directory);
  if (!tokenizer.ok()) return 1;
  std::ifstream file(texts_file);
  const auto texts = nlohmann::json::parse(file).get<std::vector<std::string>>();
  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    size_t tokens = 0;
    for (const std::string& text : texts) {
      const auto encoding = (*tokenizer)->Encode(text, {});
      if (!encoding.ok()) return 1;
      tokens += encoding->ids.size();
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::cout << nlohmann::json{{"seconds", seconds}, {"tokens", tokens}}.dump() << std::endl;
  }
  return 0;
}
