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
  EXPECT_THAT(Texts("c.txt", "caf\xE9\n"), ElementsAre(HasSubstr("!is not UTF-8")));
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
  EXPECT_THAT(Error("z.txt", std::string("a\0b", 3)), HasSubstr("zero bytes"));
  EXPECT_THAT(Error("w.csv", "<!DOCTYPE html>\n<html>"), HasSubstr("web page"));
  EXPECT_THAT(Error("x.csv", "PK\x03\x04..."), HasSubstr("ZIP"));
}

// A cell of a table with tabs goes over lines only where its row would lack columns otherwise, and holds no tab then.
TEST_F(RecordFile, CellsWithTabsOrLineEnds) {
  EXPECT_THAT(Texts("s.tsv", "text\tid\n\"two\nlines\"\t1\nb\t2\n"), ElementsAre("two\nlines", "b"));
  EXPECT_THAT(Texts("m.tsv", "id\ttext\n1\t\"a \"\"b\"\"\n\nc\"\n2\td\n"), ElementsAre("a \"b\"\n\nc", "d"));
  EXPECT_THAT(Texts("t.tsv", "text\tid\n\"a\tb\"\t1\nc\t2\n"), ElementsAre("a\tb", "c"));
  EXPECT_THAT(Texts("o.tsv", "text\tid\n\"Wow\t1\nb\"\t2\n"), ElementsAre("\"Wow", "b\""));
  EXPECT_THAT(Texts("n.tsv", "text\tid\n\"open\nb\t2\nc\t3\n"),
              ElementsAre("!has 1 cells where the header has 2", "b", "c"));
}

TEST_F(RecordFile, JsonInAListOrOverLines) {
  EXPECT_THAT(
      Texts("l.json",
            "[\n  {\"text\": \"a]\", \"n\": [1, {\"m\": 2}]},\n\n  {\"text\":\n\"b\"}, {\"text\": \"c\"} , 7\n]\n"),
      ElementsAre("a]", "b", "c", "!is no JSON object"));
  EXPECT_THAT(Texts("one.json", "[{\"text\": \"a\"},{\"text\": \"}\\\"{\"}]"), ElementsAre("a", "}\"{"));
  EXPECT_THAT(Texts("empty.json", "[]\n"), ElementsAre());
  EXPECT_THAT(Texts("o.json", "{\n  \"text\": \"a\"\n}\n\n{\n  \"text\": \"b\"\n}\n"), ElementsAre("a", "b"));
  EXPECT_THAT(Texts("b.json", "[{\"text\": \"a\"},\n{\"text\": \"b\",\n{\"text\": \"c\"}]"),
              ElementsAre("a", "!is no JSON object", "c"));
  std::string error;
  Record record;
  auto reader = RecordReader::Open(Write("r.json", "[{\"n\":\n1.50,\n\"text\": \"a\"}]"), "", error);
  ASSERT_TRUE(reader && reader->Next(record));
  EXPECT_EQ(RenderJsonLine(*reader, record, {{"x", 2}}), "{\"n\": 1.50, \"text\": \"a\",\"x\":2}\n");
}

// A text in UTF-16 or UTF-32, as it comes through the codec of `big_endian` and `unit` bytes.
std::string Wide(const std::u32string& text, size_t unit, bool big_endian, bool mark) {
  std::string bytes;
  const auto put = [&](char32_t value) {
    for (size_t i = 0; i < unit; ++i) bytes += static_cast<char>(value >> 8 * (big_endian ? unit - 1 - i : i) & 0xFF);
  };
  if (mark) put(0xFEFF);
  for (const char32_t c : text) {
    if (unit == 2 && c > 0xFFFF) {
      put(0xD800 + ((c - 0x10000) >> 10));
      put(0xDC00 + ((c - 0x10000) & 0x3FF));
    } else {
      put(c);
    }
  }
  return bytes;
}

TEST_F(RecordFile, Utf16AndUtf32AreRead) {
  const std::u32string text = U"text,id\nGr\u00fc\u00dfe \u20ac \U0001F600,1\n\"a\nb\",2\n";
  for (const size_t unit : {2U, 4U}) {
    for (const bool big_endian : {false, true}) {
      EXPECT_THAT(Texts("w.csv", Wide(text, unit, big_endian, true)),
                  ElementsAre("Gr\u00fc\u00dfe \u20ac \U0001F600", "a\nb"));
    }
  }
  EXPECT_THAT(Texts("n.csv", Wide(text, 2, false, false)), ElementsAre(HasSubstr("\U0001F600"), "a\nb"));
  EXPECT_THAT(Texts("n.csv", Wide(text, 2, true, false)), ElementsAre(HasSubstr("\U0001F600"), "a\nb"));
  // Longer than what is read at once, so that characters lie across the parts.
  std::u32string longer = U"text\nx";
  for (int i = 0; i < 100'000; ++i) longer += U"\U0001F600";
  const std::vector<std::string> texts = Texts("long.csv", Wide(longer, 2, false, true));
  ASSERT_EQ(texts.size(), 1U);
  EXPECT_EQ(texts[0].size(), 1 + 4 * 100'000U);
  EXPECT_EQ(texts[0].find("\U0001F600", 1), 1U);
  // Half a pair is no character, and half a unit no end.
  EXPECT_THAT(Texts("h.csv", Wide(U"text\na", 2, false, true) + std::string("\x3d\xd8\x0a\0", 4)),
              ElementsAre(HasSubstr("not UTF-8")));
  std::string error;
  auto reader = RecordReader::Open(Write("e.txt", Wide(U"ab", 2, false, true) + "c"), "", error);
  ASSERT_TRUE(reader);
  for (Record record; reader->Next(record);) {
  }
  EXPECT_FALSE(reader->whole());
  EXPECT_STREQ(reader->encoding(), "UTF-16 (little-endian)");
}

}  // namespace
}  // namespace engram::client
