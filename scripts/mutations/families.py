"""Families of encoders, and examples made from rows."""
GROUPS = [
    ("core/checkpoint/families/bert.cc", "test_checkpoint", [
        ("bert: the masked LM's norm has another name", '.norm = "cls.predictions.transform.LayerNorm"', '.norm = "cls.predictions.transform.layer_norm"'),
    ]),
    ("core/checkpoint/families/roberta.cc", "test_checkpoint test_nn", [
        ("xlm-roberta: saved under roberta's classes", 'spec.class_stems = {"XLMRoberta", "Roberta"};', 'spec.class_stems = {"Roberta", "XLMRoberta"};'),
        ("roberta: positions from 0", ".positions_after_padding = true,", ".positions_after_padding = false,"),
        ("roberta: pads with 0", ".default_pad_token_id = 1,", ".default_pad_token_id = 0,"),
    ]),
    ("core/checkpoint/families/distilbert.cc", "test_checkpoint", [
        ("distilbert: key and value change places", '.key = "attention.k_lin", .value = "attention.v_lin",', '.key = "attention.v_lin", .value = "attention.k_lin",'),
    ]),
    ("core/checkpoint/families/distilbert.cc", "tests/parity/test_names.py", [
        ("distilbert: taggers do not drop out", ".token = {.before_output = DropoutSource::kHidden,", ".token = {.before_output = DropoutSource::kNone,"),
        ("distilbert: taggers drop out as classifiers do", ".token = {.before_output = DropoutSource::kHidden,", ".token = {.before_output = DropoutSource::kClassifier,"),
    ]),
    ("core/checkpoint/families/distilbert.cc", "tests/parity/test_model.py", [
        ("distilbert: the classifier's dense layer is a tanh", '.activation = "relu",', '.activation = "tanh",'),
    ]),
    ("core/checkpoint/families/nomic_bert.cc", "tests/parity/test_model.py", [
        ("nomic: the other half of the feed-forward gates", '.intermediate = "mlp.fc11",', '.intermediate = "mlp.fc12",'),
        ("nomic: llama's base of rotations", ".rope = {.base = 1000},", ".rope = {.base = 10'000},"),
    ]),
    ("core/nn/layers/relative_positions.cc", "tests/parity/test_model.py", [
        ("distances: before and behind change places", "(n < 0).to(at::kLong) * kEach", "(n > 0).to(at::kLong) * kEach"),
        ("distances: a sort fewer is exact", "kExact = kEach / 2;", "kExact = kEach / 2 - 1;"),
    ]),
    ("core/nn/ops/attention/attention_reference.cc", "tests/parity/test_model.py", [
        ("distances: their gradient is that of unscaled scores", "of_scores.flatten(2)", "ds.flatten(2)"),
    ]),
    ("core/longcontext/attention_runs.cc", "test_longcontext", [
        ("distances: far keys are not raised", "results.back().logsumexp = results.back().logsumexp + part.raise;", "results.back().logsumexp = results.back().logsumexp + 0 * part.raise;"),
    ]),
    ("core/nn/model_io.cc", "test_nn", [
        ("a pooler that no head stands on is kept", "config.family->sequence.on_pooler && (file_pooler", "config.family->names.pooler && (file_pooler"),
        ("a pooler that is needed is not drawn", "InitializeSlots({encoder_slots.end() - 2, encoder_slots.end()}, config.initializer_range, 0, parameters);", ""),
        ("half a pooler is none", "if (found == 1) return InvalidField(", "if (found == 3) return InvalidField("),
    ]),
    ("core/nn/encoder_cost.cc", "test_nn", [
        ("cost: a head on the pooler has it for nothing", "if (!sizes.family->Head(kind, pooling).on_pooler) return parameters;", "return parameters;"),
        ("cost: copies of what is tied are counted", "if (tensor.required) parameters += Elements(tensor);", "parameters += Elements(tensor);"),
    ]),
    ("core/examples/examples.cc", "test_examples", [
        ("examples: each window is a text of its own", "out.places.windows.back().sentence == sentence;", "out.places.windows.back().sentence != sentence;"),
        ("examples: a cut text is not counted", "out.cut += !whole && example.whole[0] != 0 ? 1 : 0;", ""),
        ("examples: a cut text has no digest", "ENGRAM_ASSIGN_OR_RETURN(example.whole[0], Digest(dataset.texts[i], tokenizer));", ""),
        ("examples: the only window of a sentence counts as cut", "windows.windows.size() > 1 || windows.word_cut ?", "true ?"),
        ("examples: pieces of plain text overlap", "begin += static_cast<size_t>(budget)) {", "begin += static_cast<size_t>(budget - 1)) {"),
        ("examples: no token is left out of the loss", "example.tags.assign(window.ids.size(), nn::ops::kIgnored);", "example.tags.assign(window.ids.size(), 0);"),
    ]),
    ("core/examples/word_windows.cc", "test_examples", [
        ("word windows: a word is judged by its last token", "const bool first_token = word >= 0 && word != previous;", "const bool first_token = word >= 0 && word == previous;"),
        ("word windows: each window owns all its words", "in_text < plan.first_owned || in_text >= plan.end_owned", "false"),
        ("word windows: special tokens take no room", "max_length - tokenizer.frame().size()", "max_length - 0 * tokenizer.frame().size()"),
        ("word windows: a dropped word could be anything", "constexpr float kCertain = 30;", "constexpr float kCertain = 0;"),
    ]),
    ("core/examples/entity_f1.cc", "test_examples", [
        ("entity F1: windows are scored by themselves", "sentences[window.sentence].Take(window.rows, logits[i]", "sentences[window.sentence].Take(i == 0 ? window.rows : WordRows(), logits[i]"),
    ]),
]
