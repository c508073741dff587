"""Words out of tokens, sentences, folds, class weights, further types of a tagger."""
GROUPS = [
    ("core/tagging/aggregation.cc", "test_tagging", [
        ("aggregation: the surest token is the least sure one", "if (top > highest) highest = top, surest = n;", "if (n == 0 || top < highest) highest = top, surest = n;"),
        ("aggregation: the mean is not taken", "std::log(sums[k] / static_cast<double>(count))", "std::log(sums[k] / static_cast<double>(1 + 0 * count) / (k + 1.0))"),
        ("aggregation: the mean of logits instead of probabilities", "sums[k] += std::exp(logits[k] - high) / total;", "sums[k] += std::exp(logits[k] - high);"),
    ]),
    ("core/tagging/sentences.cc", "test_tagging", [
        ("sentences: one may end inside of an entity", "entity->first_word < i;", "entity->first_word < i && false;"),
        ("sentences: abbreviations end them", "std::unique_ptr<icu::BreakIterator> made(builder->wrapIteratorWithFilter(plain.release(), status));",
         "std::unique_ptr<icu::BreakIterator> made(plain.release());"),
    ]),
    ("core/corpus/folds.cc", "test_corpus", [
        ("folds: labels are dealt as they come", "sum += held[fold][label] * count / (totals[label] * totals[label]);",
         "sum += label > 0 ? 0 : held[fold][label] * count / (totals[label] * totals[label]);"),
        ("folds: a rare label counts as a frequent one does", "/ (totals[label] * totals[label]);", "/ (totals[0] * totals[0]);"),
        ("folds: rows of one text are parted", "groups.push_back(numbers.emplace(TextKey(dataset, row), next).first->second);",
         "groups.push_back(numbers.emplace(TextKey(dataset, row) + std::to_string(row), next).first->second);"),
        ("folds: the seed is not looked at", "RandomStream random(seed, RandomPurpose::kFolds, step);", "RandomStream random(0 * seed, RandomPurpose::kFolds, step);"),
        ("folds: terms are held out by their spelling", "own.insert(FoldCase(words));", "own.insert(words);"),
        ("folds: development rows are trained on, too", "(part[i] == parts - 1 ? fold.development : training).push_back(fold.training[i]);",
         "(part[i] == parts - 1 ? fold.development : training).push_back(fold.training[i]), training.push_back(fold.training[i]);"),
    ]),
    ("server/worker/fold_summary.cc", "test_worker", [
        ("folds: the deviation is that of a population", "squares / static_cast<double>(values.size() - 1)", "squares / static_cast<double>(values.size())"),
        ("folds: a label counts where it does not occur", "if (label.support() == 0) continue;", ""),
        ("folds: the median of an even number is the lower one", "(values[half - 1] + values[half] + 1) / 2", "values[half - 1]"),
    ]),
    ("core/train/micro_batch.cc", "test_train", [
        ("class weights: the number of classes is left out", "units / (present * static_cast<double>(counts[c]))", "units / (1 + 0 * present) / static_cast<double>(counts[c])"),
        ("class weights: frequent classes weigh more", "units / (present * static_cast<double>(counts[c]))", "present * static_cast<double>(counts[c]) / units"),
    ]),
    ("core/continual/strategies/extend_ner.cc", "test_continual", [
        ("extend_ner: no factor T squared", "mul_(weight * temperature)", "mul_(weight / temperature)"),
        ("extend_ner: words that the data tags are distilled, too", "silent_ = batch.targets.eq(outside_);", "silent_ = batch.targets.ge(outside_);"),
        ("extend_ner: the teacher has the new tags", ".narrow(1, 0, known_);", ".narrow(1, 0, known_).mul(0.5);"),
        ("extend_ner: an unsure answer is taken", "at::where(highest.ge(confidence_), tag,", "at::where(highest.ge(0 * confidence_), tag,"),
    ]),
]
