"""From addresses of pages to tagged names: pages are collected from a local web server, annotated by a list of terms, learned, and new text is tagged.

    make demo-ner

The pages lie in tests/data/demo_pages. Nothing here is a fixed figure: what is printed was measured in this run, and the demo fails if the terms are
not found in a sentence that no page has.
"""
import functools
import http.server
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import demo  # noqa: E402  (the folder must be known first)

PAGES = demo.DATA / "demo_pages"
MODEL, TASK = "minilm-ner", "terms"
SENTENCE = ("TensorFlow, developed by Google, is widely used in Python programming for machine learning projects, often requiring GPU "
            "acceleration.")
TERMS = ("TensorFlow", "Google", "Python", "machine learning")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve_pages() -> http.server.ThreadingHTTPServer:
    handler = functools.partial(Quiet, directory=str(PAGES))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def tagged(server: demo.Server, text: str) -> list[str]:
    answer = server.engram("tag-entities", MODEL, text, show=False)
    return [entity["text"] for entity in answer["results"][0]["entities"]]


def main() -> int:
    web = serve_pages()
    place = f"127.0.0.1:{web.server_port}"
    demo.say(f"1. A server, and an encoder that knows no names; pages are served at http://{place}")
    # Addresses of this machine are refused unless the server's configuration names them.
    server = demo.Server(f"collect_allowed_hosts: ['{place}']\n")
    try:
        server.engram("models", "import", MODEL, demo.ROOT / ".deps" / "base-model")
        demo.say("2. Pages become a data set, one row a page")
        urls = [f"http://{place}/{page.name}" for page in sorted(PAGES.glob("*.html"))]
        server.engram("collect", "pages", *urls, "--contact", "demo@example.org", "--delay", "0", "--wait")
        server.engram("pages", "pages")
        demo.say("3. Terms of a list are marked in their texts")
        entities = demo.HOME / "entities.jsonl"
        # The four terms are all that is to be found: other words are outside, not unknown.
        server.engram("annotate", "--pages", "pages", "--terms", PAGES / "terms.tsv", "--out", entities, "--other-words", "outside")
        server.engram("datasets", "upload", TASK, entities)
        demo.say("4. How well the names of pages are found that were not trained on, and a tagger that learns from all of them")
        learn(server)
        demo.say("5. The tagger reads a sentence of no page")
        server.engram("tag-entities", MODEL, SENTENCE)
        found = tagged(server, SENTENCE)
        shown = demo.check("the four terms are found", all(term in found for term in TERMS), ", ".join(found) or "nothing")
        drawing = demo.HOME / "entities.html"
        server.engram("tag-entities", MODEL, SENTENCE, "--html", drawing)
        shown = demo.check("a page shows them", all(term in drawing.read_text(encoding="utf-8") for term in TERMS), str(drawing)) and shown
        return 0 if shown else 1
    finally:
        server.stop()
        web.shutdown()


def learn(server: demo.Server) -> None:
    """Four folds of pages; the version that stays has learned from all of them."""
    server.engram("cross-validate", MODEL, TASK, "--dataset", TASK, "--kind", "ner", "--folds", "4", "--set", "epochs=10", "--set", "batch_size=2", "--set", "lr=0.0003",
                  "--label", "stable", "--wait")


if __name__ == "__main__":
    sys.exit(main())
