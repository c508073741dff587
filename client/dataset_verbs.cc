#include <cstdio>
#include <memory>

#include "client/commands.h"
#include "client/output.h"
#include "client/send_file.h"

namespace engram::client {
namespace {

using engram::v1::Dataset;
using engram::v1::DatasetService;

std::string KindOf(const Dataset& dataset) {
  switch (dataset.kind()) {
    case engram::v1::DATASET_KIND_CLASSIFICATION:
      return "classification";
    case engram::v1::DATASET_KIND_TAGGING:
      return "tagging";
    default:
      return "text";
  }
}

void PrintDatasets(const std::vector<Dataset>& datasets) {
  std::vector<std::vector<std::string>> rows = {{"name", "kind", "train", "test", "labels", "size", "uploaded"}};
  for (const Dataset& d : datasets) {
    rows.push_back({LastPart(d.name()), KindOf(d), std::to_string(d.training_rows()), std::to_string(d.test_rows()),
                    std::to_string(d.labels_size()), FormatBytes(d.size_bytes()), FormatTime(d.create_time())});
  }
  std::printf("%s", Table(rows).c_str());
}

int Upload(Session& session, const std::string& name, const std::string& training, const std::string& test) {
  const auto context = session.NewContext();
  Dataset dataset;
  auto stub = session.Stub<DatasetService>();
  auto writer = stub->UploadDataset(context.get(), &dataset);
  engram::v1::UploadDatasetRequest header;
  header.mutable_header()->set_dataset(name);
  header.mutable_header()->set_training_file(LastPart(training));
  header.mutable_header()->set_test_file(test.empty() ? "" : LastPart(test));
  std::string unreadable;
  const auto send = [&](const std::string& path, void (*set)(engram::v1::UploadDatasetRequest&, std::string)) {
    const auto write = [&](std::string bytes) {
      engram::v1::UploadDatasetRequest request;
      set(request, std::move(bytes));
      return writer->Write(request);
    };
    return SendFile(path, write, unreadable);
  };
  const bool sent =
      writer->Write(header) &&
      send(training, [](auto& request, std::string bytes) { request.set_training(std::move(bytes)); }) &&
      (test.empty() || send(test, [](auto& request, std::string bytes) { request.set_test(std::move(bytes)); }));
  engram::v1::UploadDatasetRequest end;
  end.set_end(true);
  // A stream that broke off says why in its status.
  if (sent && writer->Write(end)) writer->WritesDone();
  if (!unreadable.empty()) context->TryCancel();
  const grpc::Status status = writer->Finish();
  if (!unreadable.empty()) return FailUnreadable(unreadable);
  if (!status.ok()) return session.Fail(status);
  return session.Print(dataset, [&] { PrintDatasets({dataset}); });
}

int List(Session& session) {
  engram::v1::ListDatasetsResponse all;
  engram::v1::ListDatasetsRequest request;
  request.set_page_size(1000);
  auto stub = session.Stub<DatasetService>();
  do {
    engram::v1::ListDatasetsResponse page;
    const auto context = session.NewContext();
    if (const grpc::Status status = stub->ListDatasets(context.get(), request, &page); !status.ok())
      return session.Fail(status);
    request.set_page_token(page.next_page_token());
    all.mutable_datasets()->MergeFrom(page.datasets());
  } while (!request.page_token().empty());
  return session.Print(all, [&] { PrintDatasets({all.datasets().begin(), all.datasets().end()}); });
}

int Show(Session& session, const std::string& name) {
  engram::v1::GetDatasetRequest request;
  request.set_name(name);
  Dataset dataset;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<DatasetService>()->GetDataset(context.get(), request, &dataset);
  if (!status.ok()) return session.Fail(status);
  return session.Print(dataset, [&] {
    PrintDatasets({dataset});
    std::printf("digest  %s\nlabels ", dataset.digest().c_str());
    for (const std::string& label : dataset.labels()) std::printf(" %s;", label.c_str());
    std::printf("\n");
  });
}

int Delete(Session& session, const std::string& name) {
  engram::v1::DeleteDatasetRequest request;
  request.set_name(name);
  engram::v1::DeleteDatasetResponse response;
  const auto context = session.NewContext();
  const grpc::Status status = session.Stub<DatasetService>()->DeleteDataset(context.get(), request, &response);
  if (!status.ok()) return session.Fail(status);
  return session.Print(response, [&] { std::printf("deleted %s\n", name.c_str()); });
}

}  // namespace

void AddDatasetVerbs(CLI::App& app, Session& session) {
  CLI::App* group = app.add_subcommand("datasets", "Upload, list, show and delete data sets");
  group->require_subcommand(1);
  const auto name = std::make_shared<std::string>(), file = std::make_shared<std::string>(),
             test = std::make_shared<std::string>();

  CLI::App* upload = group->add_subcommand(
      "upload",
      "Upload a data set. Formats by extension, also with .gz: .jsonl {\"text\",\"label\"}, .csv, .tsv, "
      ".conll, .txt\nExample: engram datasets upload emotion train.jsonl --test test.jsonl");
  upload->add_option("NAME", *name, "name of the data set")->required();
  upload->add_option("FILE", *file, "training part")->required()->check(CLI::ExistingFile);
  upload->add_option("--test", *test, "test part, which evaluations are made on")->check(CLI::ExistingFile);
  upload->callback(
      [&session, name, file, test] { session.run = [=, &session] { return Upload(session, *name, *file, *test); }; });

  group->add_subcommand("list", "List data sets")->callback([&session] {
    session.run = [&session] { return List(session); };
  });

  CLI::App* show = group->add_subcommand("show", "Show one data set with its labels");
  show->add_option("NAME", *name, "name of the data set")->required();
  show->callback([&session, name] { session.run = [=, &session] { return Show(session, *name); }; });

  CLI::App* remove = group->add_subcommand("delete", "Delete a data set that no unfinished job needs");
  remove->add_option("NAME", *name, "name of the data set")->required();
  remove->callback([&session, name] { session.run = [=, &session] { return Delete(session, *name); }; });
}

}  // namespace engram::client
