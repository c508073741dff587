// Any bytes as a page: refused, or a text of whole characters whose blocks are in order and lie within it. The first byte
// says what the bytes are said to be.

#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "core/base/utf8.h"
#include "core/web/page.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr const char* kTypes[] = {"text/html",
                                    "text/html; charset=\"Shift_JIS\"",
                                    "text/plain",
                                    "application/xhtml+xml",
                                    "text/plain; charset=iso-2022-jp",
                                    "text/html; charset=gbk"};
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto page = engram::web::ReadPage(bytes, kTypes[data[0] % std::size(kTypes)]);
  if (!page.ok()) return 0;
  if (page->text.empty() || engram::FindInvalidUtf8(page->text) || engram::FindInvalidUtf8(page->title)) std::abort();
  int64_t end = 0;
  for (const engram::web::Block& block : page->blocks) {
    if (block.start < end || block.end <= block.start) std::abort();
    end = block.end;
  }
  if (end > static_cast<int64_t>(page->text.size())) std::abort();
  return 0;
}
