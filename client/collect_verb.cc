// engram collect: a data set out of pages and documents; engram pages: what became of each of them.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <vector>

#include "client/commands.h"
#include "client/follow.h"
#include "client/gzip_input.h"
#include "client/json_output.h"
#include "client/output.h"
#include "client/text_source.h"
#include "engram/v1/collection.grpc.pb.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

using engram::v1::CollectionService;
using engram::v1::CollectPagesRequest;
using engram::v1::Page;

struct CollectArguments {
  std::string dataset, contact, url_file, stdin_type, request_id;
  std::vector<std::string> sources;
  double page_seconds = 0;
  std::optional<double> delay_seconds;
  std::optional<int> max_redirects;
  double max_page_mb = 0, max_total_mb = 0;
  int priority = 0;
  bool wait = false, validate_only = false;
};

constexpr const char* kEndings[] = {".html", ".htm", ".xhtml", ".xht", ".txt", ".text", ".md"};

bool IsDocument(const std::filesystem::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::find(std::begin(kEndings), std::end(kEndings), ending) != std::end(kEndings);
}

// Adds a file as a document, its bytes as they are: the server finds out their charset. False, with the reason, if it
// cannot be read.
bool AddFile(const std::string& path, const std::string& name, const std::string& type, CollectPagesRequest& request,
             std::string& error) {
  std::ifstream file;
  if (path != "-") file.open(path, std::ios::binary);
  std::istream& in = path == "-" ? std::cin : file;
  std::ostringstream bytes;
  if (in.peek() != std::istream::traits_type::eof()) bytes << in.rdbuf();
  if (in.bad() || (path != "-" && !file.is_open()) || bytes.fail()) {
    error = path + " cannot be read to its end";
    return false;
  }
  if (!IsUtf8(name)) {
    error = "a file's name is not UTF-8";
    return false;
  }
  engram::v1::PageDocument& document = *request.add_documents();
  document.set_name(name);
  document.set_content_type(type);
  document.set_content(bytes.str());
  return true;
}

// The documents of a folder and those below it, in the order of their names.
bool AddFolder(const std::filesystem::path& folder, CollectPagesRequest& request, std::string& error) {
  std::vector<std::filesystem::path> files;
  std::error_code failed;
  for (auto entry = std::filesystem::recursive_directory_iterator(folder, failed);
       !failed && entry != std::filesystem::recursive_directory_iterator(); entry.increment(failed)) {
    if (entry->is_regular_file() && IsDocument(entry->path())) files.push_back(entry->path());
  }
  if (failed) error = folder.string() + " cannot be read";
  if (error.empty() && files.empty()) error = folder.string() + " holds no .html, .htm, .xhtml, .txt or .md file";
  if (!error.empty()) return false;
  std::sort(files.begin(), files.end());
  return std::all_of(files.begin(), files.end(), [&](const std::filesystem::path& file) {
    return AddFile(file.string(), file.string(), "", request, error);
  });
}

// A URL, a file, a folder, or "-".
bool AddSource(const std::string& source, const CollectArguments& arguments, CollectPagesRequest& request,
               std::string& error) {
  if (source.starts_with("http://") || source.starts_with("https://")) {
    request.add_urls(source);
    return true;
  }
  if (source == "-") return AddFile("-", "standard input", arguments.stdin_type, request, error);
  if (std::filesystem::is_directory(source)) return AddFolder(source, request, error);
  if (std::filesystem::is_regular_file(source)) return AddFile(source, source, "", request, error);
  error = "\"" + source + "\" is no file or folder here, and no URL (http://..., https://...)";
  return false;
}

// Lines of a file of URLs, but blank ones and those that begin with "#".
bool AddUrlFile(const std::string& path, CollectPagesRequest& request, std::string& error) {
  const std::unique_ptr<GzipInput> source = GzipInput::Open(path);
  std::istream in(source.get());
  for (std::string line; source && std::getline(in, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) line.pop_back();
    if (line.empty() || line.front() == '#') continue;
    if (!IsUtf8(line)) {
      error = path + " is not UTF-8";
      return false;
    }
    request.add_urls(line);
  }
  if (!source || !source->whole()) error = path + " cannot be read to its end";
  return error.empty();
}

int Collect(Session& session, const CollectArguments& arguments) {
  CollectPagesRequest request;
  std::string error;
  for (const std::string& source : arguments.sources) {
    if (!AddSource(source, arguments, request, error)) return Session::Usage(error);
  }
  if (!arguments.url_file.empty() && !AddUrlFile(arguments.url_file, request, error)) return Session::Usage(error);
  if (request.urls_size() + request.documents_size() == 0)
    return Session::Usage("give URLs, files or folders, \"-\" for standard input, or --url-file FILE");
  if (request.urls_size() > 0 && arguments.contact.empty()) {
    return Session::Usage(
        "--contact is missing: an address by which the owner of a site can reach you, such as "
        "https://example.org/crawler or you@example.org; it is sent along with each request");
  }
  request.set_dataset(arguments.dataset);
  request.set_contact(arguments.contact);
  request.set_page_seconds(arguments.page_seconds);
  if (arguments.delay_seconds) request.set_delay_seconds(*arguments.delay_seconds);
  if (arguments.max_redirects) request.set_max_redirects(*arguments.max_redirects);
  constexpr double kMegabyte = 1 << 20;
  request.set_max_page_bytes(static_cast<int64_t>(arguments.max_page_mb * kMegabyte));
  request.set_max_total_bytes(static_cast<int64_t>(arguments.max_total_mb * kMegabyte));
  request.set_priority(arguments.priority);
  request.set_request_id(arguments.request_id);
  request.set_validate_only(arguments.validate_only);
  engram::v1::Job job;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<CollectionService>()->CollectPages(context.get(), request, &job);
  return status.ok() ? PrintQueued(session, job, arguments.wait) : session.Fail(status);
}

std::vector<std::string> PageRow(const Page& page) {
  const std::string what = page.has_error() ? page.error().message() + " [" + page.error().reason() + "]"
                           : !page.duplicate_of().empty()
                               ? "the text of " + page.duplicate_of()
                               : ShortText(page.title().empty() ? page.text() : page.title());
  return {page.row() > 0 ? std::to_string(page.row()) : "-", page.source(), std::to_string(page.text().size()),
          std::to_string(page.blocks_size()), what};
}

int Pages(Session& session, const std::string& dataset, const std::string& out) {
  std::ofstream file;
  if (!out.empty()) file.open(out, std::ios::binary | std::ios::trunc);
  engram::v1::ListPagesRequest request;
  request.set_dataset(dataset);
  request.set_page_size(1000);
  const auto stub = session.Stub<CollectionService>();
  std::vector<std::vector<std::string>> rows = {{"row", "page", "bytes", "blocks", "title, or why there is no text"}};
  int64_t written = 0;
  do {
    engram::v1::ListPagesResponse answer;
    const auto context = session.NewContext();
    if (const grpc::Status status = stub->ListPages(context.get(), request, &answer); !status.ok())
      return session.Fail(status);
    for (const Page& page : answer.pages()) {
      if (out.empty() && !session.json) {
        rows.push_back(PageRow(page));
        continue;
      }
      std::ostream& to = out.empty() ? std::cout : file;
      to << ToJson(page).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
      ++written;
    }
    request.set_page_token(answer.next_page_token());
  } while (!request.page_token().empty());
  if (!out.empty()) {
    file.close();
    if (file.fail()) return Session::Failed(out + " cannot be written");
    std::printf("%lld pages written to %s\n", static_cast<long long>(written), out.c_str());
  } else if (!session.json) {
    std::printf("%s", Table(rows).c_str());
  }
  std::cout.flush();
  return kOk;
}

void AddPagesVerb(CLI::App& app, Session& session) {
  const auto dataset = std::make_shared<std::string>(), out = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand(
      "pages",
      "What became of the pages of a collection: texts with their sources, duplicates, failures with reasons\n"
      "Example: engram pages news --out pages.jsonl");
  verb->add_option("DATASET", *dataset, "the data set that `engram collect` made")->required();
  verb->add_option("--out", *out, "write each page whole, with its text and its blocks, as a line of JSON");
  verb->callback([=, &session] { session.run = [=, &session] { return Pages(session, *dataset, *out); }; });
}

}  // namespace

void AddCollectVerbs(CLI::App& app, Session& session) {
  const auto arguments = std::make_shared<CollectArguments>();
  CollectArguments& a = *arguments;
  CLI::App* verb = app.add_subcommand(
      "collect",
      "A data set out of web pages and documents, one row a page\nExample: engram collect pages https://example.org/ "
      "notes/ --contact you@example.org --wait");
  verb->add_option("DATASET", a.dataset, "the data set to make")->required();
  verb->add_option("SOURCE", a.sources,
                   "URLs; files and folders (.html, .htm, .xhtml, .txt, .md), which are sent; \"-\": standard input");
  verb->add_option("--url-file", a.url_file, "a file with one URL per line")->check(CLI::ExistingFile);
  verb->add_option("--contact", a.contact, "where the owner of a site can reach you; needed with URLs");
  verb->add_option("--stdin-type", a.stdin_type, "what standard input is")->default_str("text/html");
  a.stdin_type = "text/html";
  verb->add_option("--delay", a.delay_seconds, "least seconds between two requests to one host; default: 1");
  verb->add_option("--page-seconds", a.page_seconds, "seconds that one page may take; default: 30");
  verb->add_option("--max-redirects", a.max_redirects, "redirects that are followed for one page; default: 5");
  verb->add_option("--max-page-mb", a.max_page_mb, "most MiB of one page; default: 20")->check(CLI::NonNegativeNumber);
  verb->add_option("--max-total-mb", a.max_total_mb, "most MiB of all pages over the network; default: 1024")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--priority", a.priority, "higher runs first, -1000 to 1000")->capture_default_str();
  verb->add_option("--request-id", a.request_id, "the same id again gives the same job");
  verb->add_flag("--wait", a.wait, "follow the job to its end");
  verb->add_flag("--validate-only", a.validate_only, "check everything, but queue nothing");
  verb->callback([=, &session] { session.run = [=, &session] { return Collect(session, *arguments); }; });
  AddPagesVerb(app, session);
}

}  // namespace engram::client
