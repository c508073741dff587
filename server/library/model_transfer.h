#pragma once

// The streams of ModelService: directories in, directories out, file by file.

#include <cstdint>

#include "core/jobs/store.h"
#include "engram/v1/model.grpc.pb.h"
#include "server/data_paths.h"
#include "server/library/catalog.h"
#include "server/rpc/call.h"

namespace engram::server {

// What both need; the store and the catalog outlive the call.
struct TransferParts {
  const CallEnvironment& environment;
  jobs::Store& store;
  const Catalog& catalog;
  const DataPaths& paths;
  int64_t max_bytes;  // of one import
};

// Receives files into staging, then imports them. Whatever goes wrong, nothing stays behind.
grpc::ServerReadReactor<engram::v1::ImportModelRequest>* StartImport(const TransferParts& parts,
                                                                     const grpc::CallbackServerContext& context,
                                                                     engram::v1::Version* response);

// Sends the files that engram.json lists, and engram.json first.
grpc::ServerWriteReactor<engram::v1::ExportVersionResponse>* StartExport(
    const TransferParts& parts, const grpc::CallbackServerContext& context,
    const engram::v1::ExportVersionRequest& request);

}  // namespace engram::server
