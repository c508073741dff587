#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "client/commands.h"
#include "client/confirm.h"
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
    case engram::v1::DATASET_KIND_PAIRS:
      return "pairs";
    case engram::v1::DATASET_KIND_WORD_TAGS:
      return "word-tags";
    default:
      return "text";
  }
}

void PrintDatasets(const std::vector<Dataset>& datasets) {
  std::vector<std::vector<std::string>> rows = {
      {"name", "kind", "train", "test", "validation", "labels", "size", "uploaded"}};
  for (const Dataset& d : datasets) {
    rows.push_back({LastPart(d.name()), KindOf(d), std::to_string(d.training_rows()), std::to_string(d.test_rows()),
                    std::to_string(d.validation_rows()), std::to_string(d.labels_size()), FormatBytes(d.size_bytes()),
                    FormatTime(d.create_time())});
  }
  std::printf("%s", Table(rows).c_str());
}

struct UploadArguments {
  std::string name, training, test, validation, format, kind, text_column, pair_column, label_column, word_column,
      tag_column;
  std::string misaligned = "cut";
  bool strict = false;
};

void PrintWarnings(const char* part, const google::protobuf::RepeatedPtrField<engram::v1::UploadWarning>& warnings) {
  for (const auto& warning : warnings) std::printf("warning: %s%s\n", part, warning.message().c_str());
}

// In quotes where it could not be seen otherwise.
std::string Shown(const std::string& label) {
  const bool seen = !label.empty() && label.front() != ' ' && label.back() != ' ';
  return seen ? label : "\"" + label + "\"";
}

void PrintPart(const char* part, const engram::v1::PartReport& report, engram::v1::DatasetKind kind) {
  constexpr int kShownLabels = 20, kShownWords = 12;
  std::printf("\n%s, read as %s:", part, report.format().c_str());
  for (const auto& column : report.columns()) std::printf(" %s = %s;", column.column().c_str(), column.role().c_str());
  std::printf("\n  first row: ");
  const auto& row = report.sample();
  if (row.words_size() > 0) {
    for (int i = 0; i < std::min(kShownWords, row.words_size()); ++i)
      std::printf("%s/%s ", row.words(i).c_str(), row.tags(i).c_str());
    std::printf("%s\n", row.words_size() > kShownWords ? "..." : "");
  } else {
    std::printf("%s%s%s%s%s\n", row.text().c_str(), row.text_pair().empty() ? "" : "  |  ", row.text_pair().c_str(),
                row.label().empty() ? "" : "  ->  ", row.label().empty() ? "" : Shown(row.label()).c_str());
  }
  if (report.labels_size() > 0) {
    std::printf("  %s:", kind == engram::v1::DATASET_KIND_TAGGING     ? "entities"
                         : kind == engram::v1::DATASET_KIND_WORD_TAGS ? "tags"
                                                                      : "labels");
    for (int i = 0; i < std::min(kShownLabels, report.labels_size()); ++i) {
      std::printf("%s %s %lld", i > 0 ? "," : "", Shown(report.labels(i).label()).c_str(),
                  static_cast<long long>(report.labels(i).count()));
    }
    if (report.labels_size() > kShownLabels) std::printf(", and %d more", report.labels_size() - kShownLabels);
    std::printf("\n");
  }
}

// What was stored, how it was understood, and what is odd.
void PrintUpload(const Dataset& dataset) {
  PrintDatasets({dataset});
  const engram::v1::UploadReport& report = dataset.report();
  PrintPart("training part", report.training(), dataset.kind());
  if (report.has_test()) PrintPart("test part", report.test(), dataset.kind());
  if (report.has_validation()) PrintPart("validation part", report.validation(), dataset.kind());
  std::printf("\n");
  const bool several = report.has_test() || report.has_validation();
  PrintWarnings(several ? "training part: " : "", report.training().warnings());
  PrintWarnings("test part: ", report.test().warnings());
  PrintWarnings("validation part: ", report.validation().warnings());
  PrintWarnings("", report.warnings());
}

engram::v1::UploadDatasetRequest HeaderOf(const UploadArguments& arguments) {
  engram::v1::UploadDatasetRequest request;
  engram::v1::UploadHeader& header = *request.mutable_header();
  header.set_dataset(arguments.name);
  header.set_training_file(LastPart(arguments.training));
  header.set_test_file(arguments.test.empty() ? "" : LastPart(arguments.test));
  header.set_validation_file(arguments.validation.empty() ? "" : LastPart(arguments.validation));
  header.set_format(arguments.format);
  header.set_text_column(arguments.text_column);
  header.set_pair_column(arguments.pair_column);
  header.set_label_column(arguments.label_column);
  header.set_word_column(arguments.word_column);
  header.set_tag_column(arguments.tag_column);
  header.set_strict(arguments.strict);
  if (arguments.misaligned == "strict") header.set_misaligned(engram::v1::SPAN_ALIGNMENT_STRICT);
  if (arguments.misaligned == "contract") header.set_misaligned(engram::v1::SPAN_ALIGNMENT_CONTRACT);
  if (arguments.misaligned == "expand") header.set_misaligned(engram::v1::SPAN_ALIGNMENT_EXPAND);
  if (arguments.kind == "classification") header.set_kind(engram::v1::DATASET_KIND_CLASSIFICATION);
  if (arguments.kind == "tagging") header.set_kind(engram::v1::DATASET_KIND_TAGGING);
  if (arguments.kind == "text") header.set_kind(engram::v1::DATASET_KIND_TEXT);
  if (arguments.kind == "pairs") header.set_kind(engram::v1::DATASET_KIND_PAIRS);
  if (arguments.kind == "word-tags") header.set_kind(engram::v1::DATASET_KIND_WORD_TAGS);
  return request;
}

int Upload(Session& session, const UploadArguments& arguments) {
  const std::string &training = arguments.training, &test = arguments.test, &validation = arguments.validation;
  const auto context = session.NewContext();
  Dataset dataset;
  auto stub = session.Stub<DatasetService>();
  auto writer = stub->UploadDataset(context.get(), &dataset);
  const engram::v1::UploadDatasetRequest header = HeaderOf(arguments);
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
      (test.empty() || send(test, [](auto& request, std::string bytes) { request.set_test(std::move(bytes)); })) &&
      (validation.empty() ||
       send(validation, [](auto& request, std::string bytes) { request.set_validation(std::move(bytes)); }));
  engram::v1::UploadDatasetRequest end;
  end.set_end(true);
  // A stream that broke off says why in its status.
  if (sent && writer->Write(end)) writer->WritesDone();
  if (!unreadable.empty()) context->TryCancel();
  const grpc::Status status = writer->Finish();
  if (!unreadable.empty()) return FailUnreadable(unreadable);
  if (!status.ok()) return session.Fail(status);
  return session.Print(dataset, [&] { PrintUpload(dataset); });
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

// "a, b"; of many the first few.
std::string Some(const google::protobuf::RepeatedPtrField<std::string>& names) {
  constexpr int kShown = 5;
  std::string text;
  for (int i = 0; i < std::min(kShown, names.size()); ++i) text += (i > 0 ? ", " : "") + names[i];
  return names.size() > kShown ? text + " and " + std::to_string(names.size() - kShown) + " more" : text;
}

int Delete(Session& session, const std::string& name, bool force, bool yes) {
  engram::v1::DeleteDatasetRequest request;
  request.set_name(name);
  request.set_force(force);
  request.set_validate_only(true);
  engram::v1::DeleteDatasetResponse response;
  const auto call = [&] {
    const auto context = session.NewContext();
    return session.Stub<DatasetService>()->DeleteDataset(context.get(), request, &response);
  };
  if (const grpc::Status status = call(); !status.ok()) return session.Fail(status);
  std::string question = "The rows of \"" + LastPart(name) + "\" will be gone.";
  if (response.served_tasks_size() > 0) {
    question += " These tasks were trained on it and can then be neither evaluated nor consolidated again: " +
                Some(response.served_tasks()) + ".";
  }
  if (!Confirm(question, yes)) return isatty(STDIN_FILENO) == 0 ? kUsage : kFailed;
  request.set_validate_only(false);
  response.Clear();
  if (const grpc::Status status = call(); !status.ok()) return session.Fail(status);
  return session.Print(response, [&] {
    std::printf("deleted %s\n", name.c_str());
    if (response.versions_with_texts_size() > 0) {
      std::printf("its texts stay in the replay memory of %s: deleting these versions removes them\n",
                  Some(response.versions_with_texts()).c_str());
    }
  });
}

void AddUploadVerb(CLI::App& group, Session& session) {
  const auto arguments = std::make_shared<UploadArguments>();
  UploadArguments& a = *arguments;
  CLI::App* upload = group.add_subcommand(
      "upload",
      "Upload a data set. Formats by extension, also with .gz: .jsonl {\"text\",\"label\"}, .csv, .tsv, "
      ".conll, .txt. A column that would not be read is an error that says which option helps.\n"
      "Example: engram datasets upload emotion train.jsonl --test test.jsonl");
  upload->add_option("NAME", a.name, "name of the data set")->required();
  upload->add_option("FILE", a.training, "training part")->required()->check(CLI::ExistingFile);
  upload->add_option("--test", a.test, "test part, which evaluations are made on")->check(CLI::ExistingFile);
  upload
      ->add_option("--validation", a.validation,
                   "validation part, by which early stopping chooses; trainings then hold nothing out")
      ->check(CLI::ExistingFile);
  upload->add_option("--format", a.format, "format of the files; default: by their names and lines")
      ->check(CLI::IsMember({"jsonl", "csv", "tsv", "conll", "txt", "fasttext"}));
  upload->add_option("--kind", a.kind, "what the rows become, other annotations are left out; default: what there is")
      ->check(CLI::IsMember({"classification", "pairs", "tagging", "word-tags", "text"}));
  upload->add_option("--text-column", a.text_column,
                     "column or key of the texts: its name, or its number from 1 if there is no header");
  upload->add_option("--pair-column", a.pair_column,
                     "the same of the second text of each row: what is learned is the label of the pair");
  upload->add_option("--label-column", a.label_column, "column or key of the labels; the others are then left out");
  upload->add_option("--word-column", a.word_column, "column or key of the words of tagged texts");
  upload->add_option("--tag-column", a.tag_column, "column or key of the tags or entities");
  upload
      ->add_option("--misaligned", a.misaligned,
                   "of entities that begin or end inside of a word: cut the word, refuse them (strict), take the words "
                   "inside (contract), or all that they touch (expand)")
      ->check(CLI::IsMember({"cut", "strict", "contract", "expand"}))
      ->capture_default_str();
  upload->add_flag("--strict", a.strict, "refuse what would be repaired: tags out of their scheme, repeated headers");
  upload->callback([&session, arguments] { session.run = [=, &session] { return Upload(session, *arguments); }; });
}

}  // namespace

void AddDatasetVerbs(CLI::App& app, Session& session) {
  CLI::App* group = app.add_subcommand("datasets", "Upload, list, show and delete data sets");
  group->require_subcommand(1);
  AddUploadVerb(*group, session);
  const auto name = std::make_shared<std::string>();

  group->add_subcommand("list", "List data sets")->callback([&session] {
    session.run = [&session] { return List(session); };
  });

  CLI::App* show = group->add_subcommand("show", "Show one data set with its labels");
  show->add_option("NAME", *name, "name of the data set")->required();
  show->callback([&session, name] { session.run = [=, &session] { return Show(session, *name); }; });

  CLI::App* remove =
      group->add_subcommand("delete", "Delete a data set that no unfinished job and no served task needs");
  const auto force = std::make_shared<bool>(false), yes = std::make_shared<bool>(false);
  remove->add_flag("--force", *force, "also where a served task was trained on it");
  remove->add_flag("--yes", *yes, "do not ask");
  remove->add_option("NAME", *name, "name of the data set")->required();
  remove->callback([=, &session] { session.run = [=, &session] { return Delete(session, *name, *force, *yes); }; });
}

}  // namespace engram::client
