"""Strategies: what they make of gradients, what they remember, what a resumed run needs."""
GROUPS = [
    ("core/continual/strategies/si.cc", "test_continual", [
        ("SI: the path has the sign turned", "previous_.sub_(now)", "previous_.sub_(now).neg_()"),
        ("SI: moves are counted from the start of the task", "previous_.copy_(now);", "previous_.copy_(start_);"),
        ("SI: a path below 0 counts", "path_.clamp_min(0)", "path_.abs()"),
        ("SI: the move is not squared", "(end - start_).square_()", "(end - start_).abs_()"),
        ("SI: twice the damping", ".add_(xi_)", ".add_(2 * xi_)"),
        ("SI: Omega of the last task alone", "if (omega_.defined()) omega.add_(omega_);", ""),
        ("SI: half the strength", "/*strength=*/2 * c_", "/*strength=*/c_"),
        ("SI: the anchor is where the task began", '"anchor", end, memory', '"anchor", start_, memory'),
        ("SI: the path begins anew on resume", 'ENGRAM_ASSIGN_OR_RETURN(path_, state.Tensor("path", path_));', "(void)state;"),
        ("SI: the first move after a resume is that since the start", 'state.Tensor("path", path_)); previous_ = EncoderWeights(*model_);', 'state.Tensor("path", path_));'),
    ]),
    ("core/continual/union_replay.cc", "test_continual", [
        ("ER: a sum in place of the mean over the union", "1 + info.unit_weight * static_cast<double>(replayed_units_)", "1 + 0 * info.unit_weight * static_cast<double>(replayed_units_)"),
        ("ER: replayed units of the last micro-batch alone", "replayed_units_ += loss.units;", "replayed_units_ = loss.units;"),
        ("ER: replayed units of all steps", "replayed_units_ = 0; return", "return"),
        ("ER: the heads of replayed tasks stay", "memory_.TrainHeads(setup);", ""),
        ("ER: one draw for all steps", "batch_, seed(), info.micro_batch);", "batch_, seed(), 0 * info.micro_batch);"),
    ]),
    ("core/continual/strategies/agem.cc", "test_continual", [
        ("A-GEM: projects every step", "if (!(along < 0) || square == 0)", "if (square == 0)"),
        ("A-GEM: never projects", "if (!(along < 0) || square == 0)", "if (along < 1e300)"),
        ("A-GEM: along r, not away from it", "-along / square", "along / square"),
        ("A-GEM: not divided by r.r", "-along / square", "-along"),
        ("A-GEM: the references of all steps add up", "reference_->Zero();", ""),
        ("A-GEM: one draw for all steps", "batch_, seed_, info.step);", "batch_, seed_, 0 * info.step);"),
    ]),
    ("core/train/replay.cc", "test_train", [
        ("replay: every head learns every example", "own ? example.label : nn::ops::kIgnored", "example.label"),
        ("replay: one draw for all steps", "RandomPurpose::kReplay, step);", "RandomPurpose::kReplay, 0 * step);"),
        ("replay: without dropout", "model.Predict(batch, queries, mode, tape.get());", "model.Predict(batch, queries, std::nullopt, tape.get()); (void)mode;"),
        ("replay: the masks of the training step", "kReplayStep + static_cast<uint64_t>(step)", "0 * kReplayStep + static_cast<uint64_t>(step)"),
        ("replay: the weight is left out", "chosen, logits.device()), weight);", "chosen, logits.device()), weight > 0 ? 1.0 : weight);"),
        ("replay: one example more than the share", "kept[stored.task]++ < share", "kept[stored.task]++ <= share"),
        ("replay: a task learned again is held twice", "static_cast<size_t>(known_share)", "static_cast<size_t>(share)"),
        ("replay: old labels have the whole share of a task that grows", "std::llround(known * static_cast<double>(share))", "std::llround(static_cast<double>(known > 0 ? share : 0))"),
        ("replay: the first examples are kept", "std::swap(numbers[i], numbers[i + static_cast<int64_t>(random.NextBelow(static_cast<uint64_t>(all - i)))]);", "random.NextUint32();"),
    ]),
    ("core/train/example_memory.cc", "test_train", [
        ("memory: what is held of a task that grows is not replayed", "if (!setup.grows()) std::erase_if(held_,", "std::erase_if(held_,"),
        ("memory: a task that grows is counted anew", "if (!setup.grows()) seen_.erase(setup.task);", "seen_.erase(setup.task);"),
    ]),
    ("core/continual/strategies/lwf.cc", "test_continual", [
        ("LwF: a task that grows is not held", "if (own && (!setup.grows() ||", "if (own && (true ||"),
        ("LwF: the new labels are held, too", "own ? setup.known_labels : head.labels", "head.labels"),
    ]),
    ("core/continual/strategies/maml.cc", "test_continual", [
        ("MAML: the query is asked before the step", "Move(start, view.gradients, -inner_rate_);", "Move(start, view.gradients, 0);"),
        ("MAML: the step climbs", "Move(start, view.gradients, -inner_rate_);", "Move(start, view.gradients, inner_rate_);"),
        ("MAML: curvature with the sign turned", "-sign * inner_rate_ / (2 * length)", "sign * inner_rate_ / (2 * length)"),
        ("MAML: a one-sided difference's factor", "-sign * inner_rate_ / (2 * length)", "-sign * inner_rate_ / length"),
        ("MAML: curvature of the last micro-batch alone", "for (const SupportBatch& support : support_batches_)", "for (const SupportBatch& support : std::span(support_batches_).last(1))"),
        ("MAML: the batches of all steps", "support_batches_.clear();", ""),
    ]),
    ("core/continual/penalty_strategy.cc", "test_continual", [
        ("EWC: around the latest anchor the last task alone", "precision.defined() ? precision.add_(own, count) : own.mul(count)", "own.mul(count)"),
        ("EWC: around the latest anchor texts do not count", "precision.defined() ? precision.add_(own, count) : own.mul(count)", "precision.defined() ? precision.add_(own) : own.clone()"),
        ("EWC: one quadratic costs as many as there are tasks", "options.Text(kCentre) == kOwn ? sizes.consolidations : 1", "sizes.consolidations"),
    ]),
    ("core/continual/importance.cc", "test_continual", [
        ("importance: every answer is right", "if (answer[row] == label[row]) ++right_;", "++right_;"),
        ("importance: words of which nothing is known are counted", "if (label[row] == nn::ops::kIgnored) continue; ++of_label_", "++of_label_"),
        ("importance: the rarest label in place of the most frequent", "std::max(importance.most_frequent, count)", "std::min(importance.most_frequent == 0 ? count : importance.most_frequent, count)"),
    ]),
    ("core/train/penalty_share.cc", "test_train", [
        ("weak penalty: norms of the penalties are added one by one", "sum.narrow(0, from - begin, to - from) .addcmul_(", "sum.zero_().narrow(0, from - begin, to - from) .addcmul_("),
        ("weak penalty: the strength is left out", "away, penalty.strength);", "away);"),
        ("weak penalty: the last step is not looked at", "(step + 1) * kLooks / total != step * kLooks / total", "step * kLooks / total != (step - 1) * kLooks / total"),
    ]),
    ("core/train/trainer.cc", "test_train", [
        ("weak penalty: of the gradient before clipping", "MeasurePenalties(norm * scale, added);", "MeasurePenalties(norm, added);"),
        ("weak penalty: of the last step alone", "std::max(state_.penalty_share, norm / task_norm)", "norm / task_norm"),
    ]),
    ("server/worker/strength_search.cc", "test_worker", [
        ("search: the new task does not count", "if (point.new_score() < best - sweep.tolerance() - kSameScore) continue;", ""),
        ("search: no tolerance", "best - sweep.tolerance() - kSameScore", "best - kSameScore"),
        ("search: the variance in place of the standard error", "std::sqrt(best * (1 - best) / static_cast<double>(new_texts))", "best * (1 - best) / static_cast<double>(new_texts)"),
        ("search: less than a point", "std::max(kLeastTolerance, std::sqrt", "std::max(0 * kLeastTolerance, std::sqrt"),
        ("search: of equal ones the strongest", "point.earlier_score() > chosen->earlier_score() + kSameScore", "point.earlier_score() > chosen->earlier_score() - kSameScore"),
        ("search: the test part is looked at", "dataset.clear_test_path(); ENGRAM_ASSIGN_OR_RETURN(const std::string digest", "ENGRAM_ASSIGN_OR_RETURN(const std::string digest"),
        ("search: the last strength is trained", "SetStrength(search.option(), sweep.chosen(), last);", "SetStrength(search.option(), search.values(search.values_size() - 1), last);"),
    ]),
    ("server/worker/guard_rails.cc", "test_worker", [
        ("untrained task: as good as the majority is good enough", "importance.right > importance.most_frequent)", "importance.right >= importance.most_frequent)"),
    ]),
    ("core/nn/grow_head.cc", "test_continual", [
        ("a head that grows begins anew", "narrow(0, 0, known.size(0)).copy_(known);", "narrow(0, 0, known.size(0));"),
    ]),
    ("core/nn/model.cc", "test_nn", [
        ("model: the last head's gradient alone reaches the encoder", "hidden.defined() ? hidden.add_(share) : std::move(share);", "std::move(share);"),
        ("model: a copy shares the weights of heads", "copy->chains_.emplace(task, chain).first->second.Rebind(copy->parameters_.get());", "copy->chains_.emplace(task, chain);"),
    ]),
    ("core/train/strategy.cc", "test_train", [
        ("strategy: the teacher learns along", "frozen_ = model.Clone();", "frozen_ = std::shared_ptr<const nn::Model>(&model, [](const nn::Model*) {});"),
    ]),
    ("core/train/fingerprint.cc", "test_train", [
        ("fingerprint: the strategy's options do not count", 'absl::StrAppend(&text, "strategy.", name, "=", value, "\\n");', "(void)name, (void)value;"),
    ]),
]
