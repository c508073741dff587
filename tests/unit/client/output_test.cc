#include "client/output.h"

#include <map>

#include "client/address.h"
#include "client/json_output.h"
#include "client/session.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

TEST(Output, TablesAlign) {
  EXPECT_EQ(Table({{"name", "rows"}, {"é", "5"}, {"long name", "1000"}}),
            "name       rows\né             5\nlong name  1000\n");
}

TEST(Output, ProgressLine) {
  engram::v1::JobProgress progress;
  progress.set_phase("training");
  progress.set_epoch(1);
  progress.set_epochs(3);
  progress.set_step(50);
  progress.set_total_steps(200);
  progress.set_loss(1.5);
  progress.set_penalty(0.25);
  progress.set_tokens_per_second(3120.4);
  progress.set_eta_seconds(65);
  EXPECT_EQ(ProgressLine(progress, 8),
            "training  epoch 1/3  [##......]   25%  50/200  3120 tok/s  loss 1.500  penalty 0.25  1:05 left");
}

TEST(Output, LinesFitTheTerminal) {
  const auto line = [](int width) { return std::string(static_cast<size_t>(width), '#') + " 50 % done ü"; };
  EXPECT_EQ(FitLine(line, 0), std::string(24, '#') + " 50 % done ü");
  EXPECT_EQ(FitLine(line, 37), std::string(24, '#') + " 50 % done ü");
  EXPECT_EQ(FitLine(line, 36), std::string(12, '#') + " 50 % done ü");
  EXPECT_EQ(FitLine(line, 13), " 50 % done ü");
  EXPECT_EQ(FitLine(line, 12), " 50 % done ");
  EXPECT_EQ(FitLine(line, 5), " 50 ");
}

TEST(Output, EstimatesSayWhereTheirSpeedIsFrom) {
  engram::v1::JobEstimate estimate;
  estimate.set_texts(2000);
  estimate.set_counted_texts(2000);
  estimate.set_tokens(30000);
  estimate.set_total_tokens(90000);
  estimate.set_steps(189);
  estimate.set_seconds(61);
  estimate.set_seconds_low(49);
  estimate.set_tokens_per_second(1475);
  const auto text = [&] { return Table(EstimateRows(estimate)); };
  EXPECT_NE(text().find("unknown"), std::string::npos);
  EXPECT_NE(text().find("30000 a pass, 90000 in all"), std::string::npos);
  EXPECT_EQ(text().find("disk"), std::string::npos);  // an evaluation makes no version
  estimate.set_speed_origin(engram::v1::SPEED_ORIGIN_MATRIX_PRODUCTS);
  EXPECT_NE(text().find("more than 0:49"), std::string::npos);
  estimate.set_speed_origin(engram::v1::SPEED_ORIGIN_SAME_MODEL);
  estimate.set_speed_job("jobs/01J");
  estimate.set_speed_jobs(3);
  estimate.set_seconds_high(76);
  estimate.set_version_bytes(1 << 20);
  EXPECT_NE(
      text().find("0:49 to 1:16, based on the newest 3 such jobs of this model, the last of them jobs/01J at 1475"),
      std::string::npos)
      << text();
  EXPECT_NE(text().find("1.0 MiB for the version"), std::string::npos);
}

TEST(Output, EveryFigureSaysWhatItWasMeasuredOn) {
  engram::v1::JobResult result;
  EXPECT_TRUE(LabelRows(result).empty());
  engram::v1::LabelMetrics& label = *result.add_label_metrics();
  label.set_task("models/news/tasks/topics");
  label.set_label("sport");
  label.set_precision(0.5);
  label.set_recall(1);
  label.set_f1(2.0 / 3);
  label.set_support(7);
  label.set_part(engram::v1::MEASURED_PART_TRAINING);
  EXPECT_EQ(LabelRows(result).at(1),
            (std::vector<std::string>{"topics", "sport", "0.5000", "1.0000", "0.6667", "7", "training rows"}));
  EXPECT_EQ(MeasuredOn(engram::v1::MEASURED_PART_TEST), "test part");
  EXPECT_EQ(MeasuredOn(engram::v1::MEASURED_PART_VALIDATION), "validation texts");
}

TEST(Output, NumbersOf64BitsAreNumbersInJson) {
  engram::v1::Job job;
  job.set_name("jobs/01J");
  job.set_queue_position(2);
  job.mutable_create_time()->set_seconds(1'700'000'000);
  job.mutable_estimate()->set_memory_bytes((int64_t{1} << 53) + 1);
  job.mutable_result()->add_confusions()->add_counts(-3);
  (*job.mutable_options())["lr"] = "17";
  engram::v1::Model model;
  (*model.mutable_labels())["stable"] = 4;
  const auto json = ToJson(job);
  EXPECT_EQ(json["estimate"]["memory_bytes"].dump(), "9007199254740993");
  EXPECT_EQ(json["result"]["confusions"][0]["counts"].dump(), "[-3]");
  EXPECT_EQ(json["options"]["lr"], "17");
  EXPECT_EQ(json["create_time"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(ToJson(model)["labels"].dump(), R"({"stable":4})");
}

TEST(Address, SaysHowItIsWritten) {
  for (const char* good : {"127.0.0.1:7860", "host:1", "[::1]:7860", "unix:/run/engram", "dns:///host:80"})
    EXPECT_EQ(AddressProblem(good), "") << good;
  EXPECT_NE(AddressProblem("http://host:7860").find("--address host:7860"), std::string::npos);
  EXPECT_NE(AddressProblem("https://host/api").find("--address host:7860"), std::string::npos);
  EXPECT_NE(AddressProblem("host").find("has no port"), std::string::npos);
  EXPECT_NE(AddressProblem("::1").find("[::1]:7860"), std::string::npos);
  for (const char* bad : {"", ":7860", "host:", "host:70000", "host:http", "[::1]"})
    EXPECT_NE(AddressProblem(bad), "") << bad;
}

TEST(Address, AProxyIsTakenAsGrpcTakesItButNotForThisMachine) {
  std::map<std::string, std::string> environment = {{"http_proxy", "http://user:secret@proxy:3128"}};
  const auto get = [&](const char* name) { return environment.contains(name) ? environment[name] : ""; };
  EXPECT_EQ(ProxyFor("gpu.example:7860", get), "http://proxy:3128");
  for (const char* loopback : {"127.0.0.1:7860", "127.1.2.3:1", "localhost:7860", "[::1]:7860", "unix:/run/engram"})
    EXPECT_EQ(ProxyFor(loopback, get), "") << loopback;
  environment["no_proxy"] = "other, .example";
  EXPECT_EQ(ProxyFor("gpu.example:7860", get), "");
  environment["no_grpc_proxy"] = "elsewhere";
  environment["grpc_proxy"] = "http://first:1";
  EXPECT_EQ(ProxyFor("gpu.example:7860", get), "http://first:1");
}

TEST(Output, TimesAndSizes) {
  EXPECT_EQ(FormatSeconds(59.6), "1:00");
  EXPECT_EQ(FormatSeconds(3661), "1:01:01");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(90868376), "86.7 MiB");
}

TEST(Output, AStreamShowsWhatIsKnownAndNoMore) {
  engram::v1::StreamMetrics metrics;
  metrics.set_metric("accuracy");
  metrics.add_tasks("models/news/tasks/a");
  metrics.add_tasks("models/news/tasks/b");
  EXPECT_EQ(StreamRow(metrics), (std::vector<std::string>{"accuracy", "2", "-", "-", "-"}));
  metrics.set_average(0.75);
  metrics.set_backward_transfer(0);
  metrics.set_forgetting(-0.01234);
  EXPECT_EQ(StreamRow(metrics), (std::vector<std::string>{"accuracy", "2", "0.7500", "0.0000", "-0.0123"}));
  EXPECT_EQ(StreamColumns().size(), StreamRow(metrics).size());
}

TEST(Output, NpyHeaderIsAlignedAndSaysTheShape) {
  const std::string bytes = NpyBytes({2, 3}, std::string(24, 'x'));
  const size_t header = static_cast<unsigned char>(bytes[8]) + 256 * static_cast<unsigned char>(bytes[9]);
  EXPECT_EQ((10 + header) % 64, 0);
  EXPECT_EQ(bytes.size(), 10 + header + 24);
  EXPECT_EQ(bytes[10 + header - 1], '\n');
  EXPECT_NE(bytes.find("'shape': (2,3,)"), std::string::npos);
}

TEST(Session, ReferencesSplit) {
  EXPECT_EQ(SplitReference("news@canary").model, "news");
  EXPECT_EQ(SplitReference("news@canary").version, "canary");
  EXPECT_EQ(SplitReference("news").version, "");
  EXPECT_EQ(LastPart("models/news/versions/3"), "3");
}

}  // namespace
}  // namespace engram::client
