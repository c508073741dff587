#include "core/nn/between_layers.h"

#include <utility>

namespace engram::nn {
namespace {

thread_local BetweenLayers* current = nullptr;

}  // namespace

BetweenLayers::BetweenLayers(std::function<void()> work) : work_(std::move(work)), outer_(current) { current = this; }

BetweenLayers::~BetweenLayers() { current = outer_; }

void BetweenLayers::Pause() {
  if (current == nullptr) return;
  BetweenLayers* const paused = std::exchange(current, nullptr);
  paused->work_();
  current = paused;
}

}  // namespace engram::nn
