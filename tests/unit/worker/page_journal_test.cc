#include "server/worker/page_journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/files.h"
#include "core/corpus/dataset.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::worker {
namespace {

using engram::v1::Page;
using testing::ElementsAre;

constexpr int64_t kPlenty = 1 << 20;

Page WithText(const std::string& source, const std::string& text) {
  Page page;
  page.set_source(source);
  page.set_text(text);
  page.add_blocks()->set_end_byte(static_cast<int64_t>(text.size()));
  page.set_downloaded_bytes(10);
  return page;
}
Page Broken(const std::string& source) {
  Page page;
  page.set_source(source);
  page.mutable_error()->set_reason("HTTP_404");
  page.set_downloaded_bytes(1);
  return page;
}

class PageJournalTest : public testing::Test {
 protected:
  PageJournal Open(int64_t max_text_bytes = kPlenty) {
    absl::StatusOr<PageJournal> journal = PageJournal::Open(path(), max_text_bytes);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }
  std::vector<std::string> Texts() {
    const auto rows = ReadFile(directory.path() + "/train.jsonl");
    EXPECT_TRUE(rows.ok()) << rows.status();
    const auto dataset = corpus::ParseCanonical(*rows);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    EXPECT_EQ(dataset->kind, corpus::DatasetKind::kText);
    return {dataset->texts.begin(), dataset->texts.end()};
  }
  std::string path() const { return directory.path() + "/collected"; }
  const checkpoint::TemporaryDirectory directory;
};

TEST_F(PageJournalTest, PagesBecomeRowsAndEqualTextsDuplicates) {
  PageJournal journal = Open();
  for (const Page& page : {WithText("a", "one\n\ntwo \U0001F600"), Broken("b"), WithText("c", "three"),
                           WithText("d", "one\n\ntwo \U0001F600")})
    ASSERT_TRUE(journal.Add(page).ok());
  EXPECT_EQ(journal.size(), 4);
  EXPECT_EQ(journal.counts().pages(), 2);
  EXPECT_EQ(journal.counts().duplicates(), 1);
  EXPECT_EQ(journal.counts().failed(), 1);
  EXPECT_EQ(journal.counts().downloaded_bytes(), 31);
  EXPECT_EQ(journal.counts().failures(0).source(), "b");
  ASSERT_TRUE(journal.Finish(directory.path()).ok());
  EXPECT_THAT(Texts(), ElementsAre("one\n\ntwo \U0001F600", "three"));
  EXPECT_EQ(*ReadFile(directory.path() + "/pages.jsonl"), *ReadFile(path()));
}

TEST_F(PageJournalTest, IsTheSameWhereverItWasInterrupted) {
  const std::vector<Page> pages = {WithText("a", "one"), Broken("b"), WithText("c", "one"), WithText("d", "two")};
  std::string whole;
  for (size_t stop = 0; stop <= pages.size(); ++stop) {
    ASSERT_TRUE(RemoveTree(path()).ok());
    {
      PageJournal first = Open();
      for (size_t i = 0; i < stop; ++i) ASSERT_TRUE(first.Add(pages[i]).ok());
    }
    // The last write was cut by the machine's end.
    const std::string before = ReadFile(path()).value();
    ASSERT_TRUE(WriteFileAtomic(path(), before + "{\"source\":\"torn").ok());
    PageJournal second = Open();
    EXPECT_EQ(second.size(), static_cast<int64_t>(stop));
    for (size_t i = stop; i < pages.size(); ++i) ASSERT_TRUE(second.Add(pages[i]).ok());
    EXPECT_EQ(second.counts().pages(), 2);
    EXPECT_EQ(second.counts().duplicates(), 1);
    EXPECT_EQ(second.counts().downloaded_bytes(), 31);
    if (stop == 0) whole = *ReadFile(path());
    EXPECT_EQ(*ReadFile(path()), whole);
  }
}

TEST_F(PageJournalTest, TextsThatDoNotFitAreFailures) {
  PageJournal journal = Open(/*max_text_bytes=*/10);
  ASSERT_TRUE(journal.Add(WithText("a", "0123456")).ok());
  ASSERT_TRUE(journal.Add(WithText("b", "abcd")).ok());
  ASSERT_TRUE(journal.Add(WithText("c", "abc")).ok());
  ASSERT_TRUE(journal.Add(WithText("d", std::string(PageJournal::kMaxTextBytes + 1, 'x'))).ok());
  EXPECT_EQ(journal.counts().pages(), 2);
  EXPECT_EQ(journal.counts().failures(0).error().reason(), "DATASET_TOO_LARGE");
  EXPECT_EQ(journal.counts().failures(1).error().reason(), "TEXT_TOO_LARGE");
  ASSERT_TRUE(journal.Finish(directory.path()).ok());
  EXPECT_THAT(Texts(), ElementsAre("0123456", "abc"));
}

TEST_F(PageJournalTest, DamageIsNoticed) {
  ASSERT_TRUE(WriteFileAtomic(path(), "{\"source\":\"a\"}\nnot json\n{\"source\":\"b\"}\n").ok());
  EXPECT_TRUE(absl::IsDataLoss(PageJournal::Open(path(), kPlenty).status()));
}

}  // namespace
}  // namespace engram::worker
