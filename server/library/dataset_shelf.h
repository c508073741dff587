#pragma once

// Where data sets stand: a data set's directory and its row in the store change together, one data set at a time.
// Thread-safe.

#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/jobs/store.h"
#include "server/data_paths.h"

namespace engram::server {

class DatasetShelf {
 public:
  DatasetShelf(jobs::Store& store, DataPaths paths) : store_(store), paths_(std::move(paths)) {}

  // Makes a data set of the files that `fill` writes into the directory it is given; the data set appears whole or not
  // at all. The same content again is no error and changes nothing: ALREADY_EXISTS (DATASET_EXISTS) where the name is
  // taken by other content. What the database does not know and lies in the way is kept in lost+found. Gives the record
  // as it is stored.
  absl::StatusOr<jobs::DatasetRecord> Put(const jobs::DatasetRecord& record,
                                          const std::function<absl::Status(const std::string& directory)>& fill)
      ABSL_LOCKS_EXCLUDED(changing_);
  // Calls `remove` while no data set changes.
  template <typename Function>
  absl::Status WhileNoneChanges(const Function& remove) ABSL_LOCKS_EXCLUDED(changing_) {
    absl::MutexLock lock(&changing_);
    return remove();
  }

 private:
  // Nothing is to lie where the data set will be.
  absl::Status ClearTheWay(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(changing_);

  jobs::Store& store_;
  const DataPaths paths_;
  absl::Mutex changing_;
};

}  // namespace engram::server
