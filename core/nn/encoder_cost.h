#pragma once

// What an encoder of given sizes costs, before one is built: for estimates.

#include <cstdint>

#include "core/checkpoint/families/family.h"
#include "core/checkpoint/task_kind.h"
#include "core/nn/parameter_buffer.h"

namespace engram::nn {

// Multiply-adds of one token's forward pass in the encoder's weight matrices. Attention's own products, which grow with
// the text, are left out.
double ProductsPerToken(const checkpoint::EncoderSizes& sizes);

// Bytes that a training step on a batch of `tokens` keeps of `kept_layers` layers for its backward pass, what that holds
// of one layer beside it, and where oneDNN sums products of bf16 rows. bench/worker_memory.py derives the terms and
// holds them against real runs. A pass that keeps nothing has one layer of it.
int64_t ActivationBytes(int64_t tokens, int64_t kept_layers, const checkpoint::EncoderSizes& sizes,
                        Precision precision);

// Parameters that a new head of that kind adds, a pooler that it stands on included.
int64_t HeadParameters(const checkpoint::EncoderSizes& sizes, checkpoint::TaskKind kind, checkpoint::Pooling pooling,
                       int64_t labels);

}  // namespace engram::nn
