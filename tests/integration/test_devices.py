"""What a configuration says of devices: `auto` is the default and takes what is there, and what is not there ends the start by name."""
import subprocess
import urllib.request

import pytest

from conftest import BUILD


@pytest.mark.parametrize(("config", "said"), [
    ("devices: ['cuda:77']\n", ["devices", "there is no device cuda:77: "]),
    ("inference_device: cuda:77\n", ["inference_device", "there is no device cuda:77: "]),
    ("devices: [gpu]\n", ["devices", "cuda:N"]),
    ("devices: [auto, cpu]\n", ["devices", "auto"]),
])
def test_devices_that_cannot_be_taken_end_the_start_by_name(tmp_path, config, said):
    path = tmp_path / "engramd.yaml"
    path.write_text(f"data_dir: {tmp_path}/data\ngrpc_address: 127.0.0.1:0\nadmin_address: 127.0.0.1:0\n{config}")
    answer = subprocess.run([BUILD / "bin" / "engramd", "--config", path], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 1
    for word in said:
        assert word in answer.stderr, answer.stderr
    assert not (tmp_path / "data" / "engram.db").exists(), "nothing was begun"


def test_the_status_page_says_where_things_are_computed(shared_server):
    page = urllib.request.urlopen(f"http://{shared_server.admin}/", timeout=10).read().decode()
    devices = page[page.index("\ndevices\n"):].split("\n")
    jobs, inference = devices[2].split(), devices[3].split()
    assert jobs[0] == "jobs" and inference[0] == "inference"
    assert "auto" not in page
    cuda = any(name.startswith("cuda:") for name in jobs[1:])
    assert inference[1].startswith("cuda:0") if cuda else (jobs[1:] == ["cpu"] and inference[1:] == ["cpu"])
