#pragma once

// The streams of ModelService: directories in, directories out, file by file.

#include "engram/v1/model.grpc.pb.h"
#include "server/admin/metrics.h"
#include "server/data_paths.h"
#include "server/library/catalog.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

// Receives files into staging, then imports them in the pool. Whatever goes wrong, nothing stays behind.
grpc::ServerReadReactor<engram::v1::ImportModelRequest>* StartImport(jobs::Store& store, const Catalog& catalog,
                                                                     const DataPaths& paths, int64_t max_bytes,
                                                                     WorkPool& pool, Metrics& metrics,
                                                                     engram::v1::Version* response);

grpc::ServerWriteReactor<engram::v1::ExportVersionResponse>* StartExport(
    jobs::Store& store, const Catalog& catalog, const DataPaths& paths, Metrics& metrics,
    const engram::v1::ExportVersionRequest& request);

}  // namespace engram::server
