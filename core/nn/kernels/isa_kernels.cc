// Compiled once for each instruction set; see isa.h. ENGRAM_ISA is the name of the table.

#include "core/nn/kernels/isa.h"
#include "core/nn/kernels/isa_attention.h"
#include "core/nn/kernels/isa_rows.h"

namespace engram::nn::kernels {
namespace {

void LayerNormRowOf(const LayerNormArguments& a, bool bf16) { bf16 ? LayerNormRow<Half>(a) : LayerNormRow<float>(a); }
void LayerNormGradientRowOf(const LayerNormGradientArguments& a, bool bf16) {
  bf16 ? LayerNormGradientRow<Half>(a) : LayerNormGradientRow<float>(a);
}
void ColumnSumsOf(const ColumnSumArguments& a, bool bf16) { bf16 ? ColumnSums<Half>(a) : ColumnSums<float>(a); }
void EmbeddingRowOf(const EmbeddingArguments& a, bool bf16) { bf16 ? EmbeddingRow<Half>(a) : EmbeddingRow<float>(a); }
void ApplyDropoutOf(int64_t count, const void* x, const uint8_t* keep, float scale, void* out, bool bf16) {
  bf16 ? ApplyDropout<Half>(count, x, keep, scale, out) : ApplyDropout<float>(count, x, keep, scale, out);
}

bool InMemoryAsHalf(Element element) { return element != Element::kFloat32; }

void FillPanelOf(Element element, Panel panel, const PanelArguments& a) {
  switch (element) {
    case Element::kFloat32:
      return FillPanel<float, float>(panel, a);
    case Element::kBFloat16AsFloat32:
      return FillPanel<Half, float>(panel, a);
    case Element::kBFloat16:
      return FillPanel<Half, Half>(panel, a);
  }
}
void SoftmaxOf(Element element, const SoftmaxArguments& a) {
  element == Element::kBFloat16 ? Softmax<Half>(a) : Softmax<float>(a);
}
void ScoreGradientOf(Element element, const ScoreGradientArguments& a) {
  element == Element::kBFloat16 ? ScoreGradient<Half>(a) : ScoreGradient<float>(a);
}
void StoreTransposedOf(Element element, const float* columns, int64_t queries, const float* factor, int64_t count,
                       int64_t width, int64_t stride, void* out) {
  InMemoryAsHalf(element) ? StoreTransposed<Half>(columns, queries, factor, count, width, stride, out)
                          : StoreTransposed<float>(columns, queries, factor, count, width, stride, out);
}
void StoreRowsOf(Element element, const float* rows, int64_t count, int64_t width, int64_t stride, void* out) {
  InMemoryAsHalf(element) ? StoreRows<Half>(rows, count, width, stride, out)
                          : StoreRows<float>(rows, count, width, stride, out);
}
}  // namespace

extern const KernelTable ENGRAM_ISA;
const KernelTable ENGRAM_ISA = {LayerNormRowOf,  LayerNormGradientRowOf, ColumnSumsOf, EmbeddingRowOf, DropoutKeep,
                                ApplyDropoutOf,  GeluGradient,           AddPowers,    FillPanelOf,    SoftmaxOf,
                                ScoreGradientOf, StoreTransposedOf,      StoreRowsOf};

}  // namespace engram::nn::kernels
