#include "client/record_file.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RecordFile : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes) {
    const std::string path = ::testing::TempDir() + "record_file_" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  // "text" or "!problem" of each record.
  std::vector<std::string> Texts(const std::string& name, const std::string& bytes, const std::string& column = "") {
    std::string error;
    auto reader = RecordReader::Open(Write(name, bytes), column, error);
    EXPECT_TRUE(reader.has_value()) << error;
    std::vector<std::string> texts;
    for (Record record; reader && reader->Next(record);)
      texts.push_back(record.problem.empty() ? record.text : "!" + record.problem);
    return texts;
  }

  std::string Error(const std::string& name, const std::string& bytes, const std::string& column = "") {
    std::string error;
    EXPECT_FALSE(RecordReader::Open(Write(name, bytes), column, error).has_value());
    return error;
  }
};

TEST_F(RecordFile, LinesTablesAndObjects) {
  EXPECT_THAT(Texts("a.txt", "one\r\n\nthree"), ElementsAre("one", "", "three"));
  EXPECT_THAT(Texts("a.csv", "\xEF\xBB\xBFid,text\r\n1,\"a, \"\"b\"\"\nc\"\r\n2,5\" disk\r\n3\r\n"),
              ElementsAre("a, \"b\"\nc", "5\" disk", "!has 1 cells where the header has 2"));
  EXPECT_THAT(Texts("b.csv", "id;text\n1;a,b\n"), ElementsAre("a,b"));
  EXPECT_THAT(Texts("a.tsv", "text\tid\n\"Wow\t1\n\"say \"\"a\"\"\"\t2\n\"a\" and \"b\"\t3\n"),
              ElementsAre("\"Wow", "say \"a\"", "\"a\" and \"b\""));
  EXPECT_THAT(Texts("a.jsonl", "{\"q\": \"a\"}\n\n[1]\n{\"q\": 7}\n", "q"),
              ElementsAre("a", "!is no JSON object", "!is no JSON object", "!has no text under \"q\""));
  EXPECT_THAT(Texts("c.txt", "caf\xE9\n"), ElementsAre("!is not UTF-8"));
  EXPECT_THAT(Texts("c.csv", "body\nx\n"), ElementsAre("x"));
  EXPECT_THAT(Error("d.csv", "id,body\n1,x\n"), HasSubstr("\"id\", \"body\": name one with --text-column"));
  EXPECT_THAT(Error("e.csv", ""), HasSubstr("empty"));
}

TEST_F(RecordFile, RowsAreRenderedSoThatTheyReadBack) {
  const std::vector<std::string> cells = {"plain", "a,b", "say \"c\"", "two\nlines", "\"quoted\"", "tab\there", ""};
  std::string header = "a,b,c,d,e,f,text\n", error;
  auto csv = RecordReader::Open(Write("r.csv", header + RenderRow(RecordFormat::kCsv, cells)), "", error);
  Record record;
  ASSERT_TRUE(csv && csv->Next(record)) << error;
  EXPECT_EQ(record.cells, cells);
  const std::vector<std::string> flat = {"plain", "a,b", "say \"c\"", "\"quoted\"", "\"open", ""};
  auto tsv =
      RecordReader::Open(Write("r.tsv", "a\tb\tc\td\te\ttext\n" + RenderRow(RecordFormat::kTsv, flat)), "", error);
  ASSERT_TRUE(tsv && tsv->Next(record)) << error;
  EXPECT_EQ(record.cells, flat);
}

TEST_F(RecordFile, ObjectsKeepTheirMembers) {
  std::string error;
  Record record;
  auto reader = RecordReader::Open(Write("o.jsonl", "{\"n\": 1.50, \"text\": \"a\"}\n{ }\nno\n"), "", error);
  ASSERT_TRUE(reader && reader->Next(record));
  EXPECT_EQ(RenderJsonLine(*reader, record, R"({"x":2})"), "{\"n\": 1.50, \"text\": \"a\",\"x\":2}\n");
  ASSERT_TRUE(reader->Next(record));
  EXPECT_EQ(RenderJsonLine(*reader, record, R"({"x":2})"), "{ \"x\":2}\n");
  ASSERT_TRUE(reader->Next(record));
  EXPECT_EQ(RenderJsonLine(*reader, record, R"({"x":2})"), "{\"line\":\"no\",\"x\":2}\n");
  auto table = RecordReader::Open(Write("o.csv", "id,text\n1,a\n"), "", error);
  ASSERT_TRUE(table && table->Next(record));
  EXPECT_EQ(RenderJsonLine(*table, record, R"({"x":2})"), "{\"id\":\"1\",\"text\":\"a\",\"x\":2}\n");
}

}  // namespace
}  // namespace engram::client
