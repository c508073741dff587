#include "server/device_choice.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace engram::server {
namespace {

std::string Cuda(int index) { return absl::StrCat("cuda:", index); }

bool NamesAuto(const std::vector<std::string>& devices) {
  return std::find(devices.begin(), devices.end(), kAutoDevice) != devices.end();
}

}  // namespace

bool HasAutoDevices(const Config& config) {
  return config.inference_device == kAutoDevice || NamesAuto(config.devices);
}

absl::Status ChooseDevices(int cuda_devices, Config& config) {
  if (config.inference_device == kAutoDevice) config.inference_device = cuda_devices > 0 ? Cuda(0) : "cpu";
  if (!NamesAuto(config.devices)) return absl::OkStatus();
  if (config.devices.size() > 1)
    return InvalidField("devices", "names \"auto\" beside other devices; leave it out, or let it stand alone");
  config.devices.clear();
  for (int index = 0; index < cuda_devices; ++index) config.devices.push_back(Cuda(index));
  if (config.devices.empty()) config.devices.push_back("cpu");
  return absl::OkStatus();
}

}  // namespace engram::server
