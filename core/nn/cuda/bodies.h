#pragma once

// Every kernel there is, for those that make them: launch.cu and the tests' host_launch.cc.

#include "core/nn/cuda/launch.h"
#include "core/nn/ops/activation/activation_body.h"
#include "core/nn/ops/adamw/adamw_body.h"
#include "core/nn/ops/cross_entropy/cross_entropy_body.h"
#include "core/nn/ops/dropout/dropout_body.h"
#include "core/nn/ops/embedding/embedding_body.h"
#include "core/nn/ops/layer_norm/layer_norm_body.h"
#include "core/nn/ops/pooling/pooling_body.h"
#include "core/nn/ops/squared_gradient/squared_gradient_body.h"

#define ENGRAM_FOR_EACH_BODY_OF(X, T) \
  X(AddLayerNormBody<T>)              \
  X(AddLayerNormGradientBody<T>)      \
  X(ColumnSumsBody<T>)                \
  X(ApplyDropoutBody<T>)              \
  X(BiasActivationBody<T>)            \
  X(ActivationGradientBody<T>)        \
  X(EmbeddingSumBody<T>)              \
  X(RunSumsBody<T>)                   \
  X(MeanPoolBody<T>)                  \
  X(SquaredProductBody<T>)            \
  X(SquaredColumnSumsBody<T>)

#define ENGRAM_FOR_EACH_BODY(X)        \
  ENGRAM_FOR_EACH_BODY_OF(X, float)    \
  ENGRAM_FOR_EACH_BODY_OF(X, BFloat16) \
  X(DropoutMaskBody)                   \
  X(CrossEntropyBody)                  \
  X(AdamWBody)                         \
  X(SumOfSquaresBody)
