#pragma once

// The streams of ModelService: directories in, directories out, file by file.

#include "engram/v1/model.grpc.pb.h"
#include "server/catalog.h"
#include "server/layout.h"
#include "server/metrics.h"
#include "server/work_pool.h"

namespace engram::server {

// Receives files into staging, then imports them in the pool. Whatever goes wrong, nothing stays behind.
grpc::ServerReadReactor<engram::v1::ImportModelRequest>* StartImport(jobs::Store& store, const Catalog& catalog,
                                                                     const Layout& layout, int64_t max_bytes,
                                                                     WorkPool& pool, Metrics& metrics,
                                                                     engram::v1::Version* response);

grpc::ServerWriteReactor<engram::v1::ExportVersionResponse>* StartExport(
    jobs::Store& store, const Catalog& catalog, const Layout& layout, Metrics& metrics,
    const engram::v1::ExportVersionRequest& request);

}  // namespace engram::server
