#include "core/checkpoint/torch_pickle.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/base/utf8.h"

namespace engram::checkpoint {
namespace {

constexpr size_t kMaxValues = 8'000'000, kMaxText = 1 << 16;

absl::Status Bad(std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a state_dict of torch.save: ", AbslView(why)));
}

enum class Callable : uint8_t { kOrderedDict, kRebuildTensor, kRebuildParameter };

// A value; lists, tuples and dictionaries hold the numbers of their members, so that nothing is nested in memory.
struct Value {
  enum Kind : uint8_t {
    kNone,
    kBool,
    kInt,
    kReal,
    kText,
    kTuple,
    kList,
    kDict,
    kCallable,
    kStorageType,
    kStorage,
    kTensor
  };
  Kind kind = kNone;
  int depth = 0;
  int64_t number = 0;  // of a kBool, kInt; elements of a kStorage; offset of a kTensor
  Callable callable{};
  Dtype dtype = Dtype::kF32;           // kStorageType, kStorage
  std::string text;                    // kText; key of a kStorage
  std::vector<uint32_t> members = {};  // keys and values by turns in a kDict; storage, shape and strides of a kTensor

  static Value Of(Kind kind, int64_t number = 0) {
    Value value;
    value.kind = kind;
    value.number = number;
    return value;
  }
};

constexpr std::pair<std::string_view, Callable> kCallables[] = {
    {"collections.OrderedDict", Callable::kOrderedDict},
    {"torch._utils._rebuild_tensor_v2", Callable::kRebuildTensor},
    {"torch._utils._rebuild_parameter", Callable::kRebuildParameter},
};
struct StorageName {
  std::string_view name;
  Dtype dtype;
};
constexpr StorageName kStorages[] = {
    {"torch.FloatStorage", Dtype::kF32},  {"torch.HalfStorage", Dtype::kF16}, {"torch.BFloat16Storage", Dtype::kBF16},
    {"torch.DoubleStorage", Dtype::kF64}, {"torch.LongStorage", Dtype::kI64}, {"torch.IntStorage", Dtype::kI32},
    {"torch.ShortStorage", Dtype::kI16},  {"torch.CharStorage", Dtype::kI8},  {"torch.ByteStorage", Dtype::kU8},
    {"torch.BoolStorage", Dtype::kBool},
};

class Machine {
 public:
  explicit Machine(std::string_view bytes) : bytes_(bytes.substr(0, kMaxPickle)) { Add(Value()); }

  absl::StatusOr<Pickled> Run() {
    ENGRAM_RETURN_IF_ERROR(RunToStop());
    return Result();
  }
  // The bytes of a pickle of any value.
  absl::StatusOr<size_t> Skip() {
    ENGRAM_RETURN_IF_ERROR(RunToStop());
    return at_;
  }

 private:
  absl::Status RunToStop() {
    while (!stopped_) {
      ENGRAM_ASSIGN_OR_RETURN(const uint8_t opcode, Number<uint8_t>());
      ENGRAM_RETURN_IF_ERROR(Step(opcode));
      if (values_.size() > kMaxValues || stack_.size() > kMaxValues) return Bad("it holds too many values");
    }
    return absl::OkStatus();
  }

  // ---- operands
  template <typename T>
  absl::StatusOr<T> Number() {
    T value{};
    if (bytes_.size() - at_ < sizeof(T)) return Bad("it is cut off");
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  absl::StatusOr<std::string> Text(uint64_t size) {
    if (size > kMaxText) return Bad("a text in it is too long");
    if (bytes_.size() - at_ < size) return Bad("it is cut off");
    std::string text(bytes_.substr(at_, size));
    at_ += size;
    if (FindInvalidUtf8(text)) return Bad("a text in it is not UTF-8");
    return text;
  }
  absl::StatusOr<std::string> Line() {
    const size_t end = bytes_.substr(at_, kMaxText).find('\n');
    if (end == std::string_view::npos) return Bad("it is cut off");
    std::string line(bytes_.substr(at_, end));
    at_ += end + 1;
    return line;
  }

  // ---- the stack
  uint32_t Add(Value value) {
    values_.push_back(std::move(value));
    return static_cast<uint32_t>(values_.size() - 1);
  }
  absl::Status Push(Value value) {
    stack_.push_back(Add(std::move(value)));
    return absl::OkStatus();
  }
  absl::StatusOr<uint32_t> Pop() {
    if (stack_.size() <= floor()) return Bad("an opcode finds no operand");
    const uint32_t top = stack_.back();
    stack_.pop_back();
    return top;
  }
  absl::StatusOr<uint32_t> Pop(Value::Kind kind, std::string_view what) {
    ENGRAM_ASSIGN_OR_RETURN(const uint32_t top, Pop());
    if (values_[top].kind != kind)
      return Bad(absl::StrCat("where ", AbslView(what), " must stand there is something else"));
    return top;
  }
  // What was pushed since the last mark, which goes away.
  absl::StatusOr<std::vector<uint32_t>> PopToMark() {
    if (marks_.empty()) return Bad("an opcode finds no mark");
    std::vector<uint32_t> out(stack_.begin() + static_cast<int64_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return out;
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  absl::Status Hold(uint32_t holder, std::span<const uint32_t> members) {
    Value& into = values_[holder];
    for (const uint32_t member : members) into.depth = std::max(into.depth, values_[member].depth + 1);
    if (into.depth > kMaxPickleDepth) return Bad(absl::StrCat("values are nested deeper than ", kMaxPickleDepth));
    into.members.insert(into.members.end(), members.begin(), members.end());
    return values_.size() + into.members.size() > kMaxValues ? Bad("it holds too many values") : absl::OkStatus();
  }
  absl::Status PushTuple(std::span<const uint32_t> members) {
    ENGRAM_RETURN_IF_ERROR(Push(Value::Of(Value::kTuple)));
    return Hold(stack_.back(), members);
  }
  absl::Status Extend(Value::Kind kind, std::string_view what, const std::vector<uint32_t>& members) {
    ENGRAM_ASSIGN_OR_RETURN(const uint32_t holder, Pop(kind, what));
    if (kind == Value::kDict && members.size() % 2 != 0) return Bad("a dictionary gets a key without a value");
    stack_.push_back(holder);
    return Hold(holder, members);
  }

  // ---- opcodes
  absl::Status Step(uint8_t opcode);
  absl::Status StepNumber(uint8_t opcode);
  absl::Status StepText(uint8_t opcode);
  absl::Status StepMemo(uint8_t opcode);
  absl::Status StepContainer(uint8_t opcode);
  absl::Status StepObject(uint8_t opcode);
  absl::Status PushGlobal(const std::string& name);
  absl::Status PushLong();
  absl::Status Call();
  absl::Status PushStorage();
  absl::Status RebuildTensor(const std::vector<uint32_t>& arguments);
  absl::Status Build();

  // ---- the result
  absl::StatusOr<Pickled> Result();
  absl::Status ReadTensors(const Value& dict, Pickled& out) const;
  absl::StatusOr<std::vector<uint64_t>> Sizes(uint32_t tuple) const;

  std::string_view bytes_;
  size_t at_ = 0;
  bool stopped_ = false;
  std::vector<Value> values_;  // the first is None
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  std::unordered_map<uint32_t, uint32_t> memo_;
};

absl::Status Machine::Step(uint8_t opcode) {
  switch (opcode) {
    case 0x80:  // PROTO
      return Number<uint8_t>().status();
    case 0x95:  // FRAME
      return Number<uint64_t>().status();
    case '.':
      stopped_ = true;
      return absl::OkStatus();
    case 'N':
      stack_.push_back(0);
      return absl::OkStatus();
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      return Push(Value::Of(Value::kBool, opcode == 0x88 ? 1 : 0));
    case '0':
      return Pop().status();
    case 'K':
    case 'M':
    case 'J':
    case 'G':
    case 0x8a:
      return StepNumber(opcode);
    case 'X':
    case 0x8c:
    case 0x8d:
    case 'U':
    case 'T':
      return StepText(opcode);
    case 'h':
    case 'j':
    case 'q':
    case 'r':
    case 0x94:
      return StepMemo(opcode);
    case '(':
    case '}':
    case ']':
    case ')':
    case 't':
    case 0x85:
    case 0x86:
    case 0x87:
    case 's':
    case 'u':
    case 'a':
    case 'e':
      return StepContainer(opcode);
    default:
      return StepObject(opcode);
  }
}

absl::Status Machine::StepNumber(uint8_t opcode) {
  if (opcode == 0x8a) return PushLong();
  if (opcode == 'G') {  // big-endian; no number of a tensor is one
    ENGRAM_RETURN_IF_ERROR(Number<uint64_t>().status());
    return Push(Value::Of(Value::kReal));
  }
  int64_t value = 0;
  if (opcode == 'K') {
    ENGRAM_ASSIGN_OR_RETURN(value, Number<uint8_t>());
  } else if (opcode == 'M') {
    ENGRAM_ASSIGN_OR_RETURN(value, Number<uint16_t>());
  } else {
    ENGRAM_ASSIGN_OR_RETURN(value, Number<int32_t>());
  }
  return Push(Value::Of(Value::kInt, value));
}

// LONG1: two's complement, little-endian.
absl::Status Machine::PushLong() {
  ENGRAM_ASSIGN_OR_RETURN(const uint8_t size, Number<uint8_t>());
  if (size > sizeof(int64_t)) return Bad("a whole number in it has more than 64 bits");
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    ENGRAM_ASSIGN_OR_RETURN(const uint8_t byte, Number<uint8_t>());
    value |= uint64_t{byte} << 8 * i;
  }
  const bool negative = size > 0 && (value >> (8 * size - 1) & 1) != 0;
  if (negative && size < sizeof(int64_t)) value |= ~uint64_t{0} << 8 * size;
  return Push(Value::Of(Value::kInt, static_cast<int64_t>(value)));
}

absl::Status Machine::StepText(uint8_t opcode) {
  uint64_t size = 0;
  if (opcode == 0x8d) {
    ENGRAM_ASSIGN_OR_RETURN(size, Number<uint64_t>());
  } else if (opcode == 'X' || opcode == 'T') {
    ENGRAM_ASSIGN_OR_RETURN(size, Number<uint32_t>());
  } else {
    ENGRAM_ASSIGN_OR_RETURN(size, Number<uint8_t>());
  }
  ENGRAM_ASSIGN_OR_RETURN(std::string text, Text(size));
  Value value = Value::Of(Value::kText);
  value.text = std::move(text);
  return Push(std::move(value));
}

absl::Status Machine::StepMemo(uint8_t opcode) {
  uint32_t slot = static_cast<uint32_t>(memo_.size());
  if (opcode == 'h' || opcode == 'q') {
    ENGRAM_ASSIGN_OR_RETURN(slot, Number<uint8_t>());
  } else if (opcode != 0x94) {
    ENGRAM_ASSIGN_OR_RETURN(slot, Number<uint32_t>());
  }
  if (opcode == 'h' || opcode == 'j') {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) return Bad("it asks for a value that it did not keep");
    stack_.push_back(found->second);
    return absl::OkStatus();
  }
  if (stack_.size() <= floor()) return Bad("an opcode finds no operand");
  memo_[slot] = stack_.back();
  return absl::OkStatus();
}

absl::Status Machine::StepContainer(uint8_t opcode) {
  switch (opcode) {
    case '(':
      marks_.push_back(stack_.size());
      return marks_.size() > kMaxValues ? Bad("it holds too many values") : absl::OkStatus();
    case '}':
      return Push(Value::Of(Value::kDict));
    case ']':
      return Push(Value::Of(Value::kList));
    case ')':
      return Push(Value::Of(Value::kTuple));
    case 't': {
      ENGRAM_ASSIGN_OR_RETURN(const auto members, PopToMark());
      return PushTuple(members);
    }
    case 'u': {
      ENGRAM_ASSIGN_OR_RETURN(const auto members, PopToMark());
      return Extend(Value::kDict, "a dictionary", members);
    }
    case 'e': {
      ENGRAM_ASSIGN_OR_RETURN(const auto members, PopToMark());
      return Extend(Value::kList, "a list", members);
    }
    default:
      break;
  }
  const size_t count = opcode == 's' ? 2 : opcode == 'a' ? 1 : opcode - 0x84;
  std::vector<uint32_t> members(count);
  for (size_t i = count; i-- > 0;) {
    ENGRAM_ASSIGN_OR_RETURN(members[i], Pop());
  }
  if (opcode == 's') return Extend(Value::kDict, "a dictionary", members);
  if (opcode == 'a') return Extend(Value::kList, "a list", members);
  return PushTuple(members);
}

absl::Status Machine::StepObject(uint8_t opcode) {
  switch (opcode) {
    case 'c': {
      ENGRAM_ASSIGN_OR_RETURN(const std::string module, Line());
      ENGRAM_ASSIGN_OR_RETURN(const std::string name, Line());
      return PushGlobal(absl::StrCat(module, ".", name));
    }
    case 0x93: {
      ENGRAM_ASSIGN_OR_RETURN(const uint32_t name, Pop(Value::kText, "a name"));
      ENGRAM_ASSIGN_OR_RETURN(const uint32_t module, Pop(Value::kText, "a module"));
      return PushGlobal(absl::StrCat(values_[module].text, ".", values_[name].text));
    }
    case 'R':
      return Call();
    case 'Q':
      return PushStorage();
    case 'b':
      return Build();
    default:
      break;
  }
  return Bad(absl::StrCat("the opcode ", opcode, " is not one that a state_dict needs"));
}

absl::Status Machine::PushGlobal(const std::string& name) {
  for (const auto& [known, callable] : kCallables) {
    if (name != known) continue;
    Value value = Value::Of(Value::kCallable);
    value.callable = callable;
    return Push(std::move(value));
  }
  for (const StorageName& storage : kStorages) {
    if (name != storage.name) continue;
    Value value = Value::Of(Value::kStorageType);
    value.dtype = storage.dtype;
    return Push(std::move(value));
  }
  return Bad(absl::StrCat("it mentions ", Quoted(name),
                          ", and loading it with pickle would run that; only tensors are read. Save the model's "
                          "state_dict alone, or as safetensors"));
}

absl::Status Machine::Call() {
  ENGRAM_ASSIGN_OR_RETURN(const uint32_t arguments, Pop(Value::kTuple, "the arguments of a call"));
  ENGRAM_ASSIGN_OR_RETURN(const uint32_t callable, Pop(Value::kCallable, "what is called"));
  const std::vector<uint32_t> given = values_[arguments].members;
  switch (values_[callable].callable) {
    case Callable::kOrderedDict:
      return given.empty() ? Push(Value::Of(Value::kDict)) : Bad("an OrderedDict is made with arguments");
    case Callable::kRebuildParameter:
      if (given.size() != 3 || values_[given[0]].kind != Value::kTensor) return Bad("a parameter is made of no tensor");
      stack_.push_back(given[0]);
      return absl::OkStatus();
    case Callable::kRebuildTensor:
      return RebuildTensor(given);
  }
  return absl::OkStatus();
}

// (storage, offset, shape, strides, requires_grad, hooks[, metadata])
absl::Status Machine::RebuildTensor(const std::vector<uint32_t>& arguments) {
  using enum Value::Kind;
  const bool fits = (arguments.size() == 6 || arguments.size() == 7) && values_[arguments[0]].kind == kStorage &&
                    values_[arguments[1]].kind == kInt && values_[arguments[2]].kind == kTuple &&
                    values_[arguments[3]].kind == kTuple;
  if (!fits) return Bad("a tensor is made of something else than storage, offset, shape and strides");
  Value tensor = Value::Of(kTensor, values_[arguments[1]].number);
  tensor.members = {arguments[0], arguments[2], arguments[3]};
  return Push(std::move(tensor));
}

// ('storage', type, key, location, elements)
absl::Status Machine::PushStorage() {
  using enum Value::Kind;
  ENGRAM_ASSIGN_OR_RETURN(const uint32_t id, Pop(kTuple, "the place of a storage"));
  const std::vector<uint32_t>& parts = values_[id].members;
  const auto is = [&](size_t i, Value::Kind kind) { return values_[parts[i]].kind == kind; };
  const bool fits = (parts.size() == 5 || parts.size() == 6) && is(0, kText) && values_[parts[0]].text == "storage" &&
                    is(1, kStorageType) && is(2, kText) && is(3, kText) && is(4, kInt) &&
                    values_[parts[4]].number >= 0 && (parts.size() == 5 || is(5, kNone));
  if (!fits) return Bad("a storage is described by something else than its type, key, place and size");
  Value storage = Value::Of(kStorage, values_[parts[4]].number);
  storage.dtype = values_[parts[1]].dtype;
  storage.text = values_[parts[2]].text;
  return Push(std::move(storage));
}

// An OrderedDict's attributes (state_dict's versions of modules): of no use for the tensors.
absl::Status Machine::Build() {
  ENGRAM_RETURN_IF_ERROR(Pop(Value::kDict, "the attributes of a dictionary").status());
  ENGRAM_ASSIGN_OR_RETURN(const uint32_t holder, Pop(Value::kDict, "a dictionary"));
  stack_.push_back(holder);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint64_t>> Machine::Sizes(uint32_t tuple) const {
  std::vector<uint64_t> sizes;
  const std::vector<uint32_t>& members = values_[tuple].members;
  if (members.size() > kMaxTensorRank) return Bad("a tensor has too many dimensions");
  for (const uint32_t member : members) {
    if (values_[member].kind != Value::kInt || values_[member].number < 0)
      return Bad("a tensor's shape or stride is no whole number");
    sizes.push_back(static_cast<uint64_t>(values_[member].number));
  }
  return sizes;
}

absl::Status Machine::ReadTensors(const Value& dict, Pickled& out) const {
  std::set<std::string> names;
  for (size_t i = 0; i < dict.members.size(); i += 2) {
    const Value &key = values_[dict.members[i]], &value = values_[dict.members[i + 1]];
    if (key.kind != Value::kText) return Bad("a name in it is no text");
    if (value.kind != Value::kTensor)
      return Bad(absl::StrCat("what it has under ", Quoted(key.text), " is no tensor; save the state_dict alone"));
    if (!names.insert(key.text).second) return Bad(absl::StrCat("the tensor ", Quoted(key.text), " is there twice"));
    const Value& storage = values_[value.members[0]];
    PickledTensor tensor;
    tensor.name = key.text;
    tensor.dtype = storage.dtype;
    tensor.storage = storage.text;
    tensor.storage_size = static_cast<uint64_t>(storage.number);
    if (value.number < 0) return Bad(absl::StrCat("the tensor ", Quoted(key.text), " begins before its storage"));
    tensor.offset = static_cast<uint64_t>(value.number);
    ENGRAM_ASSIGN_OR_RETURN(tensor.shape, Sizes(value.members[1]));
    ENGRAM_ASSIGN_OR_RETURN(tensor.strides, Sizes(value.members[2]));
    if (tensor.shape.size() != tensor.strides.size())
      return Bad(absl::StrCat("the tensor ", Quoted(key.text), " has not one stride for each dimension"));
    out.tensors.push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

absl::StatusOr<Pickled> Machine::Result() {
  if (stack_.size() != 1 || !marks_.empty()) return Bad("it does not end with one value");
  Pickled out;
  out.size = at_;
  const Value& value = values_[stack_[0]];
  if (value.kind == Value::kDict) {
    ENGRAM_RETURN_IF_ERROR(ReadTensors(value, out));
  } else if (value.kind == Value::kList) {
    for (const uint32_t member : value.members) {
      if (values_[member].kind != Value::kText) return Bad("it is a list of something else than texts");
      out.texts.push_back(values_[member].text);
    }
  } else {
    return Bad("it is no dictionary of tensors");
  }
  return out;
}

}  // namespace

absl::StatusOr<Pickled> ReadTorchPickle(std::span<const std::byte> bytes) {
  return Machine({reinterpret_cast<const char*>(bytes.data()), bytes.size()}).Run();
}

absl::StatusOr<size_t> SkipTorchPickle(std::span<const std::byte> bytes) {
  return Machine({reinterpret_cast<const char*>(bytes.data()), bytes.size()}).Skip();
}

}  // namespace engram::checkpoint
