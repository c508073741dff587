#include "server/rpc/authenticator.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/files.h"

namespace engram::server {
namespace {

constexpr size_t kFewestCharacters = 16, kMostCharacters = 256;

absl::Status Unauthenticated(std::string_view message) {
  return StatusWithReason(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", message);
}

}  // namespace

absl::StatusOr<Authenticator::Names> Authenticator::Read(std::string_view file) {
  Names names;
  std::set<std::string> seen;
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(AbslView(file), '\n')) {
    const auto wrong = [&number](std::string_view what) {
      return InvalidField("token_file", absl::StrCat("line ", number, " ", AbslView(what)));
    };
    ++number;
    const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty() || words[0].starts_with('#')) continue;
    if (words.size() != 2) return wrong("is no name and token, such as: alice 3f0c5b1e9a7d4862");
    if (words[1].size() < kFewestCharacters || words[1].size() > kMostCharacters)
      return wrong(absl::StrCat("has a token that is not of ", kFewestCharacters, " to ", kMostCharacters,
                                " characters; take a random one"));
    if (!seen.insert(words[0]).second) return wrong("has a name that was there before");
    if (!names.emplace(Sha256Hex(words[1]), words[0]).second) return wrong("has a token that was there before");
  }
  if (names.empty()) return InvalidField("token_file", "has no token, so that nobody could call");
  return names;
}

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Parse(std::string_view file) {
  ENGRAM_ASSIGN_OR_RETURN(Names names, Read(file));
  return std::unique_ptr<Authenticator>(new Authenticator(std::move(names)));
}

absl::Status Authenticator::Replace(std::string_view file) {
  ENGRAM_ASSIGN_OR_RETURN(Names names, Read(file));
  absl::MutexLock lock(&mutex_);
  names_ = std::move(names);
  return absl::OkStatus();
}

absl::StatusOr<std::string> Authenticator::Check(std::string_view authorization) const {
  constexpr std::string_view kKind = "Bearer ";
  if (authorization.empty()) return Unauthenticated("this server wants a token: authorization: Bearer TOKEN");
  if (!absl::StartsWithIgnoreCase(AbslView(authorization), AbslView(kKind)))
    return Unauthenticated("the authorization is of no kind that this server takes; it is \"Bearer TOKEN\"");
  // What is compared is a digest: how long that takes says nothing of a token.
  const std::string digest = Sha256Hex(std::string(authorization.substr(kKind.size())));
  absl::MutexLock lock(&mutex_);
  const auto found = names_.find(digest);
  if (found == names_.end()) return Unauthenticated("the token is none that this server knows");
  return found->second;
}

}  // namespace engram::server
