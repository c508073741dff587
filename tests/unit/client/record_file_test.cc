#include "client/record_file.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

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
  EXPECT_THAT(Texts("p.csv", "id|text\n1|a,b;c\n"), ElementsAre("a,b;c"));
  EXPECT_THAT(Texts("t.csv", "id\ttext\n1\ta \"b, c\n"), ElementsAre("a \"b, c"));
  EXPECT_THAT(Texts("c.tsv", "id,text\n1,\"a\tb\nc\"\n"), ElementsAre("a\tb\nc"));
  EXPECT_THAT(Texts("s.csv", "sep=;\nbody;id\na,b;1\n", "body"), ElementsAre("a,b"));
  EXPECT_THAT(Texts("q.csv", "id,text\n1,  \"a, b\"\n2,  a \"b\n"), ElementsAre("a, b", "  a \"b"));
  // A column that holds a separator of others stays whole.
  EXPECT_THAT(Texts("one.csv", "text\na;b\n"), ElementsAre("a;b"));
  EXPECT_THAT(Texts("a.tsv", "text\tid\n\"Wow\t1\n\"say \"\"a\"\"\"\t2\n\"a\" and \"b\"\t3\n"),
              ElementsAre("\"Wow", "say \"a\"", "\"a\" and \"b\""));
  EXPECT_THAT(Texts("a.jsonl", "{\"q\": \"a\"}\n\n[1]\n{\"q\": 7}\n", "q"),
              ElementsAre("a", "", "!is no JSON object", "!has no text under \"q\""));
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
  EXPECT_EQ(RenderJsonLine(*reader, record, {{"x", 2}}), "{\"n\": 1.50, \"text\": \"a\",\"x\":2}\n");
  ASSERT_TRUE(reader->Next(record));
  EXPECT_EQ(RenderJsonLine(*reader, record, {{"x", 2}}), "{ \"x\":2}\n");
  ASSERT_TRUE(reader->Next(record));
  EXPECT_EQ(RenderJsonLine(*reader, record, {{"x", 2}}), "{\"line\":\"no\",\"x\":2}\n");
  auto table = RecordReader::Open(Write("o.csv", "id,text,id\n1,a,2,more\n"), "", error);
  ASSERT_TRUE(table && table->Next(record));
  EXPECT_EQ(RenderJsonLine(*table, record, {{"x", 2}, {"id", 3}}),
            "{\"id\":\"1\",\"text\":\"a\",\"id (again)\":\"2\",\"cell 4\":\"more\",\"x\":2,\"predicted_id\":3}\n");
}

// A record is never lost in another one's quotes, and what a file is decides before its name.
TEST_F(RecordFile, OddFiles) {
  EXPECT_THAT(Texts("q.csv", "text,id\na,1\n\"Wow, b,2\nc,3\nd,4\n"),
              ElementsAre("a", "!has a quote that is never closed", "c", "d"));
  EXPECT_THAT(Texts("cr.csv", "text,id\ra,1\r\rb,2"), ElementsAre("a", "", "b"));
  EXPECT_THAT(Texts("crcrlf.txt", "a\r\r\nb\r\n"), ElementsAre("a", "b"));
  EXPECT_THAT(Texts("blank.csv", "id,text\n1,a\n\n2,b"), ElementsAre("a", "", "b"));
  EXPECT_THAT(Texts("open.tsv", "text\tid\n\"a\"\"\t1\n\"\t2\n\"\"\t3\n"), ElementsAre("\"a\"\"", "\"", ""));
  EXPECT_THAT(Texts("more.csv", "text,id\na,1,2\n"), ElementsAre("!has 3 cells where the header has 2"));
  EXPECT_THAT(Error("t.csv", "text,text\na,b\n"), HasSubstr("two columns are named \"text\""));
  EXPECT_THAT(Error("g.csv", "\x1F\x8B\x08"), HasSubstr("its end is missing"));
  EXPECT_THAT(Error("u.txt", std::string("\xFF\xFE\0a", 4)), HasSubstr("UTF-16"));
  EXPECT_THAT(Error("z.txt", std::string("a\0b", 3)), HasSubstr("zero bytes"));
  EXPECT_THAT(Error("l.json", "[\n{\"text\": \"a\"}]"), HasSubstr("one list of JSON"));
}

}  // namespace
}  // namespace engram::client
