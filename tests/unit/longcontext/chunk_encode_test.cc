#include "core/longcontext/chunk_encode.h"

#include <algorithm>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include "core/base/files.h"
#include "core/base/utf8.h"
#include "core/nn/packed_batch.h"
#include "tests/unit/tiny_model.h"

namespace engram::longcontext {
namespace {

TEST(TokenWindows, PartitionTheTokensAndEndBetweenWords) {
  RandomStream random(1, RandomPurpose::kSubset, 0);
  for (int round = 0; round < 50; ++round) {
    std::vector<int32_t> words;
    int32_t word = 0;
    const uint64_t length = 1 + random.NextBelow(300);
    for (uint64_t i = 0; i < length; ++i) words.push_back(word += random.NextBelow(3) == 0 ? 0 : 1);
    const auto overlap = static_cast<int64_t>(random.NextBelow(11));
    const std::vector<TokenWindow> windows = PlanTokenWindows(words, 20, overlap);
    int64_t owned = 0;
    for (size_t i = 0; i < windows.size(); ++i) {
      const TokenWindow& w = windows[i];
      EXPECT_EQ(w.first_owned, owned);
      EXPECT_LE(w.begin, w.first_owned);
      EXPECT_LE(w.end_owned, w.end);
      EXPECT_LE(w.end - w.begin, 20);
      EXPECT_TRUE(i + 1 == windows.size() || windows[i + 1].begin == w.end - overlap);
      owned = w.end_owned;
    }
    EXPECT_EQ(owned, static_cast<int64_t>(words.size()));
  }
}

TEST(TokenWindows, PreferTheEndOfAWord) {
  // Words of 3 tokens, a budget of 10: three whole words per chunk.
  std::vector<int32_t> words;
  for (int32_t i = 0; i < 30; ++i) words.push_back(i / 3);
  for (const TokenWindow& w : PlanTokenWindows(words, 10, 0)) EXPECT_EQ(w.begin % 3, 0);
}

class EncodeDocumentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-vocab-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (char c = 'a'; c <= 'z'; ++c) vocabulary += std::string(1, c) + "\n##" + c + "\n";
    ASSERT_TRUE(WriteFileAtomic(directory_ + "/vocab.txt", vocabulary).ok());
    ASSERT_TRUE(WriteFileAtomic(directory_ + "/tokenizer_config.json",
                                R"({"tokenizer_class": "BertTokenizer", "do_lower_case": true})")
                    .ok());
    auto tokenizer = tokenize::LoadTokenizer(directory_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    for (int i = 0; i < 40; ++i) text_ += std::string("ab é xyz ").substr(0, 3 + static_cast<size_t>(i % 3) * 3);
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }
  // What the model makes of the tokens from `begin` on, special tokens around them left out: [count, 32].
  at::Tensor Rows(const tokenize::Encoding& encoding, int64_t begin, int64_t count) const {
    nn::Sequence sequence;
    sequence.ids = {2};
    sequence.ids.insert(sequence.ids.end(), encoding.ids.begin() + begin, encoding.ids.begin() + begin + count);
    sequence.ids.push_back(3);
    const nn::PackedBatch batch = nn::Pack(std::span<const nn::Sequence>(&sequence, 1), at::kCPU).value();
    return model_->Encode(batch, std::nullopt, nullptr).narrow(0, 1, count);
  }
  std::string directory_, text_;
  std::unique_ptr<tokenize::Tokenizer> tokenizer_;
  const std::unique_ptr<nn::Model> model_ = TinyModel({}, 2, 0);
};

TEST_F(EncodeDocumentTest, EqualsOneChunkAtATimeWeightedByTokens) {
  for (const Aggregation aggregation : {Aggregation::kTokenMean, Aggregation::kMax}) {
    ChunkOptions options;
    options.aggregation = aggregation;
    options.chunk_tokens = 16;
    options.batch_tokens = 64;
    const auto vectors = EncodeDocument(*model_, *tokenizer_, text_, options);
    ASSERT_TRUE(vectors.ok()) << vectors.status();
    ASSERT_GT(vectors->chunks.size(), 3);
    tokenize::EncodeOptions bare;
    bare.add_special_tokens = false;
    const tokenize::Encoding encoding = tokenizer_->Encode(text_, bare).value();
    EXPECT_EQ(vectors->tokens, static_cast<int64_t>(encoding.ids.size()));
    std::vector<double> expected(32, aggregation == Aggregation::kMax ? -1e30 : 0);
    int64_t at = 0;
    for (const Chunk& chunk : vectors->chunks) {
      const at::Tensor hidden = Rows(encoding, at, chunk.tokens);
      for (int64_t t = 0; t < chunk.tokens; ++t) {
        for (int64_t j = 0; j < 32; ++j) {
          const double h = hidden[t][j].item<float>();
          auto& value = expected[static_cast<size_t>(j)];
          value =
              aggregation == Aggregation::kMax ? std::max(value, h) : value + h / static_cast<double>(vectors->tokens);
        }
      }
      EXPECT_EQ(chunk.start, encoding.code_points[static_cast<size_t>(at)].begin);
      EXPECT_EQ(CountCodePoints(text_.substr(0, static_cast<size_t>(chunk.end_byte))), chunk.end);
      at += chunk.tokens;
    }
    EXPECT_EQ(at, vectors->tokens);
    for (size_t j = 0; j < 32; ++j) EXPECT_NEAR(vectors->document[j], expected[j], 1e-5);
  }
}

// Of numbers below 0 the largest is below 0, too.
TEST_F(EncodeDocumentTest, TheMaximumOfOneTokenIsItsVector) {
  ChunkOptions options;
  options.aggregation = Aggregation::kMax;
  const auto vectors = EncodeDocument(*model_, *tokenizer_, "a", options);
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  tokenize::EncodeOptions bare;
  bare.add_special_tokens = false;
  const at::Tensor row = Rows(tokenizer_->Encode("a", bare).value(), 0, 1)[0];
  int negative = 0;
  for (int64_t j = 0; j < 32; ++j) {
    EXPECT_NEAR(vectors->document[static_cast<size_t>(j)], row[j].item<float>(), 1e-6);
    negative += row[j].item<float>() < 0;
  }
  EXPECT_GT(negative, 5);
}

// Each token counts once, as the chunk sees it in which it stands farther from the border (the left one where both do).
TEST_F(EncodeDocumentTest, ATokenOfAnOverlapCountsInOneChunk) {
  ChunkOptions options;
  options.chunk_tokens = 16;
  options.overlap = 5;
  const auto vectors = EncodeDocument(*model_, *tokenizer_, text_, options);
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  tokenize::EncodeOptions bare;
  bare.add_special_tokens = false;
  const tokenize::Encoding encoding = tokenizer_->Encode(text_, bare).value();
  std::vector<std::pair<int64_t, at::Tensor>> best(encoding.ids.size(), {-1, at::Tensor()});
  int64_t begin = 0;
  for (const Chunk& chunk : vectors->chunks) {
    const at::Tensor rows = Rows(encoding, begin, chunk.tokens);
    for (int64_t t = 0; t < chunk.tokens; ++t) {
      auto& [distance, row] = best[static_cast<size_t>(begin + t)];
      const int64_t here = std::min(begin + t == 0 ? 1000 : t, chunk.tokens - 1 - t);
      if (here > distance) best[static_cast<size_t>(begin + t)] = {here, rows[t]};
    }
    begin += chunk.tokens - options.overlap;
  }
  std::vector<double> expected(32, 0);
  for (const auto& [distance, row] : best) {
    ASSERT_GE(distance, 0);
    for (int64_t j = 0; j < 32; ++j)
      expected[static_cast<size_t>(j)] += row[j].item<float>() / static_cast<double>(best.size());
  }
  for (size_t j = 0; j < 32; ++j) EXPECT_NEAR(vectors->document[j], expected[j], 1e-6);
}

TEST_F(EncodeDocumentTest, OverlapsDoNotCountTwiceAndNormalisedVectorsHaveLengthOne) {
  ChunkOptions options;
  options.chunk_tokens = 16;
  options.overlap = 5;
  options.normalize = true;
  const auto vectors = EncodeDocument(*model_, *tokenizer_, text_, options);
  ASSERT_TRUE(vectors.ok());
  int64_t encoded = 0;
  for (const Chunk& chunk : vectors->chunks) encoded += chunk.tokens;
  EXPECT_EQ(encoded, vectors->tokens + 5 * (static_cast<int64_t>(vectors->chunks.size()) - 1));
  double squares = 0;
  for (const float v : vectors->document) squares += static_cast<double>(v) * v;
  EXPECT_NEAR(squares, 1, 1e-5);
}

TEST_F(EncodeDocumentTest, Refusals) {
  EXPECT_EQ(StatusField(EncodeDocument(*model_, *tokenizer_, " \n", {}).status()), "text");
  ChunkOptions options;
  options.chunk_tokens = 1000;
  EXPECT_EQ(StatusField(EncodeDocument(*model_, *tokenizer_, text_, options).status()), "chunk_tokens");
  options.chunk_tokens = 16;
  options.overlap = 14;
  EXPECT_EQ(StatusField(EncodeDocument(*model_, *tokenizer_, text_, options).status()), "overlap");
  options.overlap = 0;
  options.max_result_bytes = 500;  // a chunk with its vector of 32 numbers takes more than a third of it
  EXPECT_EQ(StatusField(EncodeDocument(*model_, *tokenizer_, text_, options).status()), "chunk_tokens");
  options.max_result_bytes = 1 << 20;
  options.chunk_vectors = false;
  EXPECT_FALSE(EncodeDocument(*model_, *tokenizer_, text_, options)->chunk_vectors.defined());
  options.progress = [](int64_t, int64_t) { return false; };
  EXPECT_TRUE(absl::IsCancelled(EncodeDocument(*model_, *tokenizer_, text_, options).status()));
}

}  // namespace
}  // namespace engram::longcontext
