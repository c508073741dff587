#include <stdlib.h>

#include "core/base/files.h"
#include "core/tokenize/tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace engram::tokenize {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
constexpr const char* kVocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nHello\ne\n";

Json Good() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 3, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                   "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
      "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
      "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                         "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100,
              "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "hello": 5, "Hello": 6, "e": 7}}})");
}

absl::Status Load(const Json& json, const TokenizerTexts& others = {}) {
  TokenizerTexts texts = others;
  texts.tokenizer_json = json.dump();
  return ParseTokenizer(texts).status();
}

// Good() with the value at `pointer` replaced is refused by an error on `field`.
void ExpectRefused(const char* pointer, const Json& value, const char* field) {
  Json json = Good();
  json[Json::json_pointer(pointer)] = value;
  const absl::Status status = Load(json);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << pointer;
  EXPECT_THAT(StatusField(status), HasSubstr(field)) << pointer << " = " << value;
}

TEST(TokenizerJson, WhatIsNotUnderstoodIsRefusedByName) {
  ASSERT_TRUE(Load(Good()).ok()) << Load(Good());
  ExpectRefused("/model/type", "BPE", "tokenizer.json: pre_tokenizer");  // BERT's has no use for it
  ExpectRefused("/model/type", "WordLevel", "tokenizer.json: model");
  ExpectRefused("/model", nullptr, "tokenizer.json: model");
  ExpectRefused("/normalizer", Json{{"type", "NFC"}}, "tokenizer.json: normalizer");
  ExpectRefused("/normalizer", nullptr, "tokenizer.json: normalizer");
  ExpectRefused("/pre_tokenizer/type", "Whitespace", "tokenizer.json: pre_tokenizer");
  ExpectRefused("/post_processor", nullptr, "tokenizer.json: post_processor");
  ExpectRefused("/post_processor/type", "RobertaProcessing", "tokenizer.json: post_processor");
  ExpectRefused("/post_processor/pair/3/Sequence/type_id", 2, "tokenizer.json: post_processor");
  ExpectRefused("/post_processor/special_tokens/[SEP]/ids/0", 4, "tokenizer.json: post_processor");
  ExpectRefused("/post_processor/single/1", "A", "tokenizer.json: post_processor");
  ExpectRefused("/extra", 1, "tokenizer.json.\"extra\"");
  ExpectRefused("/normalizer/extra", 1, "tokenizer.json: normalizer.\"extra\"");
  ExpectRefused("/model/dropout", 0.1, "tokenizer.json: model.\"dropout\"");
  ExpectRefused("/added_tokens/0/content", "[sep]", "added_tokens");
  ExpectRefused("/added_tokens/0/id", 99, "added_tokens");
  ExpectRefused("/added_tokens/0/lstrip", 1, "tokenizer.json: added_tokens[0].lstrip");
}

// Files from before tokenizers 0.9 do not name the model's type: what the object holds says it, as in the wheel.
TEST(TokenizerJson, AModelWithoutATypeIsWhatItHolds) {
  Json json = Good();
  json["model"].erase("type");
  EXPECT_TRUE(Load(json).ok()) << Load(json);
  const auto refusal = [&](const char* pointer, const Json& value) {
    Json changed = json;
    changed[Json::json_pointer(pointer)] = value;
    return std::string(Load(changed).message());
  };
  json["pre_tokenizer"] = nullptr;
  json["normalizer"] = nullptr;
  EXPECT_THAT(refusal("/model/merges", Json::array()), HasSubstr("continuing_subword_prefix"));  // not of BPE
  EXPECT_THAT(refusal("/model/vocab", Json::array()), HasSubstr("unk_id"));  // and none of a Unigram
  EXPECT_THAT(refusal("/model", Json{{"vocab", Json::object()}, {"unk_token", "[UNK]"}}), HasSubstr("\"WordLevel\""));
  EXPECT_THAT(refusal("/model", Json{{"vocab", Json::object()}}), HasSubstr("fits no kind of tokenizer"));
  EXPECT_THAT(refusal("/model/type", 7), HasSubstr("fits no kind of tokenizer"));
}

// Each of these once ended the process: a reader that converts without asking throws.
TEST(TokenizerJson, ValuesOfAnotherTypeAreRefusedByName) {
  for (const Json& wrong : {Json(5), Json("text"), Json::array({1}), Json(true), Json(-1), Json(1e300)}) {
    ExpectRefused("/model/vocab", wrong, "tokenizer.json: model.vocab");
    if (!wrong.is_string()) ExpectRefused("/model/unk_token", wrong, "unk_token");
    if (!wrong.is_string()) ExpectRefused("/model/continuing_subword_prefix", wrong, "continuing_subword_prefix");
    if (wrong != Json(5)) ExpectRefused("/model/max_input_chars_per_word", wrong, "max_input_chars_per_word");
    if (!wrong.is_boolean()) ExpectRefused("/normalizer/lowercase", wrong, "lowercase");
    ExpectRefused("/added_tokens", wrong, "added_tokens");
    ExpectRefused("/post_processor", wrong, "post_processor");
    if (wrong != Json(5)) ExpectRefused("/model/vocab/e", wrong, "tokenizer.json: model.vocab");
  }
  ExpectRefused("/model/vocab/e", 8, "tokenizer.json: model.vocab");  // a hole
  ExpectRefused("/model/vocab/e", 6, "tokenizer.json: model.vocab");  // twice
  ExpectRefused("/model/unk_token", "", "vocabulary");
  const std::string text = Good().dump();
  for (size_t size = 0; size < text.size(); ++size) {
    TokenizerTexts texts;
    texts.tokenizer_json = text.substr(0, size);
    EXPECT_FALSE(ParseTokenizer(texts).ok()) << size;
  }
}

TEST(TokenizerJson, BertProcessingIsTheSameTemplate) {
  Json json = Good();
  json["post_processor"] = {
      {"type", "BertProcessing"}, {"sep", Json::array({"[SEP]", 3})}, {"cls", Json::array({"[CLS]", 2})}};
  EXPECT_TRUE(Load(json).ok());
  json["post_processor"]["sep"][1] = 4;
  EXPECT_FALSE(Load(json).ok());
}

TEST(TokenizerFiles, FilesThatContradictEachOther) {
  TokenizerTexts texts;
  texts.vocabulary = kVocabulary;
  texts.tokenizer_config = R"({"do_lower_case": true, "cls_token": {"content": "[CLS]", "lstrip": false},
                               "strip_accents": null, "model_max_length": 512})";
  texts.special_tokens_map = R"({"mask_token": "[MASK]"})";
  EXPECT_TRUE(Load(Good(), texts).ok()) << Load(Good(), texts);
  const auto refused = [&](auto member, const char* text) {
    TokenizerTexts changed = texts;
    changed.*member = text;
    return StatusField(Load(Good(), changed));
  };
  using T = TokenizerTexts;
  EXPECT_EQ(refused(&T::vocabulary, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhallo\nHello\ne\n"), "vocab.txt line 6");
  EXPECT_EQ(refused(&T::vocabulary, "[PAD]\n"), "vocab.txt line 2");
  EXPECT_EQ(refused(&T::vocabulary, "[PAD]\n\xff\n"), "vocab.txt line 2");
  EXPECT_EQ(refused(&T::vocabulary, ""), "vocab.txt");
  EXPECT_EQ(refused(&T::tokenizer_config, R"({"do_lower_case": false})"), "tokenizer_config.json: do_lower_case");
  EXPECT_EQ(refused(&T::tokenizer_config, R"({"strip_accents": false})"), "tokenizer_config.json: strip_accents");
  EXPECT_EQ(refused(&T::tokenizer_config, R"({"sep_token": "</s>"})"), "tokenizer_config.json: sep_token");
  EXPECT_EQ(refused(&T::tokenizer_config, R"({"do_basic_tokenize": false})"),
            "tokenizer_config.json: do_basic_tokenize");
  EXPECT_EQ(refused(&T::tokenizer_config, R"({"never_split": ["x"]})"), "tokenizer_config.json: never_split");
  EXPECT_EQ(refused(&T::tokenizer_config, R"({"added_tokens_decoder": {"3": {"content": "[X]", "special": true}}})"),
            "added_tokens");
  EXPECT_EQ(refused(&T::tokenizer_config, R"({"added_tokens_decoder": {"x": {"content": "[X]", "special": true}}})"),
            "tokenizer_config.json: added_tokens_decoder");
  EXPECT_EQ(refused(&T::special_tokens_map, R"({"cls_token": "<s>"})"), "special_tokens_map.json: cls_token");
  EXPECT_EQ(refused(&T::special_tokens_map, R"({"cls_token": 7})"), "special_tokens_map.json: cls_token");
  EXPECT_EQ(refused(&T::added_tokens, R"({"[NEW]": 9})"), "added_tokens");
  EXPECT_EQ(refused(&T::added_tokens, R"({"[SEP]": 8})"), "added_tokens.json");
  EXPECT_EQ(refused(&T::tokenizer_config,
                    R"({"added_tokens_decoder": {"3": {"content": "[SEP]", "special": true, "rstrip": true}}})"),
            "tokenizer_config.json: added_tokens");
  EXPECT_EQ(refused(&T::tokenizer_config, R"({"split_special_tokens": "no"})"),
            "tokenizer_config.json: split_special_tokens");
  EXPECT_EQ(refused(&T::special_tokens_map, R"({"additional_special_tokens": [7]})"),
            "special_tokens_map.json: additional_special_tokens");
  EXPECT_EQ(refused(&T::added_tokens, R"({"[NEW]": "8"})"), "added_tokens.json: \"[NEW]\"");
}

TEST(TokenizerFiles, VocabularyAlone) {
  const auto load = [](const char* config) {
    TokenizerTexts texts;
    texts.vocabulary = kVocabulary;
    if (config != nullptr) texts.tokenizer_config = config;
    return ParseTokenizer(texts);
  };
  const auto id = [](const auto& tokenizer) { return tokenizer.value()->Encode("Hello é", {}).value().ids; };
  EXPECT_EQ(id(load(nullptr)), (std::vector<int32_t>{2, 5, 7, 3}));
  EXPECT_EQ(id(load(R"({"do_lower_case": false, "tokenizer_class": "BertTokenizer"})")),
            (std::vector<int32_t>{2, 6, 1, 3}));
  EXPECT_EQ(id(load(R"({"do_lower_case": false, "strip_accents": true})")), (std::vector<int32_t>{2, 6, 7, 3}));
  EXPECT_EQ(StatusField(load(R"({"tokenizer_class": "RobertaTokenizer"})").status()),
            "tokenizer_config.json: tokenizer_class");
  EXPECT_EQ(StatusField(ParseTokenizer({}).status()), "tokenizer");
}

TEST(TokenizerFiles, AreReadFromADirectory) {
  std::string directory = ::testing::TempDir() + "/engram-tokenizer-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  EXPECT_EQ(StatusField(LoadTokenizer(directory).status()), "tokenizer");
  ASSERT_TRUE(WriteFileAtomic(directory + "/vocab.txt", kVocabulary).ok());
  EXPECT_EQ(LoadTokenizer(directory).value()->vocabulary_size(), 8);
  ASSERT_TRUE(WriteFileAtomic(directory + "/added_tokens.json", R"({"[NEW]": 8})").ok());
  EXPECT_EQ(LoadTokenizer(directory).value()->TokenToId("[NEW]"), 8);
  ASSERT_TRUE(RemoveTree(directory).ok());
}

}  // namespace
}  // namespace engram::tokenize
