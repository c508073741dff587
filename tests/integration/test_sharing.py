"""What clients share: memory of uploads, disk of versions, the server's time."""
import threading

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from conftest import error_info, few_classes, messages
from small_models import make

ROWS = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'


def retry_seconds(error: grpc.RpcError) -> float:
    status, retry = status_pb2.Status(), error_details_pb2.RetryInfo()
    status.ParseFromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    for detail in status.details:
        if detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            return retry.retry_delay.seconds + retry.retry_delay.nanos * 1e-9
    return 0


def upload(name: str, pieces, hold=None):
    m = messages()
    yield m.UploadDatasetRequest(header=m.UploadHeader(dataset=name, training_file="rows.jsonl"))
    for piece in pieces:
        yield m.UploadDatasetRequest(training=piece)
    if hold:
        hold.wait()
    yield m.UploadDatasetRequest(end=True)


def test_what_uploads_hold_together_is_bounded(new_server):
    """Two uploads that each fit and together do not: one is refused, whichever comes second, and the other one goes on."""
    server = new_server({"max_uploads_mb": 1})
    send = server.stub("DatasetService").UploadDataset
    hold, refused = threading.Event(), threading.Event()
    calls = [send.future(upload(f"held{i}", [ROWS * 11_000], hold)) for i in range(2)]  # 0.6 MB each
    for call in calls:
        call.add_done_callback(lambda _: refused.set())
    assert refused.wait(20)
    [error] = [call.exception() for call in calls if call.done()]
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and error_info(error)[0].reason == "UPLOADS_FULL"
    assert "max_uploads_mb" in error.details() and retry_seconds(error) == 5
    hold.set()
    assert sorted(call.exception() is None for call in calls) == [False, True]
    assert send(upload("other", [ROWS * 11_000])).training_rows == 22_000


def test_an_upload_comes_in_small_chunks_and_its_labels_are_labels(shared_server):
    send = shared_server.stub("DatasetService").UploadDataset
    with pytest.raises(grpc.RpcError) as caught:
        send(upload("large-chunk", [ROWS * 60_000]))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "2 MiB" in caught.value.details()
    row = '{"text": "a", "label": "%s"}\n{"text": "b", "label": "y"}\n'
    assert send(upload("label-128", [(row % ("é" * 64)).encode()])).training_rows == 2
    with pytest.raises(grpc.RpcError) as caught:
        send(upload("label-129", [(row % ("é" * 64 + "x")).encode()]))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "a label of 129 bytes" in caught.value.details()
    shared_server.engram("datasets", "delete", "label-128", "--yes")


def test_a_list_of_large_data_sets_comes_in_small_pages(new_server):
    server = new_server()
    labels = b"".join(b'{"text": "%d", "label": "%s"}\n' % (i, b"%d" % i * 24) for i in range(9000))
    send = server.stub("DatasetService").UploadDataset
    for i in range(6):
        send(upload(f"d{i}", [labels[i:] if i == 0 else labels + ROWS[:28] * i]))
    m, listed, pages = messages(), [], 0
    request = m.ListDatasetsRequest(page_size=1000)
    while True:
        page = server.stub("DatasetService").ListDatasets(request)
        assert page.ByteSize() < 4 << 20  # what clients take by default
        listed += [d.name for d in page.datasets]
        pages += 1
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert sorted(listed) == [f"datasets/d{i}" for i in range(6)] and pages > 1


def test_versions_share_equal_files_and_old_ones_go(new_server, tmp_path):
    server = new_server()
    server.engram("models", "import", "small", make("bert", "Model", tmp_path / "model", mean_pooled=True))
    train = few_classes("banking77.train.jsonl.gz", 2, 4, tmp_path / "train.jsonl")
    server.engram("datasets", "upload", "rows", train)
    for _ in range(2):
        server.engram("start-task", "small", "topics", "--dataset", "rows", "--strategy", "naive", "--epochs", "1", "--wait")
    versions = server.folder / "data" / "models" / "small" / "versions"
    names = lambda number, file: (versions / str(number) / file).stat().st_nlink
    # The tokenizer's files are those of the version before; what says which version it is, is not.
    assert [names(n, "vocab.txt") for n in (1, 2, 3)] == [3, 3, 3] and [names(n, "engram.json") for n in (1, 2, 3)] == [1, 1, 1]
    listed = server.json("status", "--disk")
    assert [(one["model"], one["versions"]) for one in listed] == [("models/small", 3)]
    assert "small" in server.engram("status", "--disk").stdout

    server.engram("models", "promote", "small", "1")
    planned = server.json("models", "gc", "small", "--keep", "1", "--dry-run")
    assert [v["version"].split("/")[-1] for v in planned["versions"]] == ["2"] and planned["dry_run"]
    assert server.engram("models", "gc", "small", "--keep", "1", check=False).returncode != 0  # nobody to ask
    assert (versions / "2").exists()
    assert "deleted models/small/versions/2" in server.engram("models", "gc", "--keep", "1", "--yes").stdout
    assert not (versions / "2").exists() and names(3, "vocab.txt") == 2
    # Digests are checked when a version is loaded.
    assert server.json("classify", "small@3", "Where is my card?")
    assert server.json("models", "gc", "--keep", "1", "--yes")["versions"] == []
