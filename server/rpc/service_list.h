#pragma once

// The services of a server, named once: whatever has to be done for each of them walks this list.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/server_builder.h"

namespace engram::server {

// Owns its services, which are destroyed in the reverse order of Add. Not thread-safe; const use is.
class ServiceList {
 public:
  ServiceList() = default;
  ~ServiceList() {
    while (!entries_.empty()) entries_.pop_back();
  }
  ServiceList(const ServiceList&) = delete;
  ServiceList& operator=(const ServiceList&) = delete;

  // Makes a Service out of `arguments`. Service::Api is the generated class that it implements.
  template <typename Service, typename... Arguments>
  void Add(Arguments&&... arguments) {
    entries_.push_back(
        {Service::Api::service_full_name(), std::make_unique<Service>(std::forward<Arguments>(arguments)...)});
  }
  void Register(grpc::ServerBuilder& builder) const {
    for (const Entry& entry : entries_) builder.RegisterService(entry.service.get());
  }
  // What health checks are told: for the server as a whole and for each service.
  void SetServing(grpc::HealthCheckServiceInterface& health, bool serving) const {
    for (const Entry& entry : entries_) health.SetServingStatus(entry.name, serving);
    health.SetServingStatus(serving);
  }

 private:
  struct Entry {
    std::string name;  // "engram.v1.JobService"
    std::unique_ptr<grpc::Service> service;
  };
  std::vector<Entry> entries_;
};

}  // namespace engram::server
