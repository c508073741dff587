"""What protects a task: kinds of importance, the strategies' penalties, units of lambda."""
GROUPS = [
    ("core/continual", "test_continual tests/parity/test_importance.py", [
        ("importance: the exact Fisher weighs classes alike", "const at::Tensor weight = probabilities.select(1, c).sqrt();", "const at::Tensor weight = at::full({logits.size(0)}, 1.0F);"),
        ("importance: the exact Fisher is weighted with p squared", "const at::Tensor weight = probabilities.select(1, c).sqrt();", "const at::Tensor weight = probabilities.select(1, c);"),
        ("importance: a sum, not a mean over texts", "1.0F / static_cast<float>(total_)", "1.0F + 0 * static_cast<float>(total_)"),
        ("importance: sampled labels are the true ones", "label[row] = drawn;", "(void)drawn;"),
        ("importance: every text draws the same labels", "RandomPurpose::kSampledFisher, static_cast<uint64_t>(text))", "RandomPurpose::kSampledFisher, static_cast<uint64_t>(0 * text))"),
        ("importance: windows of one text are squared apart", "if (texts.empty() || !examples[i].continues)", "if (texts.empty() || true)"),
        ("importance: the batched control is not divided by its batches", "fisher_.div_(static_cast<double>(batches_));", "(void)batches_;"),
        ("importance: the first texts are chosen", "std::swap(chosen[i], chosen[i + random.NextBelow(count - i)]);", "(void)random.NextBelow(count - i);"),
        ("lambda: the units of the new task are forgotten", "lambda * static_cast<double>(training_count_a) / static_cast<double>(training_count_b);", "lambda * static_cast<double>(training_count_a) + 0.0 * static_cast<double>(training_count_b);"),
    ]),
    ("core/continual/strategies", "test_continual", [
        ("online EWC: gamma is not in the update", "precision.mul_(gamma).add_(latest.fisher, count);", "precision.add_(latest.fisher, count);"),
        ("online EWC: gamma is not in the penalty", "context.training_units) * gamma;", "context.training_units);"),
        ("online EWC: the newest task weighs once", "precision = latest.fisher.mul(count);", "precision = latest.fisher.clone();"),
        ("l2sp: the trace is not spread", "SumAndMinOf(fisher).sum / static_cast<double>(fisher.numel())", "ExtentOf(fisher).sum"),
        ("permuted EWC: not shuffled", "std::swap(f[i], f[random.NextBelow(static_cast<uint64_t>(i) + 1)]);", "(void)random.NextBelow(static_cast<uint64_t>(i) + 1);"),
    ]),
]
