// JSON rows as the field has them.

#include "tests/unit/corpus/reading_helpers.h"

namespace engram::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ReadOptions OfKind(DatasetKind kind) {
  ReadOptions options;
  options.kind = kind;
  return options;
}

TEST(Json, LabelsUnderOtherNames) {
  EXPECT_THAT(
      Labelled(Parse("{\"text\":\"Good\",\"labels\":[\"pos\"]}\n{\"text\":\"Bad\",\"labels\":[\"neg\"]}\n", "t.jsonl")),
      ElementsAre("Good -> pos", "Bad -> neg"));
  EXPECT_THAT(Labelled(Parse(R"({"id": 7, "utterance": "Good", "intent": "pos", "idx": 3, "meta": {}, "notes": null})",
                             "t.jsonl")),
              ElementsAre("Good -> pos"));
  EXPECT_THAT(Labelled(Parse(R"({"text": "a", "is_new": null, "label": true})", "t.jsonl")), ElementsAre("a -> true"));
  EXPECT_THAT(RefusalText(R"({"text": "a", "labels": ["x", "y"]})", "t.jsonl"), HasSubstr("has 2 labels"));
  EXPECT_THAT(RefusalText(R"({"text": "a", "label": 0, "label_text": "x"})", "t.jsonl"),
              HasSubstr("\"label\", \"label_text\"; name one with --label-column"));
  EXPECT_THAT(RefusalText("{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"category\": \"x\"}\n", "t.jsonl"),
              HasSubstr("line 2 has \"category\" where the first row has \"label\""));
}

TEST(Json, AKeyThatIsNotReadIsRefusedOrNamed) {
  const std::string file = R"({"text": "a", "label": "x", "score": 3})";
  EXPECT_THAT(RefusalText(file, "t.jsonl"), HasSubstr("would not be read: \"score\""));
  ReadOptions options;
  options.label_column = "label";
  const Reading r = Read(file, "t.jsonl", options);
  EXPECT_THAT(Labelled(r.dataset), ElementsAre("a -> x"));
  EXPECT_THAT(NoteOf(r.notes, "COLUMNS_NOT_READ"), HasSubstr("\"score\""));
  EXPECT_THAT(RefusalText(R"({"text": "a", "tags": ["sport", "news"]})", "t.jsonl"), HasSubstr("\"tags\""));
  EXPECT_THAT(RefusalText(R"({"story": "a", "label": "x"})", "t.jsonl"),
              HasSubstr("its keys are \"label\", \"story\"; name the text's with --text-column"));
  options.text_column = "story";
  EXPECT_THAT(Labelled(Parse(R"({"story": "a", "label": "x"})", "t.jsonl", options)), ElementsAre("a -> x"));
  EXPECT_THAT(RefusalText(R"({"title": "a", "body": "b", "label": "x"})", "t.jsonl"),
              HasSubstr("several texts: \"body\", \"title\"; name one with --text-column"));
}

TEST(Json, WordsAndTagsUnderOtherNames) {
  const Reading r = Read(R"({"text":"Ada lived","tokens":["Ada","lived"],"ner_tags":["B-PER","O"]})", "t.jsonl");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Ada/B-PER lived/O"));
  EXPECT_EQ(r.dataset.sentences[0].text, "Ada lived");
  EXPECT_THAT(Tagged(Parse(R"({"id": "0", "tokens":["Ada"],"labels":["B-PER"]})", "t.jsonl")),
              ElementsAre("Ada/B-PER"));
  EXPECT_THAT(RefusalText(R"({"tokens":["Ada"],"pos_tags":["NN"],"ner_tags":["B-PER"]})", "t.jsonl"),
              HasSubstr("\"pos_tags\""));
  ReadOptions options;
  options.tag_column = "ner_tags";
  EXPECT_THAT(Tagged(Parse(R"({"tokens":["Ada"],"pos_tags":["NN"],"ner_tags":["B-PER"]})", "t.jsonl", options)),
              ElementsAre("Ada/B-PER"));
  EXPECT_THAT(RefusalText(R"({"tokens":["Ada"],"ner_tags":[1]})", "t.jsonl"), HasSubstr("numbers"));
  EXPECT_THAT(RefusalText(R"({"tokens":["Ada"]})", "t.jsonl"), HasSubstr("two lists of the same length"));
  EXPECT_THAT(RefusalText(R"({"words":["Ada", "ran"], "tags": ["O"]})", "t.jsonl"),
              HasSubstr("two lists of the same length"));
}

TEST(Json, SchemesOfTagsAreThoseOfTheFile) {
  EXPECT_THAT(Tagged(Parse(R"({"words":["Ada","lived","in","London"],"tags":["S-PER","O","O","S-LOC"]})", "t.jsonl")),
              ElementsAre("Ada/B-PER lived/O in/O London/B-LOC"));
  const std::string iob1 =
      "{\"words\":[\"a\",\"b\"],\"tags\":[\"I-x\",\"I-x\"]}\n{\"words\":[\"c\"],\"tags\":[\"B-y\"]}\n";
  const Reading r = Read(iob1, "t.jsonl");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("a/B-x b/I-x", "c/B-y"));
  EXPECT_THAT(NoteOf(r.notes, "TAGS_REPAIRED"), HasSubstr("line 2"));
  EXPECT_THAT(RefusalText(R"({"words":["a","b"],"tags":["O","Q"]})", "t.jsonl"), HasSubstr("line 1 word 2: tag \"Q\""));
}

TEST(Json, SpansUnderOtherNames) {
  for (
      const char* row :
      {R"({"text": "In Oslo", "entities": [{"start": 3, "end": 7, "label": "City"}]})",
       R"({"text": "In Oslo", "spans": [{"start": 3, "end": 7, "label": "City", "token_start": 1}]})",
       R"({"text": "In Oslo", "label": [[3, 7, "City"]]})", R"({"text": "In Oslo", "labels": [[3, 7, "City"]]})",
       R"({"id": 4, "text": "In Oslo", "entities": [{"id": 1, "start_offset": 3, "end_offset": 7, "label": "City"}], "relations": [], "Comments": []})",
       R"({"text": "In Oslo", "tokens": [{"text": "In", "start": 0}], "spans": [{"start": 3, "end": 7, "label": "City", "text": "Oslo"}]})"}) {
    EXPECT_THAT(Tagged(Parse(row, "t.jsonl")), ElementsAre("In/O Oslo/B-City")) << row;
  }
  EXPECT_THAT(
      RefusalText(R"({"text": "In Oslo", "entities": [{"start": 4, "end": 7, "label": "City", "text": "Oslo"}]})",
                  "t.jsonl"),
      HasSubstr("\"Oslo\" from 4 to 7, where the text has \"slo\""));
  EXPECT_THAT(
      RefusalText(R"({"text": "In Oslo", "entities": [{"start": 3, "end": 7, "label": "City", "link": "Q585"}]})",
                  "t.jsonl"),
      HasSubstr("\"link\""));
}

TEST(Json, ALabelAndEntitiesAreTwoKinds) {
  const std::string file =
      R"({"text":"Fly to Oslo","label":"flight","entities":[{"start":7,"end":11,"label":"City"}]})";
  EXPECT_THAT(RefusalText(file, "t.jsonl"), HasSubstr("--kind classification or --kind tagging"));
  EXPECT_THAT(Labelled(Parse(file, "t.jsonl", OfKind(DatasetKind::kClassification))),
              ElementsAre("Fly to Oslo -> flight"));
  const Reading tagged = Read(file, "t.jsonl", OfKind(DatasetKind::kTagging));
  EXPECT_THAT(Tagged(tagged.dataset), ElementsAre("Fly/O to/O Oslo/B-City"));
  EXPECT_THAT(NoteOf(tagged.notes, "COLUMNS_NOT_READ"), HasSubstr("\"label\""));
  EXPECT_THAT(Parse(file, "t.jsonl", OfKind(DatasetKind::kText)).texts, ElementsAre("Fly to Oslo"));
}

TEST(Json, AnEntityThatCoversNoWordIsListed) {
  const std::string file =
      R"({"text": "Ada  ran", "entities": [{"start": 0, "end": 3, "label": "p"}, {"start": 3, "end": 5, "label": "q"}]})";
  const Reading r = Read(file, "t.jsonl");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Ada/B-p ran/O"));
  EXPECT_THAT(NoteOf(r.notes, "ENTITY_WITHOUT_WORD"), HasSubstr("line 1 \"q\" from 3 to 5"));
  ReadOptions strict;
  strict.strict = true;
  EXPECT_THAT(RefusalText(file, "t.jsonl", strict), HasSubstr("covers no word"));
}

TEST(Json, NeighbouringEntitiesOfOneTypeStayTwo) {
  EXPECT_THAT(
      Tagged(Parse(
          R"({"text": "Ada  Bo C", "entities": [{"start": 0, "end": 4, "label": "p"}, {"start": 4, "end": 9, "label": "p"}]})",
          "t.jsonl")),
      ElementsAre("Ada/B-p Bo/B-p C/I-p"));
}

TEST(Json, OneList) {
  EXPECT_THAT(
      Labelled(Parse("[{\"text\":\"x\",\"label\":\"b\"},\n{\"text\":\"y ]}\\\" [\",\"label\":\"a\"}]\n", "t.json")),
      ElementsAre("x -> b", "y ]}\" [ -> a"));
  EXPECT_THAT(Labelled(Parse("[\n  {\n    \"text\": \"x\",\n    \"label\": \"b\"\n  }\n]", "t.json")),
              ElementsAre("x -> b"));
  EXPECT_EQ(StatusField(Refusal("[{\"text\": \"x\"},\n{\"text\": 7}]", "t.json")), "training line 2");
  EXPECT_THAT(RefusalText("[{\"text\": \"x\"},\n{\"text\": \"y\"}\n", "t.json"), HasSubstr("never closed"));
  EXPECT_THAT(RefusalText("[{\"text\": \"x\"},]", "t.json"), HasSubstr("empty place"));
  EXPECT_THAT(RefusalText("[{\"text\": \"x\"}]\n{\"text\": \"y\"}", "t.json"), HasSubstr("not a JSON object"));
  EXPECT_THAT(RefusalText("[]", "t.json"), HasSubstr("no rows"));
}

TEST(Json, ObjectsThatSpanLines) {
  EXPECT_THAT(Parse("{\n  \"text\": \"x\"\n}\n{\n  \"text\": \"y\"\n}\n", "t.json").texts, ElementsAre("x", "y"));
  EXPECT_EQ(StatusField(Refusal("{\n \"text\": \"x\"\n}\n{\n \"text\": 3}\n", "t.json")), "training line 4");
  // One broken line leaves the others lines.
  const std::string broken = RefusalText("{\"text\": \"x\"\n{\"text\": \"y\"}\n{\"text\": \"z\"}\n", "t.jsonl");
  EXPECT_THAT(broken, HasSubstr("one row does not parse: line 1 is not JSON"));
  EXPECT_THAT(RefusalText(R"({"version": "1.0", "data": [{"text": "x"}]})", "t.json"),
              HasSubstr("\"data\", \"version\""));
}

TEST(Json, UnderOtherNames) {
  for (const char* name : {"t.txt", "t.csv", "t.conll"}) {
    const Reading r = Read("{\"text\": \"x\", \"label\": \"a\"}\n", name);
    EXPECT_THAT(Labelled(r.dataset), ElementsAre("x -> a")) << name;
    EXPECT_THAT(NoteOf(r.notes, "FORMAT"), HasSubstr("JSON"));
  }
}

TEST(Json, OtherShapesAreRefusedByWhatTheyAre) {
  EXPECT_THAT(RefusalText(R"({"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}})", "t.json"),
              HasSubstr("orient=\"records\""));
  EXPECT_THAT(RefusalText(R"({"text": ["a", "b"], "label": ["x", "y"]})", "t.json"), HasSubstr("one object per line"));
  EXPECT_THAT(RefusalText(R"({"train": [{"text": "a", "label": "x"}], "dev": []})", "t.json"),
              HasSubstr("lists (\"dev\", \"train\")"));
  EXPECT_THAT(RefusalText(R"([["Ada ran", {"entities": [[0, 3, "PER"]]}]])", "t.json"), HasSubstr("is a list"));
  EXPECT_THAT(RefusalText("{\"text\": \"a\", \"label\": NaN}\n", "t.jsonl"), HasSubstr("NaN"));
  EXPECT_THAT(RefusalText("{\"text\": \"a\", \"label\": 1.5}\n", "t.jsonl"), HasSubstr("whole number"));
  EXPECT_THAT(RefusalText("{\"text\": \"a\", \"answer\": \"reject\", \"spans\": []}\n", "t.jsonl"),
              HasSubstr("would not be read: \"answer\""));
}

// What would take time or memory out of proportion to a file's size.
TEST(Json, HostileShapesAreBounded) {
  EXPECT_THAT(RefusalText("{\"text\": \"a\", \"x\": " + std::string(3'000'000, '['), "t.jsonl"),
              HasSubstr("nested deeper than 100 levels"));
  EXPECT_EQ(Parse("{\"text\": \"a\", \"id\": " + std::string(99, '[') + std::string(99, ']') + "}\n", "t.jsonl").size(),
            1);
  std::string list = "[";
  for (int i = 0; i < 300'000; ++i) list += "1,";
  EXPECT_THAT(RefusalText(list + "1]", "t.json"), HasSubstr("300001 rows do not parse: line 1 is not a JSON object"));
  const auto zeros = [](int count) {
    std::string row = "{\"text\": \"a\", \"id\": [0";
    for (int i = 1; i < count; ++i) row += ",0";
    return row + "]}\n";
  };
  EXPECT_EQ(Parse(zeros(200'000), "t.jsonl").size(), 1);
  EXPECT_THAT(RefusalText(zeros(999'998), "t.jsonl"), HasSubstr("line 1 has more than 1000000 values"));
  std::string text, entities;
  constexpr int kEntities = 50'000;
  for (int i = 0; i < kEntities; ++i) {
    text += "a ";
    entities += (i > 0 ? ",[" : "[") + std::to_string(2 * i) + "," + std::to_string(2 * i + 1) + ",\"x\"]";
  }
  EXPECT_EQ(CountLabels(Parse("{\"text\": \"" + text + "\", \"entities\": [" + entities + "]}\n", "t.jsonl"))[0].second,
            kEntities);
  EXPECT_EQ(Parse(std::string(300'000, '\r') + "a", "t.txt").texts.size(), 1);
  std::string quotes = "text\tlabel\n";
  for (int i = 0; i < 300'000; ++i) quotes += "\"b\n";
  EXPECT_THAT(RefusalText(quotes, "t.tsv"), HasSubstr("300000 rows do not parse"));
}

}  // namespace
}  // namespace engram::corpus
