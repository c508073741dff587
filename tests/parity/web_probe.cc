// Articles of pages and places of terms, for tests/parity/test_articles.py and bench/ner.py to compare with peers.
//
//   parity_web articles FILE...            {"seconds", "bytes", "articles": {FILE's name: {"title", "text"}}}
//   parity_web terms TERMS TEXT ROUNDS     {"seconds", "bytes", "states", "matches", "overlapped"}: one term a line
// Files may be packed. Reading and unpacking are not in the seconds, which are those of this thread.

#include <cstdlib>
#include <ctime>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "core/annotate/term_matcher.h"
#include "core/base/files.h"
#include "core/web/article.h"
#include "nlohmann/json.hpp"

namespace engram {
namespace {

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

absl::StatusOr<std::string> Open(const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  return MaybeGunzip(std::move(bytes), size_t{1} << 30);
}

absl::Status Articles(const std::vector<std::string>& paths) {
  nlohmann::json articles = nlohmann::json::object();
  double seconds = 0;
  size_t bytes = 0;
  for (const std::string& path : paths) {
    ENGRAM_ASSIGN_OR_RETURN(const std::string html, Open(path));
    const double start = ThreadSeconds();
    const absl::StatusOr<web::Article> article = web::ExtractArticle(html);
    seconds += ThreadSeconds() - start;
    bytes += html.size();
    const std::string name = path.substr(path.rfind('/') + 1);
    if (article.ok()) {
      articles[name] = {{"title", article->title}, {"text", article->text}};
    } else {
      articles[name] = {{"error", StatusReason(article.status())}};
    }
  }
  std::cout << nlohmann::json{{"seconds", seconds}, {"bytes", bytes}, {"articles", articles}}.dump(
                   -1, ' ', false, nlohmann::json::error_handler_t::replace)
            << "\n";
  return absl::OkStatus();
}

absl::Status Terms(const std::string& terms_path, const std::string& text_path, int rounds) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string lines, Open(terms_path));
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, Open(text_path));
  std::vector<annotate::Term> terms;
  std::istringstream stream(lines);
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty()) terms.push_back({line, {"TERM"}, false});
  }
  ENGRAM_ASSIGN_OR_RETURN(const annotate::TermMatcher matcher, annotate::TermMatcher::Build(std::move(terms)));
  size_t matches = 0, overlapped = 0;
  const double start = ThreadSeconds();
  for (int i = 0; i < rounds; ++i) {
    ENGRAM_ASSIGN_OR_RETURN(const annotate::TermMatches found, matcher.Match(text));
    matches = found.matches.size();
    overlapped = found.overlapped.size();
  }
  std::cout << nlohmann::json{{"seconds", ThreadSeconds() - start},
                              {"bytes", text.size() * static_cast<size_t>(rounds)},
                              {"matches", matches},
                              {"overlapped", overlapped}}
                   .dump()
            << "\n";
  return absl::OkStatus();
}

int Main(const std::vector<std::string>& words) {
  absl::Status status = absl::InvalidArgumentError("usage: parity_web articles FILE... | terms TERMS TEXT ROUNDS");
  if (words.size() > 1 && words[0] == "articles") status = Articles({words.begin() + 1, words.end()});
  if (words.size() == 4 && words[0] == "terms") status = Terms(words[1], words[2], std::atoi(words[3].c_str()));
  if (status.ok()) return EXIT_SUCCESS;
  std::cerr << status << "\n";
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) { return engram::Main({argv + 1, argv + argc}); }
