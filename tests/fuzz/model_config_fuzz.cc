// Any text as config.json: a status, or numbers inside the stated bounds.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/checkpoint/model_config.h"
#include "core/checkpoint/sentence_modules.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = engram::checkpoint::ParseModelConfig(text);
  if (config.ok()) {
    if (config->hidden_size < 1 || config->hidden_size > engram::checkpoint::kMaxWidth ||
        config->hidden_size % config->heads != 0)
      abort();
    if (!engram::checkpoint::RenderModelConfig(text, "BertModel", config->labels).ok()) abort();
  }
  (void)engram::checkpoint::ParsePoolingModule(text, "1_Pooling/config.json");
  return 0;
}
