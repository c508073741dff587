#include "core/tagging/term_entities.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>

namespace engram::tagging {
namespace {

// All candidates; those that both have are one.
std::vector<MergedEntity> Candidates(std::vector<Entity> tagged, std::vector<Entity> listed,
                                     const std::vector<int32_t>& terms) {
  std::vector<MergedEntity> all;
  std::map<std::pair<int64_t, int64_t>, size_t> places;  // of the tagger's
  for (Entity& entity : tagged) {
    places[{entity.start, entity.end}] = all.size();
    all.push_back({std::move(entity), /*tagged=*/true, -1});
  }
  for (size_t i = 0; i < listed.size(); ++i) {
    const auto same = places.find({listed[i].start, listed[i].end});
    if (same != places.end() && all[same->second].entity.type == listed[i].type) {
      all[same->second].term = terms[i];
    } else {
      all.push_back({std::move(listed[i]), /*tagged=*/false, terms[i]});
    }
  }
  return all;
}

bool Before(const MergedEntity& a, const MergedEntity& b, Precedence precedence) {
  const auto rank = [precedence](const MergedEntity& merged) {
    const Entity& entity = merged.entity;
    const bool later = precedence == Precedence::kTagger  ? !merged.tagged
                       : precedence == Precedence::kTerms ? merged.term < 0
                                                          : false;
    return std::tuple(later, entity.start - entity.end, entity.start, !merged.tagged);
  };
  return rank(a) < rank(b);
}

}  // namespace

std::vector<MergedEntity> MergeEntities(std::vector<Entity> tagged, std::vector<Entity> listed,
                                        const std::vector<int32_t>& terms, Precedence precedence) {
  std::vector<MergedEntity> all = Candidates(std::move(tagged), std::move(listed), terms);
  std::stable_sort(all.begin(), all.end(),
                   [precedence](const MergedEntity& a, const MergedEntity& b) { return Before(a, b, precedence); });
  std::map<int64_t, size_t> standing;  // by their beginnings
  for (size_t i = 0; i < all.size(); ++i) {
    const Entity& entity = all[i].entity;
    const auto behind = standing.lower_bound(entity.start);
    if (behind != standing.end() && behind->first < entity.end) continue;
    if (behind != standing.begin() && all[std::prev(behind)->second].entity.end > entity.start) continue;
    standing.emplace(entity.start, i);
  }
  std::vector<MergedEntity> result;
  result.reserve(standing.size());
  for (const auto& [start, place] : standing) result.push_back(std::move(all[place]));
  return result;
}

}  // namespace engram::tagging
