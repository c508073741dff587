#pragma once

// Many texts through one of InferenceService's methods that take some at a time.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/session.h"

namespace engram::client {

// The server takes this many texts in one call.
constexpr size_t kTextsPerCall = 256;

// The reason of the result of an empty line, which is no failure: one line in, one result out.
constexpr const char* kEmptyLine = "EMPTY_LINE";

// White space alone (ASCII): there is nothing to ask the server about.
inline bool IsBlank(const std::string& text) { return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos; }

// Adds one call's answer to those before it: results in order, sums of tokens and seconds.
template <typename Response>
void AddPart(const Response& part, Response& all) {
  if (part.version() > 0) {
    all.set_model(part.model());
    all.set_version(part.version());
  }
  all.mutable_results()->MergeFrom(part.results());
  all.set_truncated(all.truncated() || part.truncated());
  all.set_tokens(all.tokens() + part.tokens());
  if constexpr (requires { all.set_dimension(0); }) all.set_dimension(part.dimension());
  auto& timings = *all.mutable_timings();
  timings.set_tokenize_seconds(timings.tokenize_seconds() + part.timings().tokenize_seconds());
  timings.set_queue_seconds(timings.queue_seconds() + part.timings().queue_seconds());
  timings.set_compute_seconds(timings.compute_seconds() + part.timings().compute_seconds());
}

// Whether a text had no result, other than an empty line.
template <typename Response>
bool AnyError(const Response& response) {
  return std::any_of(response.results().begin(), response.results().end(),
                     [](const auto& result) { return result.has_error() && result.error().reason() != kEmptyLine; });
}

// Calls for texts in parts of at most kTextsPerCall. A label may move between two calls: all texts get the version that
// answered the first. Request and Response are those of Classify, TagEntities, Tokenize or Embed.
template <typename Request, typename Response>
class TextCaller {
 public:
  using Stub = engram::v1::InferenceService::Stub;
  using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

  // `request`: all but the texts. `send_blank`: blank texts are asked about like others.
  TextCaller(Session& session, Request request, Method method, bool send_blank = false)
      : send_blank_(send_blank),
        session_(session),
        stub_(session.Stub<engram::v1::InferenceService>()),
        request_(std::move(request)),
        method_(method) {}

  // One result per text in `part`, in order. A blank text is not sent, and its result is an error with the reason
  // kEmptyLine. `alone`: the texts are all that there are: the failure of the only one is the call's failure then.
  // `pairs`: the second text of each, or none at all; Classify and Tokenize take them.
  grpc::Status Call(const std::vector<std::string>& texts, bool alone, Response& part,
                    const std::vector<std::string>& pairs = {}) {
    const bool only_text = alone && texts.size() == 1;
    const auto sent = [&](const std::string& text) { return only_text || send_blank_ || !IsBlank(text); };
    request_.clear_texts();
    if constexpr (kTakesPairs) {
      if (!pairs.empty()) request_.clear_text_pairs();
    }
    for (size_t i = 0; i < texts.size(); ++i) {
      if (!sent(texts[i])) continue;
      request_.add_texts(texts[i]);
      if constexpr (kTakesPairs) {
        if (!pairs.empty()) request_.add_text_pairs(pairs[i]);
      }
    }
    Response answered;
    if (request_.texts_size() > 0) {
      if (const grpc::Status status = Send(only_text, answered); !status.ok()) return status;
    }
    if (answered.version() > 0) request_.set_version(std::to_string(answered.version()));
    part = answered;
    part.clear_results();
    int next = 0;
    for (const std::string& text : texts) {
      auto& result = *part.add_results();
      if (sent(text)) {
        result = answered.results(next++);
        continue;
      }
      result.mutable_error()->set_code(grpc::StatusCode::INVALID_ARGUMENT);
      result.mutable_error()->set_reason(kEmptyLine);
      result.mutable_error()->set_message("the line is empty");
    }
    return grpc::Status::OK;
  }

 private:
  grpc::Status CallOnce(const Request& request, Response& response) {
    const auto context = session_.NewContext();
    return ((*stub_).*method_)(context.get(), request, &response);
  }

  // A call none of whose texts has an answer fails as a whole. Where there are other texts, that must not hide their
  // answers: each text of the call gets its own error.
  grpc::Status Send(bool only_text, Response& answered) {
    const grpc::Status status = CallOnce(request_, answered);
    const std::string field = status.ok() ? "" : ToError(status).field();
    const bool of_a_text = field.rfind("texts[", 0) == 0 || field.rfind("text_pairs[", 0) == 0;
    if (status.ok() || only_text || !of_a_text) return status;
    answered.Clear();
    Request one = request_;
    for (int i = 0; i < request_.texts_size(); ++i) {
      one.clear_texts();
      one.add_texts(request_.texts(i));
      if constexpr (kTakesPairs) {
        one.clear_text_pairs();
        if (request_.text_pairs_size() > 0) one.add_text_pairs(request_.text_pairs(i));
      }
      Response answer;
      if (const grpc::Status failure = CallOnce(one, answer); failure.ok()) {
        AddPart(answer, answered);
      } else {
        *answered.add_results()->mutable_error() = ToError(failure);
      }
    }
    return grpc::Status::OK;
  }

  static constexpr bool kTakesPairs = requires(Request & request) { request.clear_text_pairs(); };

  const bool send_blank_;
  Session& session_;
  std::unique_ptr<Stub> stub_;
  Request request_;
  Method method_;
};

}  // namespace engram::client
