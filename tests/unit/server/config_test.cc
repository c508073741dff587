#include "server/config.h"

#include "core/base/files.h"
#include "core/base/retry.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "server/library/importer.h"
#include "server/rpc/names.h"
#include "server/rpc/status_mapping.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;

TEST(Config, ReadsEveryTypeAndKeepsDefaults) {
  const auto config = ParseConfig(
      "data_dir: /x\ndevices: [cpu, 'cuda:0']\nbatch_tokens: 4096\nallow_insecure_public: true\ngrpc_address: "
      "0.0.0.0:1\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->devices.size(), 2);
  EXPECT_EQ(config->batch_tokens, 4096);
  EXPECT_EQ(config->admin_address, "127.0.0.1:7861");
}

TEST(Config, RefusesByKey) {
  const auto field = [](const std::string& yaml) { return StatusField(ParseConfig(yaml).status()); };
  EXPECT_EQ(field("data_dir: x\nbatch_tokns: 1\n"), "batch_tokns");
  EXPECT_THAT(std::string(ParseConfig("data_dir: x\nbatch_tokns: 1\n").status().message()),
              HasSubstr("is no key of the configuration; did you mean batch_tokens?"));
  EXPECT_EQ(field("data_dir: x\nmax_texts: 0\n"), "max_texts");
  EXPECT_EQ(field("data_dir: x\nmax_texts: 99999999999999999999\n"), "max_texts");
  EXPECT_EQ(field("data_dir: x\ndevices: cpu\n"), "devices");
  EXPECT_EQ(field("data_dir: x\ngrpc_address: 0.0.0.0:1\n"), "grpc_address");
  EXPECT_EQ(field("data_dir: x\nadmin_address: localhost\n"), "admin_address");
  EXPECT_EQ(field("data_dir: x\nlog_level: loud\n"), "log_level");
  EXPECT_EQ(field("a: 1\n"), "a");
  EXPECT_EQ(field("log_level: info\n"), "data_dir");
  EXPECT_EQ(field("- a\n"), "config");
  EXPECT_EQ(field(""), "data_dir");
  EXPECT_EQ(field("data_dir: x\n---\nlog_level: debug\n"), "config");
}

TEST(Config, AnOpenAddressWantsToKnowWhoCalls) {
  const auto field = [](const std::string& yaml) { return StatusField(ParseConfig("data_dir: x\n" + yaml).status()); };
  const std::string open = "grpc_address: 0.0.0.0:1\n", tls = "tls_certificate: a\ntls_key: b\n";
  EXPECT_EQ(field(open + tls), "grpc_address") << "over TLS, but anybody";
  EXPECT_EQ(field(open + "token_file: c\n"), "grpc_address") << "tokens that everybody on the way can read";
  EXPECT_EQ(field("admin_address: '[::]:1'\n" + tls), "admin_address");
  EXPECT_EQ(field(open + tls + "token_file: c\n"), "");
  EXPECT_EQ(field(open + tls + "tls_client_ca: d\n"), "");
  EXPECT_EQ(field(open + "allow_insecure_public: true\n"), "");
  EXPECT_EQ(field("tls_certificate: a\n"), "tls_key");
  EXPECT_EQ(field("tls_key: a\n"), "tls_certificate");
  EXPECT_EQ(field("tls_client_ca: a\n"), "tls_client_ca");
}

TEST(Config, ReflectionIsForThisMachine) {
  const auto reflects = [](const std::string& yaml) { return ParseConfig("data_dir: x\n" + yaml)->reflects(); };
  const std::string open = "allow_insecure_public: true\ngrpc_address: 0.0.0.0:1\n";
  EXPECT_TRUE(reflects(""));
  EXPECT_TRUE(reflects("grpc_address: '[::1]:1'\n"));
  EXPECT_FALSE(reflects("token_file: c\n"));
  EXPECT_FALSE(reflects("reflection: off\n"));
  EXPECT_FALSE(reflects(open));
  EXPECT_TRUE(reflects(open + "reflection: on\n"));
}

// The page's table is the program's, row by row.
TEST(Config, ThePageHasEveryKeyWithItsDefaultAndMeaning) {
  const absl::StatusOr<std::string> page = ReadFile(ENGRAM_TEST_DATA "/../../docs/configuration.md", 1 << 20);
  ASSERT_TRUE(page.ok()) << page.status();
  std::string table = "| key | default | meaning |\n| --- | --- | --- |\n";
  for (const Option& option : ConfigTable().options()) {
    std::string value = option.Show(option.default_value);
    if (option.type == OptionType::kList) value = "[" + value + "]";
    if (!value.empty()) value = "`" + value + "` ";
    table += "| `" + option.name + "` | " + value + "| " + option.help + " |\n";
  }
  EXPECT_THAT(*page, HasSubstr("\n" + table + "\n"));
}

TEST(Config, TheCommandLineNamesTheDirectoryInsteadOfTheFile) {
  for (const char* yaml : {"log_level: debug\n", "data_dir: /x\nlog_level: debug\n", "---\nlog_level: debug\n"}) {
    const auto config = ParseConfig(yaml, "/y");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->data_dir, "/y");
    EXPECT_EQ(config->log_level, LogLevel::kDebug);
  }
  EXPECT_EQ(ParseConfig("# no key\n", "/y")->data_dir, "/y");
  EXPECT_EQ(ParseConfig("", "/y")->data_dir, "/y");
  EXPECT_EQ(ParseConfig("---\ndata_dir: /x\n")->data_dir, "/x");
  EXPECT_EQ(StatusField(ParseConfig("data_dir: /x\ndata_dir: /x\n", "/y").status()), "data_dir");
}

TEST(Names, ParseAndRefuse) {
  EXPECT_EQ(*ParseName("model", "models", "models/news"), "news");
  EXPECT_EQ(*ParseName("model", "models", "news"), "news");
  for (const char* bad : {"", "News", "models/", "a/b", "../x", "1a", "a b"})
    EXPECT_FALSE(ParseName("model", "models", bad).ok()) << bad;
  EXPECT_EQ(ParseVersionName("name", "models/news/versions/3")->second, 3);
  for (const char* bad : {"models/news", "models/news/versions/0", "models/news/versions/x"})
    EXPECT_FALSE(ParseVersionName("name", bad).ok()) << bad;
}

TEST(Import, PathsStayBelowTheDirectory) {
  for (const char* good : {"config.json", "1_Pooling/config.json"}) EXPECT_TRUE(CheckRelativePath(good).ok()) << good;
  for (const char* bad : {"", "/etc/passwd", "../x", "a/../b", ".hidden", "a//b", "a/b/c/d/e", "a b", "a\\b"})
    EXPECT_FALSE(CheckRelativePath(bad).ok()) << bad;
}

TEST(Status, CarriesReasonDomainFieldAndRetry) {
  const grpc::Status field = ToGrpc(InvalidField("lambda", "is negative"));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(field.error_details()));
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(0).UnpackTo(&info) && details.details(1).UnpackTo(&bad));
  EXPECT_EQ(info.domain(), "engram");
  EXPECT_EQ(bad.field_violations(0).field(), "lambda");
  ASSERT_TRUE(details.ParseFromString(
      ToGrpc(StatusWithReason(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "full")).error_details()));
  google::rpc::RetryInfo retry;
  EXPECT_TRUE(details.details(1).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  ASSERT_TRUE(details.ParseFromString(
      ToGrpc(RetryAfter(absl::ResourceExhaustedError("full"), absl::Microseconds(2'345'600))).error_details()));
  ASSERT_TRUE(details.details(1).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 2);
  EXPECT_EQ(retry.retry_delay().nanos(), 346'000'000);
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
}

// A client takes 8 KiB of metadata, and would else be told of nothing but that.
TEST(Status, ALongMessageIsCutBetweenTwoCharacters) {
  std::string text = "x";
  while (text.size() < (1 << 20)) text += "é";
  const grpc::Status sent = ToGrpc(InvalidField("label", text));
  EXPECT_LT(sent.error_message().size() + sent.error_details().size(), size_t{8} << 10);
  EXPECT_TRUE(sent.error_message().starts_with("label: xé"));
  EXPECT_TRUE(sent.error_message().ends_with("é..."));
}

}  // namespace
}  // namespace engram::server
