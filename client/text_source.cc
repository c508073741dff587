#include "client/text_source.h"

#include <optional>
#include <utility>

#include "client/record_file.h"
#include "engram/v1/collection.grpc.pb.h"

namespace engram::client {
namespace {

class One final : public TextSource {
 public:
  explicit One(std::string text) : text_(std::move(text)) {}
  bool Next(size_t, size_t, std::vector<std::string>& texts, std::string&) override {
    if (text_) texts.push_back(*std::exchange(text_, std::nullopt));
    return true;
  }

 private:
  std::optional<std::string> text_;
};

class File final : public TextSource {
 public:
  explicit File(RecordReader reader) : reader_(std::move(reader)) {}
  bool Next(size_t count, size_t bytes, std::vector<std::string>& texts, std::string& error) override {
    size_t taken = 0;
    for (Record record; texts.size() < count && taken < bytes;) {
      if (!reader_.Next(record)) {
        if (!reader_.whole()) error = "the file cannot be read to its end";
        return reader_.whole();
      }
      ++number_;
      if (!record.problem.empty()) {
        error = "record " + std::to_string(number_) + " of the file " + record.problem;
        return false;
      }
      if (record.text.find_first_not_of(" \t\r\n\v\f") == std::string::npos) continue;
      taken += record.text.size();
      texts.push_back(std::move(record.text));
    }
    return true;
  }

 private:
  RecordReader reader_;
  int64_t number_ = 0;
};

class Pages final : public TextSource {
 public:
  Pages(Session& session, const std::string& dataset)
      : session_(session), stub_(session.Stub<engram::v1::CollectionService>()) {
    request_.set_dataset(dataset);
  }
  bool Next(size_t count, size_t bytes, std::vector<std::string>& texts, std::string& error) override {
    size_t taken = 0;
    while (texts.size() < count && taken < bytes) {
      if (next_ < page_.pages_size()) {
        engram::v1::Page& page = *page_.mutable_pages(next_++);
        if (page.row() == 0) continue;
        taken += page.text().size();
        texts.push_back(std::move(*page.mutable_text()));
        continue;
      }
      if (begun_ && request_.page_token().empty()) return true;
      const auto context = session_.NewContext();
      page_.Clear();
      if (const grpc::Status status = stub_->ListPages(context.get(), request_, &page_); !status.ok()) {
        error = status.error_message();
        return false;
      }
      begun_ = true;
      next_ = 0;
      request_.set_page_token(page_.next_page_token());
    }
    return true;
  }

 private:
  Session& session_;
  const std::unique_ptr<engram::v1::CollectionService::Stub> stub_;
  engram::v1::ListPagesRequest request_;
  engram::v1::ListPagesResponse page_;
  int next_ = 0;
  bool begun_ = false;
};

}  // namespace

std::unique_ptr<TextSource> OneText(const std::string& text) { return std::make_unique<One>(text); }

std::unique_ptr<TextSource> TextsOfFile(const std::string& path, const std::string& text_column, std::string& error) {
  std::optional<RecordReader> reader = RecordReader::Open(path, text_column, error);
  if (!reader) return nullptr;
  return std::make_unique<File>(*std::move(reader));
}

std::unique_ptr<TextSource> PagesOfDataset(Session& session, const std::string& dataset) {
  return std::make_unique<Pages>(session, dataset);
}

std::string Shorten(std::string_view text) {
  constexpr size_t kShown = 60;
  if (text.size() <= kShown) return std::string(text);
  size_t end = kShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside of a character
  return std::string(text.substr(0, end)) + "...";
}

std::string ShortText(std::string_view text) {
  std::string shown = Shorten(text);
  for (char& c : shown) c = c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  return shown;
}

}  // namespace engram::client
