#include "server/rpc/audit.h"

#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace engram::server {
namespace {

constexpr size_t kMostBytes = 1024, kMostOfText = 64;

using google::protobuf::FieldDescriptor, google::protobuf::Message, google::protobuf::Reflection;

// The field's value; empty for kinds that are left out.
std::string Value(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      if (field.type() == FieldDescriptor::TYPE_BYTES) return "";
      return absl::CHexEscape(reflection.GetString(message, &field).substr(0, kMostOfText));
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return absl::StrCat(reflection.GetFloat(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat(reflection.GetEnumValue(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "";
  }
  return "";
}

void Add(const Message& message, std::string& out) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->is_repeated()) continue;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Add(message.GetReflection()->GetMessage(message, field), out);
    } else if (const std::string value = Value(message, *field); !value.empty()) {
      absl::StrAppend(&out, out.empty() ? "" : " ", field->name(), "=", value);
    }
  }
}

}  // namespace

std::string Identifiers(const Message& request) {
  std::string out;
  Add(request, out);
  if (out.size() > kMostBytes) out.resize(kMostBytes);
  return out;
}

}  // namespace engram::server
