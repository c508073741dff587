#include "core/continual/composition.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"

namespace engram::continual {
namespace {

std::string Prefixed(const std::string& part, const std::string& option) { return absl::StrCat(part, ".", option); }

// "er or derpp, then lwf, then ewc, ...": those that combine, in their order.
std::string Combining() {
  std::vector<std::string> roles;
  for (const StrategyRole role : {StrategyRole::kReplays, StrategyRole::kDistils, StrategyRole::kProtects}) {
    std::vector<std::string> names;
    for (const auto& [name, info] : Strategies()) {
      if (info.role == role) names.push_back(name);
    }
    roles.push_back(absl::StrJoin(names, " or "));
  }
  return absl::StrCat("what combines is ", absl::StrJoin(roles, ", then "));
}

absl::StatusOr<std::vector<const StrategyInfo*>> PartsOf(const std::string& name) {
  std::vector<const StrategyInfo*> parts;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(name, '+'))) {
    ENGRAM_ASSIGN_OR_RETURN(const StrategyInfo* const info, FindStrategy(part));
    parts.push_back(info);
  }
  for (const StrategyInfo* part : parts) {
    if (part->role == StrategyRole::kAlone)
      return InvalidField("strategy", absl::StrCat(part->name, " combines with no other; ", Combining()));
  }
  for (size_t i = 1; i < parts.size(); ++i) {
    const StrategyInfo &one = *parts[i - 1], &other = *parts[i];
    if (one.role == other.role) {
      return InvalidField("strategy", absl::StrCat(one.name, " and ", other.name,
                                                   " do the same in two ways: take one of them; ", Combining()));
    }
    if (one.role > other.role) {
      return InvalidField("strategy",
                          absl::StrCat(other.name, " comes before ", one.name, " in a composition; ", Combining()));
    }
  }
  const auto remember = std::count_if(parts.begin(), parts.end(), [](const auto* part) { return part->needs.memory; });
  if (remember <= 1) return parts;
  return InvalidField("strategy", absl::StrCat(parts.front()->name, " and ", parts.back()->name,
                                               " would both keep a memory, and a composition has one; take ewc or "
                                               "online_ewc, which keep none, or one of them alone"));
}

StrategyCost CostOfParts(const std::vector<const StrategyInfo*>& parts, const OptionValues& options,
                         const StrategySizes& sizes) {
  StrategyCost sum;
  for (const StrategyInfo* part : parts) {
    const absl::StatusOr<OptionValues> own = OptionsOfPart(*part, options);
    const StrategyCost cost = CostOf(*part, own.ok() ? *own : part->options.Defaults(), sizes);
    sum.bytes += cost.bytes;
    sum.extra_passes += cost.extra_passes;
    sum.version_bytes += cost.version_bytes;
  }
  return sum;
}

StrategyInfo Describe(const std::string& name, const std::vector<const StrategyInfo*>& parts) {
  StrategyInfo info;
  info.name = name;
  info.grows_heads = true;
  std::vector<Option> options;
  std::vector<std::string> strength;
  bool always_on = false;
  for (const StrategyInfo* part : parts) {
    info.parts.push_back(part->name);
    for (Option option : part->options.options()) {
      option.name = Prefixed(part->name, option.name);
      options.push_back(std::move(option));
    }
    for (const std::string& option : part->strength) strength.push_back(Prefixed(part->name, option));
    always_on = always_on || part->strength.empty();
    info.needs.consolidations |= part->needs.consolidations;
    info.needs.examples |= part->needs.examples;
    info.needs.teacher |= part->needs.teacher;
    info.needs.memory |= part->needs.memory;
    info.grows_heads = info.grows_heads && part->grows_heads;
  }
  info.summary = absl::StrCat(absl::StrJoin(info.parts, ", then "), ", each as it is alone");
  info.options = OptionTable(absl::StrCat("option of ", name), std::move(options));
  if (!always_on) info.strength = std::move(strength);
  info.cost = [parts](const OptionValues& values, const StrategySizes& sizes) {
    return CostOfParts(parts, values, sizes);
  };
  return info;
}

// Calls several strategies as one.
class Composition final : public train::Strategy {
 public:
  Composition(std::string name, std::vector<std::unique_ptr<train::Strategy>> parts, std::string memory_owner)
      : name_(std::move(name)), parts_(std::move(parts)), memory_owner_(std::move(memory_owner)) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    for (const auto& part : parts_) ENGRAM_RETURN_IF_ERROR(part->BeginTask(setup));
    return absl::OkStatus();
  }
  std::vector<train::QuadraticPenalty> Penalties() override {
    std::vector<train::QuadraticPenalty> all;
    for (const auto& part : parts_) {
      for (train::QuadraticPenalty& penalty : part->Penalties()) all.push_back(std::move(penalty));
    }
    return all;
  }
  absl::Status OnTargets(train::MicroBatch& batch) override {
    for (const auto& part : parts_) ENGRAM_RETURN_IF_ERROR(part->OnTargets(batch));
    return absl::OkStatus();
  }
  std::vector<nn::TaskQuery> FurtherQueries(const train::MicroBatch& batch) override {
    std::vector<nn::TaskQuery> all;
    asked_.clear();
    for (const auto& part : parts_) {
      const std::vector<nn::TaskQuery> own = part->FurtherQueries(batch);
      asked_.push_back(own.size());
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  }
  absl::StatusOr<double> FurtherGradients(const train::MicroBatch& batch, std::span<const at::Tensor> logits,
                                          const train::StepInfo& info,
                                          std::vector<nn::HeadGradient>& gradients) override {
    double loss = 0;
    size_t first = 0;
    for (size_t i = 0; i < parts_.size(); ++i) {
      if (asked_[i] == 0) continue;
      std::vector<nn::HeadGradient> own;
      ENGRAM_ASSIGN_OR_RETURN(const double added,
                              parts_[i]->FurtherGradients(batch, logits.subspan(first, asked_[i]), info, own));
      for (nn::HeadGradient& gradient : own) gradients.push_back({first + gradient.query, std::move(gradient.logits)});
      loss += added;
      first += asked_[i];
    }
    return loss;
  }
  absl::StatusOr<double> ExtraPasses(nn::Model& model, const train::MicroBatch& batch, const train::StepInfo& info,
                                     nn::GradientSink& sink) override {
    double loss = 0;
    for (const auto& part : parts_) {
      ENGRAM_ASSIGN_OR_RETURN(const double added, part->ExtraPasses(model, batch, info, sink));
      loss += added;
    }
    return loss;
  }
  absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
    for (const auto& part : parts_) ENGRAM_RETURN_IF_ERROR(part->OnGradients(view, info));
    return absl::OkStatus();
  }
  absl::StatusOr<double> AfterClipping(const train::ParameterView& view, const train::StepInfo& info,
                                       double scale) override {
    double penalty = 0;
    for (const auto& part : parts_) {
      ENGRAM_ASSIGN_OR_RETURN(const double added, part->AfterClipping(view, info, scale));
      penalty += added;
    }
    return penalty;
  }
  std::map<nn::SlotId, double> LearningRateScales(const train::StepInfo& info) override {
    std::map<nn::SlotId, double> all;
    for (const auto& part : parts_) {
      for (const auto& [slot, scale] : part->LearningRateScales(info)) {
        const auto [known, fresh] = all.emplace(slot, scale);
        if (!fresh) known->second *= scale;
      }
    }
    return all;
  }
  absl::StatusOr<bool> AfterStep(const train::ParameterView& view, const train::StepInfo& info) override {
    bool changed = false;
    for (const auto& part : parts_) {
      ENGRAM_ASSIGN_OR_RETURN(const bool own, part->AfterStep(view, info));
      changed = changed || own;
    }
    return changed;
  }
  absl::StatusOr<bool> AfterTraining(const train::TaskSetup& setup) override {
    bool changed = false;
    for (const auto& part : parts_) {
      ENGRAM_ASSIGN_OR_RETURN(const bool own, part->AfterTraining(setup));
      changed = changed || own;
    }
    return changed;
  }
  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    for (const auto& part : parts_) {
      train::VersionMemory own;
      ENGRAM_RETURN_IF_ERROR(part->EndTask(setup, own));
      if (part->name() == memory_owner_) memory = std::move(own);
    }
    return absl::OkStatus();
  }

  absl::Status SaveState(train::StrategyState& state) const override {
    for (const auto& part : parts_) {
      train::StrategyState own;
      ENGRAM_RETURN_IF_ERROR(part->SaveState(own));
      for (auto& [name, tensor] : own.tensors) state.tensors[Prefix(*part) + name] = tensor;
      for (auto& [name, value] : own.values) state.values[Prefix(*part) + name] = value;
    }
    return absl::OkStatus();
  }
  absl::Status LoadState(const train::StrategyState& state) override {
    for (const auto& part : parts_) {
      const std::string prefix = Prefix(*part);
      train::StrategyState own;
      for (const auto& [name, tensor] : state.tensors) {
        if (name.starts_with(prefix)) own.tensors[name.substr(prefix.size())] = tensor;
      }
      for (const auto& [name, value] : state.values) {
        if (name.starts_with(prefix)) own.values[name.substr(prefix.size())] = value;
      }
      ENGRAM_RETURN_IF_ERROR(part->LoadState(own));
    }
    return absl::OkStatus();
  }

 private:
  static std::string Prefix(const train::Strategy& part) { return Prefixed(std::string(part.name()), ""); }

  const std::string name_;
  const std::vector<std::unique_ptr<train::Strategy>> parts_;
  const std::string memory_owner_;
  std::vector<size_t> asked_;  // how many of the last FurtherQueries are each part's
};

}  // namespace

absl::StatusOr<const StrategyInfo*> FindComposition(const std::string& name) {
  static absl::Mutex mutex;
  static std::map<std::string, std::unique_ptr<const StrategyInfo>> known;  // only those that exist: a bounded number
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<const StrategyInfo*> parts, PartsOf(name));
  const absl::MutexLock lock(&mutex);
  std::unique_ptr<const StrategyInfo>& info = known[name];
  if (info == nullptr) info = std::make_unique<const StrategyInfo>(Describe(name, parts));
  return info.get();
}

absl::StatusOr<OptionValues> OptionsOfPart(const StrategyInfo& part, const OptionValues& values) {
  const std::string prefix = Prefixed(part.name, "");
  std::map<std::string, std::string> own;
  for (const auto& [name, value] : values.Render()) {
    if (name.starts_with(prefix)) own[name.substr(prefix.size())] = value;
  }
  return part.options.Parse(own);
}

std::unique_ptr<train::Strategy> Compose(std::string name, std::vector<std::unique_ptr<train::Strategy>> parts,
                                         const std::string& memory_owner) {
  return std::make_unique<Composition>(std::move(name), std::move(parts), memory_owner);
}

}  // namespace engram::continual
