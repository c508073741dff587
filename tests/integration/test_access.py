"""Who is let in: TLS, client certificates and tokens for the API and the admin address, taken anew when their files change; who changed what."""
import json
import pathlib
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import grpc
import pytest
from conftest import Server

TOKEN = "3f0c5b1e9a7d48623f0c5b1e9a7d4862"


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def authority(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A certificate that signs others: <name>.pem, <name>.key."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2, "-subj", f"/CN={name}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
    return folder / f"{name}.pem"


def signed(folder: pathlib.Path, name: str, by: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate for 127.0.0.1 whose subject is `name`, signed by an authority, and its key."""
    key, request, certificate, extensions = (folder / f"{name}.{end}" for end in ("key", "csr", "pem", "ext"))
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}", "-keyout", key,
            "-out", request)
    extensions.write_text("subjectAltName=IP:127.0.0.1\n" if name.startswith("server") else "basicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", request, "-CA", folder / f"{by}.pem", "-CAkey", folder / f"{by}.key", "-CAcreateserial", "-days", 2,
            "-extfile", extensions, "-out", certificate)
    return certificate, key


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("first", "second", "clients"):
        authority(folder, name)
    signed(folder, "server-1", "first")
    signed(folder, "server-2", "second")
    signed(folder, "alice", "clients")
    signed(folder, "mallory", "first")
    (folder / "token").write_text(TOKEN + "\n")
    return folder


def replace(target: pathlib.Path, source: pathlib.Path) -> None:
    """As one deploys: never half a file."""
    part = target.with_suffix(".part")
    part.write_bytes(source.read_bytes())
    part.rename(target)


def get(server: Server, path: str, ca: pathlib.Path, token: str = "", certificate=None) -> tuple[int, str]:
    trusted = ssl.create_default_context(cafile=str(ca))
    if certificate:
        trusted.load_cert_chain(*map(str, certificate))
    request = urllib.request.Request(f"https://{server.admin}{path}", headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, context=trusted, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def eventually(check, seconds: float = 20):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "nothing changed"


def test_tls_and_tokens_are_wanted_and_taken_anew_when_their_files_change(new_server, files, tmp_path):
    certificate, key, tokens = tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "tokens"
    replace(certificate, files / "server-1.pem")
    replace(key, files / "server-1.key")
    tokens.write_text(f"# who may\nalice {TOKEN}\n")
    server = new_server({"tls_certificate": str(certificate), "tls_key": str(key), "token_file": str(tokens)})
    first, second = ("--ca", files / "first.pem"), ("--ca", files / "second.pem")
    token = ("--token-file", files / "token")

    assert "serves" in server.engram(*first, *token, "status").stdout
    assert "serves" in server.engram(*first, "--token-file", tokens, "status").stdout  # engramd's own file is read, too
    refused = server.engram(*first, "status", check=False)
    assert refused.returncode == 1 and "[UNAUTHENTICATED]" in refused.stderr
    assert "strategies are listed here" not in server.engram(*first, *token, "start-task", "--help").stdout
    for way in ((), second):  # no TLS; an authority that did not sign
        assert server.engram(*way, *token, "status", check=False).returncode == 3
    assert get(server, "/healthz", files / "first.pem")[0] == 200
    assert get(server, "/metrics", files / "first.pem")[0] == 401
    assert "UNAUTHENTICATED" in get(server, "/metrics", files / "first.pem", TOKEN)[1]
    with pytest.raises(urllib.error.URLError):
        get(server, "/healthz", files / "second.pem")

    # Another key without its certificate is not taken; with it, it is.
    replace(key, files / "server-2.key")
    assert get(server, "/healthz", files / "first.pem")[0] == 200
    replace(certificate, files / "server-2.pem")
    assert get(server, "/healthz", files / "second.pem")[0] == 200
    eventually(lambda: server.engram(*second, *token, "status", check=False).returncode == 0)
    other = tmp_path / "other"
    other.write_text(f"bob {TOKEN[::-1]}\n")
    replace(tokens, other)
    eventually(lambda: server.engram(*second, *token, "status", check=False).returncode == 1)
    assert "serves" in server.engram(*second, "--token-file", other, "status").stdout

    server.engram(*second, "--token-file", other, "models", "delete", "nothing@1", "--yes", check=False)
    server.stop()
    lines = [json.loads(line) for line in (server.folder / "engramd.log").read_text().splitlines() if '"change"' in line]
    assert [(l["method"], l["principal"], l["request"], l["code"]) for l in lines] == [("DeleteVersion", "bob", "name=models/nothing/versions/1", "NOT_FOUND")]
    assert TOKEN not in (server.folder / "engramd.log").read_text()


def test_client_certificates_say_who_calls(new_server, files):
    server = new_server({"tls_certificate": str(files / "server-1.pem"), "tls_key": str(files / "server-1.key"),
                         "tls_client_ca": str(files / "clients.pem")})
    own = ("--ca", files / "first.pem")
    alice = ("--certificate", files / "alice.pem", "--key", files / "alice.key")
    mallory = ("--certificate", files / "mallory.pem", "--key", files / "mallory.key")
    assert "serves" in server.engram(*own, *alice, "status").stdout
    for shown in ((), mallory):
        assert server.engram(*own, *shown, "status", check=False).returncode == 3
    assert get(server, "/metrics", files / "first.pem", certificate=(files / "alice.pem", files / "alice.key"))[0] == 200
    for shown in (None, (files / "mallory.pem", files / "mallory.key")):
        with pytest.raises((urllib.error.URLError, OSError)):
            get(server, "/metrics", files / "first.pem", certificate=shown)
    server.engram(*own, *alice, "models", "delete", "nothing@1", "--yes", check=False)
    server.stop()
    lines = [json.loads(line) for line in (server.folder / "engramd.log").read_text().splitlines() if '"change"' in line]
    assert [(l["method"], l["principal"]) for l in lines] == [("DeleteVersion", "alice")]


@pytest.mark.parametrize("config, field", [
    ({"tls_certificate": "server-1.pem", "tls_key": "server-2.key"}, "tls_key: is the key of another certificate"),
    ({"tls_certificate": "server-1.key", "tls_key": "server-1.key"}, "tls_certificate: names a file that is no certificate"),
    ({"tls_certificate": "server-1.pem", "tls_key": "missing"}, "tls_key: names a file that cannot be read"),
    ({"tls_certificate": "server-1.pem", "tls_key": "server-1.key", "tls_client_ca": "token"}, "tls_client_ca: names a file that has no"),
    ({"token_file": "server-1.key"}, "token_file: line 1 is no name and token"),
])
def test_files_that_cannot_be_used_end_the_start_by_name(tmp_path, files, config, field):
    server = Server(tmp_path, {key: str(files / name) for key, name in config.items()})
    with pytest.raises(AssertionError):
        server.start()
    assert server.process.wait(timeout=20) == 1
    assert field in (tmp_path / "engramd.log").read_text()


def test_a_token_is_not_sent_where_it_can_be_read(files):
    from conftest import BUILD
    answer = subprocess.run([BUILD / "bin" / "engram", "--address", "192.0.2.1:7860", "--token-file", files / "token", "status"],
                            capture_output=True, text=True, timeout=20)
    assert answer.returncode == 2 and "--ca" in answer.stderr
