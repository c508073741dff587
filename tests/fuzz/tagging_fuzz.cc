// Any numbers as the token counts of words and as log-probabilities, any texts as tags: windows that own every word
// once, sequences that are legal, probabilities in [0, 1].

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "core/tagging/bio.h"
#include "core/tagging/spans.h"
#include "core/tagging/viterbi.h"
#include "core/tagging/windows.h"

namespace {

using namespace engram::tagging;

void Require(bool condition) {
  if (!condition) std::abort();
}

void Windows(const uint8_t* data, size_t size) {
  std::vector<int32_t> counts;
  for (size_t i = 2; i < size; ++i) counts.push_back(static_cast<int8_t>(data[i]) % 40);
  const int32_t budget = data[0] % 64, overlap = data[1] % 40;
  const auto windows = PlanWordWindows(counts, budget, overlap);
  if (!windows.ok()) return;
  int32_t owned = 0, last_first = -1, last_end = 0;
  for (const WordWindow& w : *windows) {
    Require(w.first_owned == owned && w.end_owned >= w.first_owned && w.first_word <= w.first_owned &&
            w.end_owned <= w.end_word && w.tokens <= budget && w.first_word > last_first && w.end_word > last_end);
    owned = w.end_owned;
    last_first = w.first_word;
    last_end = w.end_word;
  }
  Require(owned == static_cast<int32_t>(counts.size()));
}

void Decode(const uint8_t* data, size_t size) {
  static const TagSet kSets[] = {*TagSet::FromTags({"B-b", "O", "B-a", "I-a", "B-c", "I-c"}),
                                 *TagSet::FromTags({"B-b", "O", "E-b", "I-b", "S-c", "S-b"}),
                                 *TagSet::FromTags({"B-b", "O", "I-b", "I-a", "c", "d"})};
  const TagSet& tags = kSets[size % std::size(kSets)];
  std::vector<float> values(size / sizeof(float) / tags.size() * tags.size());
  if (values.empty()) return;
  std::memcpy(values.data(), data, values.size() * sizeof(float));
  const auto path = Viterbi(tags, values);
  if (!path.ok()) return;
  int32_t previous = TagSet::kNone;
  for (const int32_t tag : path->tags) {
    Require(tags.Allowed(previous, tag));
    previous = tag;
  }
  const auto probabilities = EntityProbabilities(tags, values, TagsToSpans(tags, path->tags));
  Require(probabilities.ok());
  for (const double p : *probabilities) Require(p >= 0 && p <= 1);
}

void Tags(const uint8_t* data, size_t size) {
  std::vector<std::string> tags(1);
  for (size_t i = 0; i < size; ++i) {
    if (data[i] == '\n') {
      tags.emplace_back();
    } else {
      tags.back().push_back(static_cast<char>(data[i]));
    }
  }
  if (UnknownTags(tags).empty()) {
    const std::vector<std::string> read = ToBio2(tags);
    Require(read.size() == tags.size() && UnknownTags(read).empty() && Deviations(read, TagScheme::kBio2).empty());
    Require(ToBio2(read) == read);
    SchemeDetector detector;
    detector.Add(tags);
    if (detector.scheme() == TagScheme::kBio2) Require(read != tags || Deviations(tags, TagScheme::kBio2).empty());
  }
  const auto set = TagSet::FromTags(tags);
  if (set.ok()) Require(set->size() == static_cast<int32_t>(tags.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  switch (data[0] % 3) {
    case 0:
      Windows(data + 1, size - 1);
      break;
    case 1:
      Decode(data + 1, size - 1);
      break;
    default:
      Tags(data + 1, size - 1);
  }
  return 0;
}
