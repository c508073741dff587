#pragma once

// For op_table.cc and the ops' own files: each <op>_reference.cc and each <op>_cpu.cc enters its functions into a table.
// Nobody else includes this.

namespace engram::nn::ops {

struct OpTable;

namespace reference {
void SetLinear(OpTable& table);
void SetActivation(OpTable& table);
void SetGatedActivation(OpTable& table);
void SetLayerNorm(OpTable& table);
void SetRmsNorm(OpTable& table);
void SetRotary(OpTable& table);
void SetDropout(OpTable& table);
void SetAttention(OpTable& table);
void SetEmbedding(OpTable& table);
void SetPooling(OpTable& table);
void SetCrossEntropy(OpTable& table);
void SetSquaredGradient(OpTable& table);
void SetAdamW(OpTable& table);
}  // namespace reference

namespace cpu {
void SetLinear(OpTable& table);
void SetActivation(OpTable& table);
void SetLayerNorm(OpTable& table);
void SetRotary(OpTable& table);
void SetDropout(OpTable& table);
void SetAttention(OpTable& table);
void SetEmbedding(OpTable& table);
void SetPooling(OpTable& table);
void SetSquaredGradient(OpTable& table);
void SetAdamW(OpTable& table);
}  // namespace cpu

}  // namespace engram::nn::ops
