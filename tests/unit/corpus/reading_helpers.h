#pragma once

#include <string>
#include <vector>

#include "core/corpus/reading.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::corpus {

inline Reading Read(const std::string& bytes, const std::string& name, const ReadOptions& options = {}) {
  auto reading = ReadDataset(bytes, name, "training", options);
  EXPECT_TRUE(reading.ok()) << reading.status();
  return reading.ok() ? *std::move(reading) : Reading();
}

inline Dataset Parse(const std::string& bytes, const std::string& name, const ReadOptions& options = {}) {
  return Read(bytes, name, options).dataset;
}

inline absl::Status Refusal(const std::string& bytes, const std::string& name, const ReadOptions& options = {}) {
  return ReadDataset(bytes, name, "training", options).status();
}

inline std::string RefusalText(const std::string& bytes, const std::string& name, const ReadOptions& options = {}) {
  return std::string(Refusal(bytes, name, options).message());
}

// The message of the note of that reason; empty if there is none.
inline std::string NoteOf(const std::vector<Note>& notes, const std::string& reason) {
  for (const Note& note : notes) {
    if (note.reason == reason) return note.message;
  }
  return "";
}

inline int64_t CountOf(const std::vector<Note>& notes, const std::string& reason) {
  for (const Note& note : notes) {
    if (note.reason == reason) return note.count;
  }
  return 0;
}

// "Ada/B-PER lived/O" for each sentence.
inline std::vector<std::string> Tagged(const Dataset& dataset) {
  std::vector<std::string> sentences;
  for (const TaggedSentence& sentence : dataset.sentences) {
    std::string line;
    for (size_t i = 0; i < sentence.words.size(); ++i)
      line += (i > 0 ? " " : "") + sentence.words[i] + "/" + sentence.tags[i];
    sentences.push_back(line);
  }
  return sentences;
}

// "text -> label" for each row.
inline std::vector<std::string> Labelled(const Dataset& dataset) {
  std::vector<std::string> rows;
  for (size_t i = 0; i < dataset.texts.size(); ++i)
    rows.push_back(std::string(dataset.texts[i]) + " -> " +
                   std::string(i < dataset.labels.size() ? dataset.labels[i] : std::string_view()));
  return rows;
}

}  // namespace engram::corpus
