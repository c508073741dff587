"""From pages to annotated texts through a real server: collections from a local web server and from files, and terms found in them."""
import calendar
import collections
import hashlib
import http.server
import json
import re
import threading
import time

import grpc
import pytest

from conftest import DATA, Server, error_info, messages

PAGES = DATA / "demo_pages"
SENTENCES = " ".join(f"This is sentence {n} of an article, which says something, and goes on for a while." for n in range(12))
PLAIN = "First piece.\r\nStill the first.\r\n\r\nSecond piece: TensorFlow, by Google.\r\n"


def article(title: str, text: str) -> bytes:
    return (f"<html lang=en><head><title>{title}</title></head><body><nav><a href=/>Menu</a></nav><article><h1>{title}</h1>"
            f"<p>{text}</p></article><footer><p>Footer</p></footer></body></html>").encode()


class Site:
    """A web server on loopback that counts what it is asked for. A path in `held` is not answered until it is let go."""

    def __init__(self, elsewhere: str = ""):
        self.asked, self.headers, self.held = collections.Counter(), {}, {}
        self.pages = {
            "/robots.txt": (200, "text/plain", b"User-agent: *\nDisallow: /private/\n"),
            "/one": (200, "text/html; charset=utf-8", article("One", SENTENCES)),
            "/copy": (200, "text/html", article("Another title", SENTENCES).replace(b"Another title</h1>", b"One</h1>")),
            "/latin": (200, "text/html; charset=ISO-8859-1", article("Caf\u00e9", "Un caf\u00e9, deux caf\u00e9s. " + SENTENCES).decode().encode("latin-1")),
            "/plain": (200, "text/plain", PLAIN.encode()),
            "/picture": (200, "image/png", b"\x89PNG"),
            "/empty": (200, "text/html", b"<html><body><div id=app></div><script>draw()</script></body></html>"),
            "/private/x": (200, "text/html", article("Private", SENTENCES)),
            "/moved": (302, "/one", b""),
            "/away": (302, elsewhere, b""),
            "/slow": (200, "text/html", article("Slow", SENTENCES + " Slow.")),
        }
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked[self.path] += 1
                site.headers[self.path] = dict(self.headers)
                if self.path in site.held:
                    site.held[self.path].wait(60)
                status, kind, body = site.pages.get(self.path, (404, "text/html", b"none"))
                if self.headers.get("If-None-Match") == '"v1"':
                    status, body = 304, b""
                self.send_response(status)
                self.send_header("Location" if status == 302 else "Content-Type", kind)
                self.send_header("ETag", '"v1"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://{self.place}{path}"


@pytest.fixture(scope="module")
def site():
    hidden = Site()  # its port is in no list
    made = Site(elsewhere=hidden.url("/one"))
    made.hidden = hidden
    yield made
    for each in (made, hidden):
        each.server.shutdown()


@pytest.fixture(scope="module")
def server(site, tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("collect"), {"collect_allowed_hosts": [site.place]}).start()
    yield made
    made.stop()


def collect(server, name: str, *words) -> dict:
    return server.json("collect", name, *words, "--contact", "https://example.org/bot", "--delay", 0, "--wait")


def pages_of(server, name: str) -> dict:
    """Pages by source, the first of each."""
    pages = {}
    for page in map(json.loads, server.engram("--json", "pages", name).stdout.splitlines()):
        pages.setdefault(page["source"], page)
    return pages


def test_pages_become_rows_with_their_sources_and_failures_their_reasons(server, site, tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "note.txt").write_text("A note of \u00e4 user.\n")
    (tmp_path / "b.html").write_bytes(article("Local", "Local " + SENTENCES))
    (tmp_path / "skipped.pdf").write_bytes(b"%PDF")
    urls = [site.url(p) for p in ("/one", "/copy", "/latin", "/plain", "/picture", "/empty", "/private/x", "/moved", "/away", "/none", "/one")]
    job = collect(server, "found", tmp_path, *urls, site.hidden.url("/one"), "http://127.0.0.1:1/x", "http://169.254.169.254/latest")
    assert job["state"] == "JOB_STATE_SUCCEEDED" and job["result"]["dataset"] == "datasets/found"
    pages = pages_of(server, "found")
    reasons = {source: page["error"]["reason"] for source, page in pages.items() if page.get("error", {}).get("reason")}
    no_place = ("ADDRESS_NOT_PUBLIC", "PORT_NOT_ALLOWED")
    away = {source: reasons.pop(source) for source in (site.url("/away"), site.hidden.url("/one"), "http://127.0.0.1:1/x")}
    assert all(reason in no_place for reason in away.values())
    assert reasons == {site.url("/picture"): "CONTENT_TYPE", site.url("/empty"): "NO_TEXT", site.url("/private/x"): "ROBOTS_DISALLOWED",
                       site.url("/none"): "HTTP_404", "http://169.254.169.254/latest": "ADDRESS_NOT_PUBLIC"}
    assert not site.hidden.asked, "a redirect led to a place that is in no list"
    assert site.asked["/private/x"] == 0 and site.asked["/robots.txt"] == 1
    assert site.headers["/one"]["User-Agent"].startswith("Engram/") and "(+https://example.org/bot)" in site.headers["/one"]["User-Agent"]

    rows = {source: page for source, page in pages.items() if page["row"]}
    assert [p["row"] for p in rows.values()] == list(range(1, len(rows) + 1))
    assert set(rows) == {str(tmp_path / "b.html"), str(tmp_path / "below" / "note.txt"), *(site.url(p) for p in ("/one", "/latin", "/plain"))}
    assert pages[site.url("/copy")]["duplicate_of"] == site.url("/one") == pages[site.url("/moved")]["duplicate_of"]
    assert pages[site.url("/moved")]["url"] == site.url("/one")
    assert rows[str(tmp_path / "below" / "note.txt")]["text"] == "A note of \u00e4 user."
    assert rows[site.url("/plain")]["text"] == PLAIN.replace("\r\n", "\n").strip()
    assert "deux caf\u00e9s" in rows[site.url("/latin")]["text"] and rows[site.url("/latin")]["charset"] == "windows-1252"
    for page in rows.values():
        raw = page["text"].encode()
        assert page["digest"] == hashlib.sha256(raw).hexdigest()
        assert "Menu" not in page["text"] and "Footer" not in page["text"]
        blocks = [raw[b["start_byte"]:b["end_byte"]].decode() for b in page["blocks"]]
        assert " ".join(blocks).split() == page["text"].split()
        assert abs(time.time() - calendar.timegm(time.strptime(page["fetch_time"][:19], "%Y-%m-%dT%H:%M:%S"))) < 600
    assert rows[site.url("/one")]["title"] == "One" and rows[site.url("/one")]["language"] == "en"
    said = job["result"]["collected"]
    assert (said["pages"], said["duplicates"], said["failed"]) == (5, 2 + 1, 8), "one address was given twice"
    assert said["downloaded_bytes"] >= sum(len(site.pages[p][2]) for p in ("/one", "/copy", "/latin", "/plain"))
    dataset = server.json("datasets", "show", "found")
    assert (dataset["kind"], dataset["training_rows"]) == ("DATASET_KIND_TEXT", 5)


def test_a_later_collection_asks_for_what_has_changed_alone(server, site):
    first = collect(server, "again1", site.url("/one"), site.url("/plain"))
    before = site.asked["/one"]
    second = collect(server, "again2", site.url("/one"), site.url("/plain"))
    assert site.asked["/one"] == before + 1 and site.headers["/one"]["If-None-Match"] == '"v1"'
    assert second["result"]["collected"]["unchanged"] == 2
    texts = [[p["text"] for p in pages_of(server, name).values()] for name in ("again1", "again2")]
    assert texts[0] == texts[1] and first["result"]["collected"]["pages"] == 2


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_a_collection_goes_on_where_it_was(server, site, how):
    site.held["/slow"] = threading.Event()
    site.asked.clear()
    job = server.json("collect", f"resumed-{how}", site.url("/plain"), site.url("/slow"), "--contact", "a@b.example", "--delay", 0)
    name = job["name"]
    deadline = time.monotonic() + 60
    while site.asked["/slow"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if how == "pause":
        server.engram("jobs", "pause", name)
        while server.json("jobs", "show", name)["state"] != "JOB_STATE_PAUSED":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.engram("jobs", "resume", name)
    else:
        server.kill()
        server.start()
    site.held.pop("/slow").set()
    assert server.json("jobs", "watch", name)["state"] == "JOB_STATE_SUCCEEDED"
    assert site.asked["/plain"] == 1, "what was read already is not asked for again"
    assert [p["row"] for p in pages_of(server, f"resumed-{how}").values()] == [1, 2]


def test_what_cannot_be_collected_is_refused_by_its_field(server, site):
    stub, m = server.stub("CollectionService"), messages()
    good = dict(dataset="refused", urls=[site.url("/one")], contact="a@b.example")

    def refused(**changes):
        with pytest.raises(grpc.RpcError) as error:
            stub.CollectPages(m.CollectPagesRequest(**{**good, **changes}, validate_only=True))
        info, fields = error_info(error.value)
        return fields[0] if fields else info.reason

    assert stub.CollectPages(m.CollectPagesRequest(**good, validate_only=True)).estimate.texts == 1
    collect(server, "taken", site.url("/plain"))
    assert refused(dataset="taken") == "DATASET_EXISTS"
    assert refused(urls=[]) == "urls"
    assert refused(urls=[site.url("/one"), "ftp://x/"]) == "urls[1]"
    assert refused(urls=["http://user:secret@example.org/"]) == "urls[0]"
    assert refused(contact="") == "contact"
    assert refused(contact="a@b\r\nHost: x") == "contact"
    assert refused(page_seconds=601) == refused(page_seconds=float("nan")) == "page_seconds"
    assert refused(delay_seconds=-1) == "delay_seconds"
    assert refused(max_redirects=21) == "max_redirects"
    assert refused(max_page_bytes=1 << 40) == "max_page_bytes"
    document = m.PageDocument(name="a.html", content=b"x")
    assert refused(documents=[document, document]) == "documents[1].name"
    assert refused(documents=[m.PageDocument(name="a.pdf", content=b"x")]) == "documents[0].content_type"
    assert refused(documents=[m.PageDocument(name="a.html", content=bytes(17 << 20))]) == "documents"
    assert refused(priority=5000) == "priority"
    with pytest.raises(grpc.RpcError) as error:
        server.stub("CollectionService").ListPages(m.ListPagesRequest(dataset="taken", page_token="3"))
    assert error_info(error.value)[1] == ["page_token"]


def test_documents_that_wait_are_bounded(server, site):
    site.held["/slow"] = threading.Event()
    stub, m = server.stub("CollectionService"), messages()
    first = server.json("collect", "holds-the-device", site.url("/slow"), "--contact", "a@b.example", "--delay", 0)["name"]
    document, queued = m.PageDocument(name="a.txt", content=bytes(15 << 20)), []
    with pytest.raises(grpc.RpcError) as error:
        for n in range(20):
            queued.append(stub.CollectPages(m.CollectPagesRequest(dataset=f"waits{n}", documents=[document])).name)
    assert error_info(error.value)[0].reason == "QUEUE_FULL" and len(queued) == 8
    listed = server.stub("JobService").ListJobs(m.ListJobsRequest(page_size=20)).jobs
    assert listed[0].name == queued[-1]
    for name in [*queued, first]:
        server.engram("jobs", "cancel", name)
    site.held.pop("/slow").set()


def test_a_collection_of_nothing_fails_and_says_why(server, site):
    answer = server.engram("collect", "nothing", site.url("/none"), "--contact", "a@b.example", "--wait", check=False)
    assert answer.returncode == 1 and "NO_PAGES" in answer.stderr and "404" in answer.stderr
    assert "nothing" not in server.engram("datasets", "list").stdout
    assert "--contact" in server.engram("collect", "x", site.url("/one"), check=False).stderr


def test_pages_are_listed_in_parts(server, site):
    collect(server, "parts", *(site.url(p) for p in ("/one", "/latin", "/plain", "/none")))
    stub, m = server.stub("CollectionService"), messages()
    seen, token = [], ""
    while True:
        answer = stub.ListPages(m.ListPagesRequest(dataset="parts", page_size=1, page_token=token))
        seen += answer.pages
        token = answer.next_page_token
        if not token:
            break
        assert len(answer.pages) == 1
    assert [p.source for p in seen] == [site.url(p) for p in ("/one", "/latin", "/plain", "/none")]


def words_at(text: str, term: str) -> list[tuple[int, int]]:
    """Places of a term of ASCII letters, in any case, between word borders: by re, which knows nothing of our automaton."""
    return [m.span() for m in re.finditer(rf"(?<!\w){re.escape(term)}(?!\w)", text, re.IGNORECASE)]


def test_terms_become_a_data_set_of_entities(server, tmp_path):
    server.engram("collect", "demo", PAGES, "--wait")
    out = tmp_path / "entities.jsonl"
    said = server.json("annotate", "--pages", "demo", "--terms", PAGES / "terms.tsv", "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    texts = [p["text"] for p in pages_of(server, "demo").values() if p["row"]]
    assert [row["text"] for row in rows] == texts
    terms = ["TensorFlow", "Google", "Python", "machine learning"]
    for row in rows:
        places = sorted(place for term in terms for place in words_at(row["text"], term))
        assert [(e["start"], e["end"]) for e in row["entities"]] == places and places
        assert all(row["text"][e["start"]:e["end"]] == e["text"] for e in row["entities"])
    assert said["entities"] == {"TERMINOLOGY": sum(len(row["entities"]) for row in rows)}
    dataset = server.json("datasets", "upload", "terms", out)
    assert dataset["kind"] == "DATASET_KIND_TAGGING" and dataset["labels"] == ["TERMINOLOGY"]
    assert dataset["report"]["training"]["labels"][0]["count"] == said["entities"]["TERMINOLOGY"]


def test_lists_that_leave_something_open_are_asked_about(server, tmp_path):
    terms, texts = tmp_path / "terms.tsv", tmp_path / "texts.txt"
    terms.write_text("python\tLANGUAGE\npython\tANIMAL\nRust\tLANGUAGE\tcase\nrust belt\tPLACE\n\nRust\tLANGUAGE\tcase\n")
    texts.write_text("\U0001F600 Python and Rust, no rust\nin the Rust Belt\n\n")
    shown = server.engram("annotate", "--file", texts, "--terms", terms).stdout
    assert "ANIMAL|LANGUAGE" in shown and "[2, 8)" in shown and "ambiguous" in shown and "not taken" in shown
    out = tmp_path / "out.jsonl"
    answer = server.engram("annotate", "--file", texts, "--terms", terms, "--out", out, check=False)
    assert answer.returncode == 1 and "\"Python\"" in answer.stderr and "--ambiguous" in answer.stderr
    said = server.json("annotate", "--file", texts, "--terms", terms, "--out", out, "--ambiguous", "first")
    assert said["entities"] == {"LANGUAGE": 2, "PLACE": 1} and (said["ambiguous"], said["overlapped"], said["repeated_terms"]) == (1, 1, 1)
    said = server.json("annotate", "--file", texts, "--terms", terms, "--out", out, "--ambiguous", "skip")
    assert said["entities"] == {"LANGUAGE": 1, "PLACE": 1}
    terms.write_text("python\n")
    assert "line 1" in server.engram("annotate", "x", "--terms", terms, check=False).stderr
    assert server.json("annotate", "a Python", "--terms", terms, "--label", "L")["results"][0]["matches"][0]["labels"] == ["L"]
