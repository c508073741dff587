#include "client/json_output.h"

#include <cstdlib>
#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using Json = nlohmann::ordered_json;

void NumbersOf(const Descriptor& type, Json& json);

// One value, or the values of a list or a map.
void NumbersOf(const FieldDescriptor& field, Json& json) {
  if (json.is_array() || field.is_map()) {
    const FieldDescriptor& of = field.is_map() ? *field.message_type()->FindFieldByName("value") : field;
    for (Json& item : json) NumbersOf(of, item);
    return;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
      if (json.is_string()) json = std::strtoll(json.get_ref<const std::string&>().c_str(), nullptr, 10);
      return;
    case FieldDescriptor::CPPTYPE_UINT64:
      if (json.is_string()) json = std::strtoull(json.get_ref<const std::string&>().c_str(), nullptr, 10);
      return;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      NumbersOf(*field.message_type(), json);
      return;
    default:
      return;
  }
}

// Protobuf's own types (a time) are texts in JSON and stay so.
void NumbersOf(const Descriptor& type, Json& json) {
  if (!json.is_object() || type.file()->package() == "google.protobuf") return;
  for (auto& [key, value] : json.items()) {
    if (const FieldDescriptor* field = type.FindFieldByName(key)) NumbersOf(*field, value);
  }
}

}  // namespace

nlohmann::ordered_json ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return nullptr;
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  NumbersOf(*message.GetDescriptor(), json);
  return json;
}

}  // namespace engram::client
