#include "core/longcontext/document.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include "core/base/files.h"
#include "core/base/utf8.h"
#include "core/nn/packed_batch.h"
#include "tests/unit/longcontext/reference.h"
#include "tests/unit/tiny_model.h"

namespace engram::longcontext {
namespace {

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
    // 137 words of one token each: where windows end is then a matter of numbers alone.
    for (int i = 0; i < 137; ++i)
      text_ += i % 11 == 5 ? "é " : std::string(1, static_cast<char>('a' + i * 7 % 26)) + " ";
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }
  // What the model makes of the tokens from `begin` on with special tokens around them: fp64 [1 + count + 1, 32].
  at::Tensor Rows(const tokenize::Encoding& encoding, int64_t begin, int64_t count) const {
    nn::Sequence sequence;
    sequence.ids = {2};
    sequence.ids.insert(sequence.ids.end(), encoding.ids.begin() + begin, encoding.ids.begin() + begin + count);
    sequence.ids.push_back(3);
    const nn::PackedBatch batch = nn::Pack(std::span<const nn::Sequence>(&sequence, 1), at::kCPU).value();
    return model_->Encode(batch, std::nullopt, nullptr).to(at::kDouble);
  }
  absl::StatusOr<DocumentVectors> Encode(std::string_view text, const EncodeOptions& options) const {
    ENGRAM_ASSIGN_OR_RETURN(const DocumentPlan plan, PlanDocument(*model_, *tokenizer_, text, options));
    return EncodeDocument(*model_, *tokenizer_, plan, options);
  }
  tokenize::Encoding Content(std::string_view text) const {
    tokenize::EncodeOptions bare;
    bare.add_special_tokens = false;
    return tokenizer_->Encode(text, bare).value();
  }
  // The windows that a text of `tokens` tokens, each a word, has to be cut into: as far as they go, the last one full.
  static std::vector<std::pair<int64_t, int64_t>> Windows(int64_t tokens, int64_t budget, int64_t overlap) {
    std::vector<std::pair<int64_t, int64_t>> windows;
    for (int64_t begin = 0; begin + budget < tokens; begin += budget - overlap)
      windows.push_back({begin, begin + budget});
    windows.push_back({std::max<int64_t>(0, tokens - budget), tokens});
    return windows;
  }
  static void ExpectNear(std::span<const float> got, const at::Tensor& expected) {
    ASSERT_EQ(static_cast<int64_t>(got.size()), expected.numel());
    for (size_t j = 0; j < got.size(); ++j)
      EXPECT_NEAR(got[j], expected[static_cast<int64_t>(j)].item<double>(), 2e-6) << j;
  }
  std::string directory_, text_;
  std::unique_ptr<tokenize::Tokenizer> tokenizer_;
  const std::unique_ptr<nn::Model> model_ = TinyModel({}, 2, 0);
};

TEST_F(EncodeDocumentTest, ChunksAreTheWindowsOneByOne) {
  const tokenize::Encoding content = Content(text_);
  ASSERT_EQ(content.ids.size(), 137);
  for (const int64_t overlap : {0, 5, 7}) {
    const auto windows = Windows(137, 14, overlap);
    std::vector<at::Tensor> pooled[4];
    std::vector<std::pair<int64_t, at::Tensor>> best(137, {-1, at::Tensor()});
    for (const auto& [begin, end] : windows) {
      const at::Tensor rows = Rows(content, begin, end - begin), own = rows.narrow(0, 1, end - begin);
      pooled[0].push_back(own.mean(0));
      pooled[1].push_back(rows[0]);
      pooled[2].push_back(own[end - begin - 1]);
      pooled[3].push_back(own.amax(0));
      // A token counts as the window sees it in which it is farther from the border, the left one where both are alike;
      // the text's own ends are no borders.
      for (int64_t t = begin; t < end; ++t) {
        const int64_t distance = std::min(begin == 0 ? 1000 : t - begin, end == 137 ? 1000 : end - 1 - t);
        auto& [farthest, row] = best[static_cast<size_t>(t)];
        if (distance > farthest) best[static_cast<size_t>(t)] = {distance, own[t - begin]};
      }
    }
    std::vector<at::Tensor> owned;
    for (const auto& [distance, row] : best) owned.push_back(row);

    const std::pair<Pooling, size_t> poolings[] = {
        {Pooling::kMean, 0}, {Pooling::kCls, 1}, {Pooling::kLast, 2}, {Pooling::kMax, 3}};
    for (const auto& [pooling, which] : poolings) {
      const at::Tensor chunks = at::stack(pooled[which]);
      for (const Aggregation aggregation : {Aggregation::kMean, Aggregation::kMax, Aggregation::kAttention}) {
        EncodeOptions options;
        options.pooling = pooling;
        options.aggregation = aggregation;
        options.chunk_tokens = 16;
        options.overlap = overlap;
        options.batch_tokens = 50;
        at::Tensor expected = aggregation == Aggregation::kMax ? chunks.amax(0) : chunks.mean(0);
        if (aggregation == Aggregation::kAttention) {
          options.query = "b c d";
          options.temperature = 0.1;
          const at::Tensor rows = Rows(Content("b c d"), 0, 3);
          const at::Tensor own = rows.narrow(0, 1, 3);
          const at::Tensor vector = which == 0 ? own.mean(0) : which == 1 ? rows[0] : which == 2 ? own[2] : own.amax(0);
          std::vector<double> weights;
          double sum = 0;
          for (const at::Tensor& chunk : pooled[which]) {
            const double cosine = (chunk * vector).sum().item<double>() / (chunk.norm() * vector.norm()).item<double>();
            weights.push_back(std::exp(cosine / 0.1));
            sum += weights.back();
          }
          expected = at::zeros({32}, at::kDouble);
          for (size_t i = 0; i < weights.size(); ++i) expected += weights[i] / sum * pooled[which][i];
        }
        const auto vectors = Encode(text_, options);
        ASSERT_TRUE(vectors.ok()) << vectors.status();
        ExpectNear(vectors->document, expected);
        EXPECT_LT((vectors->chunk_vectors.to(at::kDouble) - chunks).abs().max().item<double>(), 2e-6);
        EXPECT_EQ(vectors->windows, static_cast<int64_t>(windows.size()));
      }
    }
    // The mean over tokens, and the rows that it is of.
    EncodeOptions options;
    options.chunk_tokens = 16;
    options.overlap = overlap;
    std::vector<at::Tensor> emitted;
    options.token_rows = [&](int64_t first, const at::Tensor& rows) {
      for (int64_t i = 0; i < rows.size(0); ++i) emitted.push_back(rows[i].to(at::kDouble));
      return first + rows.size(0) == static_cast<int64_t>(emitted.size());
    };
    const auto vectors = Encode(text_, options);
    ASSERT_TRUE(vectors.ok()) << vectors.status();
    ExpectNear(vectors->document, at::stack(owned).mean(0));
    ASSERT_EQ(emitted.size(), 137);
    EXPECT_LT((at::stack(emitted) - at::stack(owned)).abs().max().item<double>(), 2e-6);
    int64_t own_tokens = 0, encoded = 0;
    for (size_t i = 0; i < windows.size(); ++i) {
      const Chunk& chunk = vectors->chunks[i];
      own_tokens += chunk.owned_tokens;
      encoded += chunk.tokens + 2;
      EXPECT_EQ(chunk.tokens, 14);  // the last one, too
      EXPECT_EQ(chunk.start, content.code_points[static_cast<size_t>(windows[i].first)].begin);
      EXPECT_EQ(chunk.end, content.code_points[static_cast<size_t>(windows[i].second) - 1].end);
      EXPECT_EQ(CountCodePoints(text_.substr(0, static_cast<size_t>(chunk.end_byte))), chunk.end);
    }
    EXPECT_EQ(own_tokens, 137);
    EXPECT_EQ(vectors->tokens, 137);
    EXPECT_EQ(vectors->tokens_encoded, encoded);
  }
}

// Late chunking: token vectors of overlapping windows as long as the model allows, then means of runs of 20 of them.
TEST_F(EncodeDocumentTest, LateChunksArePooledFromTheTokensOfLongWindows) {
  const tokenize::Encoding content = Content(text_);
  const auto windows = Windows(137, 30, 10);
  std::vector<at::Tensor> tokens;
  for (size_t i = 0; i < windows.size(); ++i) {
    const auto& [begin, end] = windows[i];
    const at::Tensor own = Rows(content, begin, end - begin).narrow(0, 1, end - begin);
    const int64_t last = i + 1 == windows.size() ? end : (end + windows[i + 1].first + 1) / 2;
    while (static_cast<int64_t>(tokens.size()) < last)
      tokens.push_back(own[static_cast<int64_t>(tokens.size()) - begin]);
  }
  for (const Pooling pooling : {Pooling::kMean, Pooling::kLast, Pooling::kMax}) {
    std::vector<at::Tensor> chunks;
    for (size_t begin = 0; begin < 137; begin += 20) {
      const size_t end = std::min<size_t>(137, begin + 20);
      const at::Tensor rows = at::stack(std::vector<at::Tensor>(tokens.begin() + static_cast<int64_t>(begin),
                                                                tokens.begin() + static_cast<int64_t>(end)));
      chunks.push_back(pooling == Pooling::kMean  ? rows.mean(0)
                       : pooling == Pooling::kMax ? rows.amax(0)
                                                  : rows[rows.size(0) - 1]);
    }
    EncodeOptions options;
    options.mode = Mode::kLate;
    options.pooling = pooling;
    options.chunk_tokens = 20;
    options.overlap = 10;
    const auto vectors = Encode(text_, options);
    ASSERT_TRUE(vectors.ok()) << vectors.status();
    EXPECT_LT((vectors->chunk_vectors.to(at::kDouble) - at::stack(chunks)).abs().max().item<double>(), 2e-6);
    ExpectNear(vectors->document, pooling == Pooling::kMean  ? at::stack(tokens).mean(0)
                                  : pooling == Pooling::kMax ? at::stack(chunks).amax(0)
                                                             : at::stack(chunks).mean(0));
    EXPECT_EQ(vectors->windows, static_cast<int64_t>(windows.size()));
    int64_t owned = 0;
    for (const Chunk& chunk : vectors->chunks) owned += chunk.owned_tokens;
    EXPECT_EQ(owned, 137);
    options.aggregation = Aggregation::kMean;
    ExpectNear(Encode(text_, options)->document, at::stack(chunks).mean(0));
  }
}

// With a window that holds the whole text every mode is the plain encoder.
TEST_F(EncodeDocumentTest, AllModesAreOneWhereTheTextFits) {
  const std::string text = "a b c d e";
  const at::Tensor rows = Rows(Content(text), 0, 5);
  for (const Mode mode : {Mode::kChunk, Mode::kLate, Mode::kFull, Mode::kSliding}) {
    EncodeOptions options;
    options.mode = mode;
    ExpectNear(Encode(text, options)->document, rows.narrow(0, 1, 5).mean(0));
    options.pooling = Pooling::kLast;
    ExpectNear(Encode(text, options)->document, rows[5]);
    options.pooling = Pooling::kMax;
    ExpectNear(Encode(text, options)->document, rows.narrow(0, 1, 5).amax(0));
    options.pooling = Pooling::kCls;
    options.chunk_vectors = false;
    if (mode != Mode::kLate) ExpectNear(Encode(text, options)->document, rows[0]);
  }
  EncodeOptions one;
  ExpectNear(Encode("q", one)->document, Rows(Content("q"), 0, 1)[1]);
}

TEST_F(EncodeDocumentTest, FullAndSlidingAreTheDefinition) {
  const tokenize::Encoding content = Content(text_);
  std::vector<int32_t> ids = {2};
  ids.insert(ids.end(), content.ids.begin(), content.ids.end());
  ids.push_back(3);
  for (const Mode mode : {Mode::kFull, Mode::kSliding}) {
    EncodeOptions options;
    options.mode = mode;
    options.chunk_tokens = 50;
    options.window_tokens = mode == Mode::kSliding ? 9 : 0;
    const at::Tensor rows =
        ReferenceEncoder(*model_).Hidden(ids, options.window_tokens, at::arange(139, at::kLong)).narrow(0, 1, 137);
    const auto plan = PlanDocument(*model_, *tokenizer_, text_, options);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_TRUE(plan->positions.out_of_trained_range);
    EXPECT_DOUBLE_EQ(plan->positions.factor, 139.0 / 32);
    const auto vectors = Encode(text_, options);
    ASSERT_TRUE(vectors.ok()) << vectors.status();
    ExpectNear(vectors->document, rows.mean(0));
    const at::Tensor chunks =
        at::stack({rows.narrow(0, 0, 50).mean(0), rows.narrow(0, 50, 50).mean(0), rows.narrow(0, 100, 37).mean(0)});
    EXPECT_LT((vectors->chunk_vectors.to(at::kDouble) - chunks).abs().max().item<double>(), 2e-6);
    EXPECT_EQ(vectors->tokens_encoded, 139);
    EXPECT_EQ(vectors->windows, 1);
  }
}

TEST_F(EncodeDocumentTest, NormalisedVectorsHaveLengthOne) {
  EncodeOptions options;
  options.chunk_tokens = 16;
  const auto plain = Encode(text_, options);
  options.normalize = true;
  const auto unit = Encode(text_, options);
  ASSERT_TRUE(plain.ok() && unit.ok());
  const at::Tensor vector = at::tensor(plain->document, at::kDouble);
  ExpectNear(unit->document, vector / vector.norm());
  EXPECT_LT((unit->chunk_vectors.norm(2, 1) - 1).abs().max().item<double>(), 1e-6);
}

TEST_F(EncodeDocumentTest, Refusals) {
  const auto field = [&](const EncodeOptions& options, std::string_view text) {
    return StatusField(PlanDocument(*model_, *tokenizer_, text, options).status());
  };
  EXPECT_EQ(field({}, " \n"), "text");
  EXPECT_EQ(field({.chunk_tokens = 33}, text_), "chunk_tokens");
  EXPECT_EQ(field({.chunk_tokens = 7}, text_), "chunk_tokens");
  EXPECT_EQ(field({.chunk_tokens = 16, .overlap = 8}, text_), "overlap");
  EXPECT_EQ(field({.overlap = -1}, text_), "overlap");
  EXPECT_EQ(field({.window_tokens = 16}, text_), "window_tokens");
  EXPECT_EQ(field({.mode = Mode::kLate, .window_tokens = 33}, text_), "window_tokens");
  EXPECT_EQ(field({.mode = Mode::kLate, .pooling = Pooling::kCls}, text_), "pooling");
  EXPECT_EQ(field({.mode = Mode::kFull, .pooling = Pooling::kCls}, text_), "pooling");
  EXPECT_EQ(field({.mode = Mode::kFull, .aggregation = Aggregation::kMean}, text_), "aggregation");
  EXPECT_EQ(field({.mode = Mode::kFull, .overlap = 1}, text_), "overlap");
  EXPECT_EQ(field({.mode = Mode::kFull, .window_tokens = 9}, text_), "window_tokens");
  EXPECT_EQ(field({.mode = Mode::kSliding, .window_tokens = -1}, text_), "window_tokens");
  EXPECT_EQ(field({.aggregation = Aggregation::kTokenMean, .pooling = Pooling::kCls}, text_), "aggregation");
  EXPECT_EQ(field({.aggregation = Aggregation::kAttention}, text_), "query");
  EXPECT_EQ(field({.query = "a"}, text_), "query");
  EXPECT_EQ(field({.aggregation = Aggregation::kAttention, .query = text_}, text_), "query");
  EXPECT_EQ(field({.aggregation = Aggregation::kAttention, .query = "a", .temperature = 0}, text_), "temperature");
  EXPECT_EQ(field({.max_result_bytes = 500}, text_), "chunk_tokens");  // two chunks of 32 numbers and their places
  std::string long_text;
  for (int i = 0; i < 32 * 32; ++i) long_text += "a ";
  EXPECT_EQ(field({.mode = Mode::kFull}, long_text), "positions");
  EncodeOptions options;
  options.chunk_vectors = false;
  EXPECT_FALSE(Encode(text_, options)->chunk_vectors.defined());
  options.progress = [](int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    return false;
  };
  for (const Mode mode : {Mode::kChunk, Mode::kLate, Mode::kFull}) {
    options.mode = mode;
    EXPECT_TRUE(absl::IsCancelled(Encode(text_, options).status()));
  }
}

// A plan for a number of tokens is the plan of a text of so many.
TEST_F(EncodeDocumentTest, APlanNeedsNoText) {
  for (const Mode mode : {Mode::kChunk, Mode::kLate, Mode::kFull}) {
    EncodeOptions options;
    options.mode = mode;
    options.chunk_tokens = 16;
    const auto of_text = PlanDocument(*model_, *tokenizer_, text_, options);
    const auto of_number = PlanTokens(*model_, *tokenizer_, 137, options);
    ASSERT_TRUE(of_text.ok() && of_number.ok()) << of_number.status();
    EXPECT_EQ(of_number->tokens, 137);
    EXPECT_EQ(of_number->tokens_encoded, of_text->tokens_encoded);
    EXPECT_EQ(of_number->windows.size(), of_text->windows.size());
    EXPECT_EQ(of_number->chunks.size(), of_text->chunks.size());
  }
  EXPECT_EQ(StatusField(PlanTokens(*model_, *tokenizer_, 0, {}).status()), "plan_tokens");
}

}  // namespace
}  // namespace engram::longcontext
