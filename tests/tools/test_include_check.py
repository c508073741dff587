"""scripts/include_check.py on small trees: each rule is broken once and named once; this checkout breaks none."""
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLEAN = {
    "cmake/EngramLayer.cmake": "set(ENGRAM_LAYER_ORDER base nn serve)\nset(ENGRAM_ROOM_ORDER rpc jobs)\n",
    "core/base/CMakeLists.txt": "engram_layer(base DEPS absl::status)\n",
    "core/nn/CMakeLists.txt": "engram_layer(nn DEPS engram_base)\n",
    "core/serve/CMakeLists.txt": "engram_layer(serve DEPS\n  engram_nn)\n",
    "core/base/status.h": "#include <string>\n",
    "core/nn/model.h": '#include "core/base/status.h"\n',
    "core/serve/engine.h": '#include "core/base/status.h"\n#include "core/nn/model.h"\n',  # base through nn
    "server/config.h": '#include "core/base/status.h"\n',
    "server/main.h": '#include "server/jobs/jobs.h"\n',
    "server/rpc/calls.h": '#include "server/config.h"\n#include "core/serve/engine.h"\n#include "engram/v1/job.pb.h"\n',
    "server/jobs/jobs.h": '#include "server/rpc/calls.h"\n',
    "client/main.cc": '#include "engram/v1/job.pb.h"\n',
}


def check(root: pathlib.Path, changes: dict[str, str]) -> tuple[int, list[str]]:
    for name, text in {**CLEAN, **changes}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    answer = subprocess.run([sys.executable, ROOT / "scripts/include_check.py", root], capture_output=True, text=True)
    assert answer.stderr == ""
    return answer.returncode, answer.stdout.splitlines()


def test_a_tree_in_order_passes(tmp_path):
    assert check(tmp_path, {})[0] == 0


@pytest.mark.parametrize("changes, finding", [
    ({"core/base/status.cc": '\n#include "core/nn/model.h"\n'}, "core/base/status.cc:2: core/base lies below core/nn"),
    ({"core/base/deep/er.h": '#  include <core/serve/engine.h>\n'}, "core/base/deep/er.h:1: core/base lies below core/serve"),
    ({"core/base/status.cc": '#include "core/unknown/x.h"\n'}, "core/base/status.cc:1: core/base lies below core/unknown"),
    ({"core/serve/CMakeLists.txt": "engram_layer(serve DEPS engram_base)\n"}, "core/serve/engine.h:2: core/serve does not link to core/nn"),
    ({"core/serve/engine.h": '#include "core/base/status.h"\n'}, "core/serve/CMakeLists.txt:1: links to core/nn, which no file"),
    ({"core/nn/model.cc": '#include "server/config.h"\n'}, "core/nn/model.cc:1: core/ must not include server/config.h"),
    ({"core/nn/model.cc": '#include "engram/v1/job.pb.h"\n'}, "core/nn/model.cc:1: core/ must not include engram/v1/job.pb.h"),
    ({"core/nn/model.cc": '#include "tests/unit/tiny_model.h"\n'}, "core/nn/model.cc:1: core/ must not include tests/"),
    ({"server/rpc/calls.cc": '#include "server/jobs/jobs.h"\n'}, "server/rpc/calls.cc:1: server/rpc lies below server/jobs"),
    ({"server/rpc/calls.cc": '#include "server/main.h"\n'}, "server/rpc/calls.cc:1: server/main.h stands above server/rpc"),
    ({"server/attic/x.h": ""}, "server/attic:1: has no place"),
    ({"core/attic/x.cc": ""}, "core/attic:1: has no place"),
    ({"client/main.cc": '#include "core/base/status.h"\n'}, "client/main.cc:1: client/ must not include core/base/status.h"),
    ({"client/main.cc": '#include "server/config.h"\n'}, "client/main.cc:1: client/ must not include server/config.h"),
])
def test_each_rule_broken_once_is_named_once(tmp_path, changes, finding):
    code, lines = check(tmp_path, changes)
    assert code == 1
    assert len(lines) == 1 and lines[0].startswith(finding), lines


def test_this_checkout_is_in_order():
    answer = subprocess.run([sys.executable, ROOT / "scripts/include_check.py"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout
