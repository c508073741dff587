#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/base/files.h"
#include "server/jobs/collection_service.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::server {
namespace {

using engram::v1::ListPagesResponse;

// Every page of a file, answer by answer.
std::vector<std::string> Sources(const std::string& path, int64_t page_size, int& answers) {
  std::vector<std::string> sources;
  std::string token;
  answers = 0;
  do {
    ListPagesResponse answer;
    const absl::Status status = ReadPages(path, token, page_size, answer);
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) break;
    for (const auto& page : answer.pages()) sources.push_back(page.source());
    token = answer.next_page_token();
    ++answers;
  } while (!token.empty());
  return sources;
}

TEST(Collection, PagesComeInPartsByNumberAndBySize) {
  const checkpoint::TemporaryDirectory directory;
  const std::string path = directory.path() + "/pages.jsonl";
  std::string lines;
  std::vector<std::string> expected;
  for (int i = 0; i < 5; ++i) {
    expected.push_back("page \u00E4 " + std::to_string(i));
    lines += "{\"source\":\"" + expected.back() + "\",\"text\":\"" + std::string(2 << 20, 'x') + "\"}\n";
  }
  ASSERT_TRUE(WriteFileAtomic(path, lines).ok());
  int answers = 0;
  EXPECT_EQ(Sources(path, 1, answers), expected);
  EXPECT_EQ(answers, 5);
  EXPECT_EQ(Sources(path, 1000, answers), expected);
  EXPECT_EQ(answers, 3) << "two pages of 2 MiB are enough for one answer";
}

TEST(Collection, TokensThatNoAnswerGaveAreRefused) {
  const checkpoint::TemporaryDirectory directory;
  const std::string path = directory.path() + "/pages.jsonl";
  ASSERT_TRUE(WriteFileAtomic(path, "{\"source\":\"a\"}\n{\"source\":\"b\"}\n").ok());
  ListPagesResponse answer;
  ASSERT_TRUE(ReadPages(path, "", 1, answer).ok());
  EXPECT_EQ(answer.next_page_token(), "15");
  for (const char* token : {"1", "14", "16", "-1", "0", "31", "x", "99999999999999999999"})
    EXPECT_EQ(StatusField(ReadPages(path, token, 1, answer)), "page_token") << token;
  ASSERT_TRUE(WriteFileAtomic(path, "{\"source\":\"a\"}\nnot json\n").ok());
  ListPagesResponse damaged;
  EXPECT_TRUE(absl::IsDataLoss(ReadPages(path, "", 2, damaged)));
}

}  // namespace
}  // namespace engram::server
