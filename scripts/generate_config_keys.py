"""Writes core/checkpoint/config_keys.inc: the keys of config.json that some model of transformers reads, asked of the PyPI wheel itself. A key
that Engram does not know is refused if it is among them, for it may change what an encoder computes; no model reads the others.

    generate_config_keys.py > core/checkpoint/config_keys.inc
"""
import dataclasses
import inspect

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING


def keys_of(config: type) -> set[str]:
    keys = {name for name, parameter in inspect.signature(config.__init__).parameters.items()
            if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)}
    if dataclasses.is_dataclass(config):
        keys |= {field.name for field in dataclasses.fields(config)}
    return keys | set(getattr(config, "attribute_map", None) or {})


def main():
    keys = set()
    for model_type in CONFIG_MAPPING.keys():
        for config in inspect.getmro(CONFIG_MAPPING[model_type]):
            if issubclass(config, transformers.PreTrainedConfig):
                keys |= keys_of(config)
    print(f"// Made by scripts/generate_config_keys.py from transformers {transformers.__version__}; do not edit.")
    line = "   "
    for key in sorted(keys):
        if len(line) + len(key) + 4 > 120:
            print(line)
            line = "   "
        line += f' "{key}",'
    print(line)


if __name__ == "__main__":
    main()
