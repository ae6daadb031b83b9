"""The built site: every link leads somewhere, every public name is described, and it can be read in a browser.

``tox -e docs`` builds it and says in REFREEZE_SITE where; otherwise all of this is skipped.
"""

from __future__ import annotations

import ast
import functools
import http.server
import json
import os
import queue
import re
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from pages import ROOT

SITE = Path(os.environ.get("REFREEZE_SITE", "nowhere")).resolve()
SOURCE = ROOT / "reference"
pytestmark = pytest.mark.skipif("REFREEZE_SITE" not in os.environ, reason="the site is not built: tox -e docs")


# Links -------------------------------------------------------------------------------------------------------------
class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[tuple[str, str | None]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {value for key in ("id", "name") if (value := found.get(key))}
        self.links += [value for key in ("href", "src") if (value := found.get(key))]
        if tag == "img":
            self.pictures.append((found.get("src") or "", found.get("alt")))


@functools.cache
def pages() -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(SITE.rglob("*.html"))}


def broken(pages: dict[Path, Page]) -> list[str]:
    """Return the links within the site that lead nowhere."""
    found = []
    for path, page in pages.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(urlsplit(address).path)).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (anchor and target in pages and unquote(anchor) not in pages[target].ids):
                found.append(f"{path.parent.name}/{path.name}: {link}")
    return found


def test_every_link_within_the_site_leads_somewhere():
    assert len(pages()) > 20
    assert broken(pages()) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<p id="here"><a href="#here">a</a> <a href="#there">b</a> <img src="no.png" alt=""></p>')
    assert [link.rpartition(" ")[2] for link in broken({page: Page(page)})] == ["#there", "no.png"]


def test_every_term_is_linked_from_another_page():
    defined = {name for name in pages()[SITE / "specification" / "terms.html"].ids if name.startswith("term-")}
    linked = {
        urldefrag(link).fragment
        for path, page in pages().items()
        for link in page.links
        if "terms.html#term-" in link and path.name not in ("terms.html", "genindex.html")
    }
    assert len(defined) > 20
    assert sorted(defined - linked) == []


def test_every_picture_says_what_it_shows():
    assert [f"{path.name}: {src}" for path, page in pages().items() for src, alt in page.pictures if not alt] == []


# Names -------------------------------------------------------------------------------------------------------------
def inventory() -> set[str]:
    """Return the names that the site describes: those of its inventory."""
    data = (SITE / "objects.inv").read_bytes()
    lines = zlib.decompress(data.split(b"\n", 4)[4]).decode().splitlines()
    return {line.split(" ")[0] for line in lines}


def public(tree: ast.Module, module: str) -> Iterator[str]:
    """Yield the functions and classes of a module that have no underscore in front, and their methods.

    A method without a docstring is what a base class or a protocol says; a strategy of cases is named by its law.
    """
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name == "__call__" or not node.name.startswith("_"):
            bare = ast.get_docstring(node) is None
            if not bare or not (".cases" in module or module.rpartition(".")[2][0].isupper()):
                yield f"{module}.{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from public(ast.Module(node.body, []), f"{module}.{node.name}")


def test_every_public_name_is_described():
    expected = set()
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if not any(part.startswith("_") and part != "__init__" for part in parts):
            module = ".".join(part for part in parts if part != "__init__")
            expected |= {module, *public(ast.parse(path.read_text(encoding="utf-8")), module)}
    assert len(expected) > 200
    assert sorted(expected - inventory()) == []


def test_every_clause_is_in_the_inventory_and_in_the_index():
    from refreeze.conformance.clauses import clauses

    assert sorted(clauses().keys() - inventory()) == []
    listed = {urldefrag(link).fragment for link in pages()[SITE / "genindex.html"].links}
    assert sorted({name.lower() for name in clauses()} - listed) == []


# In a browser ------------------------------------------------------------------------------------------------------
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
WATCH = """<script>
window.said = [];
console.error = (...parts) => window.said.push(parts.join(" "));
addEventListener("error", e => window.said.push(e.message || "not loaded: " + (e.target.src || e.target.href)), true);
addEventListener("unhandledrejection", e => window.said.push(String(e.reason)));
</script>"""
PROBE = """<!doctype html><meta charset="utf-8"><body><script>
const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                     return .2126 * r + .7152 * g + .0722 * b; };
const rgba = s => { const n = s.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
function behind(view, node) {
  for (; node; node = node.parentElement) {
    const colour = rgba(view.getComputedStyle(node).backgroundColor);
    if (colour[3] > .5) return colour.slice(0, 3);
  }
  return [255, 255, 255];
}
function faint(view, doc) {
  const found = new Set();
  for (const node of doc.querySelectorAll("article p, article li, article td, article th, article dt, article h1, " +
      "article h2, article a, article summary, article code, article pre span")) {
    const text = [...node.childNodes].some(n => n.nodeType == 3 && n.textContent.trim());
    if (!text || !node.getClientRects().length) continue;
    const [one, other] = [rgba(view.getComputedStyle(node).color).slice(0, 3), behind(view, node)].map(light);
    const contrast = (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
    if (contrast < (node.closest("pre") ? 3 : 4.5))
      found.add(`${node.tagName}.${node.className} ${contrast.toFixed(1)}`);
  }
  return [...found].slice(0, 5);
}
function glaring(view, doc) {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  return [...doc.querySelectorAll("article p > img")].filter(picture => {
    if (!picture.naturalWidth) return false;
    [canvas.width, canvas.height] = [100, 100];
    const { filter, backgroundColor } = view.getComputedStyle(picture);
    pen.filter = filter;
    pen.fillStyle = backgroundColor;
    pen.fillRect(0, 0, 100, 100);
    pen.drawImage(picture, 0, 0, 100, 100);
    const points = pen.getImageData(0, 0, 100, 100).data;
    let sum = 0;
    for (let i = 0; i < points.length; i += 4) sum += light([...points.slice(i, i + 3)]) / 1e4;
    return sum > .5;
  }).map(picture => picture.src);
}
function clipped(doc, width) {
  return [...doc.querySelectorAll("table.frameworks *")]
    .filter(node => node.getBoundingClientRect().right > width).map(node => node.tagName);
}
async function look(page, width, theme) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 844; frame.src = page;
  await new Promise(done => { frame.onload = done; document.body.append(frame); });
  const view = frame.contentWindow, doc = frame.contentDocument;
  doc.body.dataset.theme = theme;
  for (const picture of doc.images) picture.loading = "eager";
  await Promise.all([...doc.images].map(i => i.complete || new Promise(done => i.onload = i.onerror = done)));
  await new Promise(done => setTimeout(done, 50));
  const report = { page, width, theme, said: view.said, wide: doc.documentElement.scrollWidth - width,
    missing: [...doc.images].filter(i => !i.naturalWidth).map(i => i.src), faint: faint(view, doc),
    clipped: clipped(doc, width), glaring: theme == "dark" ? glaring(view, doc) : [] };
  frame.remove();
  return report;
}
(async () => {
  const reports = [];
  for (const page of PAGES) for (const [width, theme] of [[1440, "light"], [390, "light"], [390, "dark"]])
    reports.push(await look(page, width, theme));
  await fetch("/done", { method: "POST", body: JSON.stringify(reports) });
})();
</script>"""


def looked_at(folder: Path, names: list[str], profile: Path, probe: str = PROBE) -> Any:
    """Return what a probe reports, else what a browser sees of each page: narrow and wide, light and dark."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Serve(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            name = unquote(urlsplit(self.path).path).lstrip("/")
            if name == "probe":
                self._send(probe.replace("PAGES", json.dumps([f"/{page}" for page in names])))
            elif name.endswith(".html") and (folder / name).exists():
                self._send(re.sub("<head>", "<head>" + WATCH, (folder / name).read_text(encoding="utf-8"), count=1))
            elif name == "favicon.ico":
                self.send_response(204)
                self.end_headers()
            else:
                super().do_GET()

        def do_POST(self) -> None:
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._send("")

        def _send(self, text: str) -> None:
            data = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0",
               f"http://127.0.0.1:{server.server_port}/probe"]  # fmt: skip
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return answers.get(timeout=240)
    finally:
        browser.terminate()
        browser.wait()
        server.shutdown()
        server.server_close()


def faults(reports: list[dict[str, Any]]) -> list[str]:
    return [
        f"{report['page']} at {report['width']} px, {report['theme']}: {key} {report[key]}"
        for report in reports
        for key in ("said", "missing", "faint", "clipped", "glaring", "wide")
        if (report[key] > 0 if key == "wide" else report[key])
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_every_page_can_be_read_in_a_browser_on_a_phone_and_in_the_dark(tmp_path):
    names = [page.relative_to(SITE).as_posix() for page in pages() if "_modules" not in page.parts]
    reports = looked_at(SITE, names, tmp_path)
    assert len(reports) == 3 * len(names)
    assert faults(reports) == []


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize(("clause", "place"), [("RES-1", "resume.html#res-1"), ("EXE-1", "execution.html#exe-1")])
def test_searching_for_a_clause_finds_its_place_first(clause, place, tmp_path):
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom",
               f"{(SITE / 'search.html').as_uri()}?q={clause}"]  # fmt: skip
    seen = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = re.search(r' class="search">.*?<a href="([^"]*)"', seen, re.DOTALL)
    assert found is not None
    assert found[1].endswith(f"specification/{place}")


OPENED = """<!doctype html><meta charset="utf-8"><body><script>
async function opened(page) {
  const frame = document.createElement("iframe");
  frame.width = 1000; frame.height = 800; frame.src = page;
  await new Promise(done => { frame.onload = done; document.body.append(frame); });
  return [frame.contentWindow, frame.contentDocument];
}
const shown = doc => ({ rows: doc.querySelectorAll("table.conformance tbody tr").length,
  columns: [...doc.querySelectorAll("table.conformance thead span")].map(node => node.textContent),
  detail: doc.querySelector(".conformance-detail")?.innerText, text: doc.querySelector("#conformance").innerText,
  pictures: doc.querySelectorAll(".conformance-detail .timeline").length,
  foreign: doc.querySelectorAll("#conformance img").length });
function choose(view, doc, place, value) {
  const select = doc.querySelectorAll(".conformance-filters select")[place];
  select.value = value;
  select.dispatchEvent(new view.Event("change"));
}
(async () => { let said; try { said = await (PROBED)(); } catch (error) { said = { error: String(error) }; }
  await fetch("/done", { method: "POST", body: JSON.stringify(said) }); })();
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_table_is_filtered_and_a_cell_tells_its_counterexample(tmp_path):
    found = looked_at(SITE, [], tmp_path, OPENED.replace("PROBED", """async () => {
      const [view, doc] = await opened("/table/index.html"), whole = shown(doc);
      choose(view, doc, 0, "lightning");
      doc.querySelector("td:is(.known, .must) button").click();
      const one = shown(doc);
      choose(view, doc, 0, "");
      choose(view, doc, 1, "must");
      return { whole, one, musts: shown(doc), said: view.said };
    }"""))  # fmt: skip
    assert found["said"] == []
    assert found["whole"]["rows"] >= 12
    assert 2 <= found["one"]["rows"] < found["whole"]["rows"]
    assert "LTN-1" in found["one"]["columns"]
    assert "LGT-1" in found["whole"]["columns"]
    assert "LGT-1" not in found["one"]["columns"]
    assert "refreeze verify" in found["one"]["detail"]
    assert "should be" in found["one"]["detail"]
    assert found["one"]["pictures"] == 2
    assert "CFG-1" not in found["musts"]["columns"]
    assert "CFG-1" in found["whole"]["columns"]
    assert found["whole"]["columns"].index("CFG-1") > found["whole"]["columns"].index("RES-1")


RESULT = {"law": "RES-1-a", "clause": "RES-1", "dialect": "vl3d", "verdict": "broken", "requirement": "must",
          "cases": 3, "unsupported": 0, "failure": None, "reason": None}  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)>"
FAILED = RESULT | {"failure": {"what": HOSTILE, "got": HOSTILE, "should_be": "", "replay": HOSTILE, "case": {},
                               "timelines": [[{"start": "<b>"}], []]}}  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_dropped_report_is_shown_as_text_and_what_is_none_is_told(tmp_path):
    def report(*results, **more):
        return json.dumps({"adapter": HOSTILE, "results": results} | more)

    files = {
        "right": report(FAILED, RESULT | {"verdict": "holds", "clause": "SCH-1", "dialect": "__proto__"}),
        "unknown clause": report(RESULT, RESULT | {"clause": "__proto__"}),
        "no json": "{",
        "no report": "[1]",
        "a wrong verdict": report(RESULT | {"verdict": "fine"}),
        "a wrong failure": report(FAILED | {"failure": {"what": 1}}),
        "too many": report(*[RESULT] * 5001),
        "too large": " " * 5_000_001,
    }
    found = looked_at(SITE, [], tmp_path, OPENED.replace("PROBED", f"""async () => {{
      const [view, doc] = await opened("/table/report.html"), seen = {{}};
      for (const [name, text] of Object.entries({json.dumps(files).replace("<", chr(92) + "u003c")})) {{
        const transfer = new view.DataTransfer();
        transfer.items.add(new view.File([text], "report.json"));
        doc.dispatchEvent(new view.DragEvent("drop", {{ dataTransfer: transfer, cancelable: true }}));
        await new Promise(done => setTimeout(done, 300));
        doc.querySelector("td.must button")?.click();
        seen[name] = shown(doc);
      }}
      const asked = view.performance.getEntriesByType("resource").map(entry => entry.initiatorType);
      return {{ seen, said: view.said, asked }};
    }}"""))  # fmt: skip
    assert found["said"] == []
    assert not {"fetch", "xmlhttprequest", "beacon"} & {*found["asked"]}
    seen = found["seen"]
    assert seen["right"]["columns"] == ["SCH-1", "RES-1"]
    assert HOSTILE in seen["right"]["detail"]
    assert not any(each["foreign"] for each in seen.values())
    assert "1 results are about clauses that this page does not know" in seen["unknown clause"]["text"]
    words = {
        "no json": "must be JSON",
        "no report": "a report of refreeze verify",
        "a wrong verdict": "a verdict",
        "a wrong failure": "failure.what must be a text",
        "too many": "at most 5000",
        "too large": "5 MB",
    }
    assert [name for name, said in words.items() if said not in seen[name]["text"]] == []
    assert not any(seen[name]["rows"] for name in words)


def test_a_badge_says_what_the_newest_version_holds():
    badges = {path.stem: json.loads(path.read_text("utf-8")) for path in (SITE / "table" / "badges").iterdir()}
    right = badges["refreeze-vl3d"]
    assert (right["schemaVersion"], right["color"]) == (1, "brightgreen")
    assert re.fullmatch(r"\d+ hold", right["message"])
    assert re.search(r"\d+ known", badges["lightning-lightning"]["message"])


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_page_that_cannot_be_read_is_found(tmp_path):
    (tmp_path / "bad.html").write_text(
        '<!doctype html><html><head><meta name="viewport" content="width=device-width"></head><body><article>'
        '<p style="color: #999; background: #aaa">faint</p><img src="missing.png" alt="">'
        '<div style="width: 600px">wide</div><script>throw new Error("broken")</script></article></body></html>'
    )
    reports = looked_at(tmp_path, ["bad.html"], tmp_path / "profile")
    assert [report["wide"] > 0 for report in reports] == [False, True, True]
    assert all(report["faint"] and report["missing"] and "broken" in str(report["said"]) for report in reports)
