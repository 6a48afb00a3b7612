# SPDX-License-Identifier: Apache-2.0
"""kolm report: a self-contained page; hostile names; a browser that shows it."""
import base64
import hashlib
import html.parser
import json
import os
import re
import stat

import browser
import harness
from harness import Case, jsonl, tickets

SINGLE = {"meta", "wbr"}
DRAWN = {"rect", "line", "circle", "polyline"}


def setUpModule():
    harness.set_up_tree()


class Page(html.parser.HTMLParser):
    """A page as a browser's parser sees it: elements, attributes and text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts, self.faults = [], [], [], []
        self.feed(text)
        self.close()
        self.text = "".join(self.texts).replace("\u00a0", " ")  # no-break spaces
        if self.open:
            self.faults.append("not closed: %s" % self.open)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in SINGLE:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in DRAWN:
            self.faults.append("closes itself: " + tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append("end of %s at %s" % (tag, self.getpos()))

    def handle_data(self, data):
        self.texts.append(data)

    def names(self):
        return [tag for tag, _ in self.elements]


class Paged(Case):
    def page(self, path="router-1.0.0.html"):
        text = self.read(path).decode()
        page = Page(text)
        self.assertEqual(page.faults, [])
        for tag, attributes in page.elements:
            self.assertNotIn(tag, {"script", "img", "link", "iframe", "object", "embed", "form", "base", "image", "use", "foreignobject"})
            for name, value in attributes.items():
                self.assertFalse(name.startswith("on") or name in ("src", "srcset", "style", "action", "xlink:href"), (tag, name))
                if name == "href":
                    self.assertTrue(value.startswith("#"), value)
        # The policy has the digest of the only style, and the headings are in hierarchical order.
        style = re.search("<style>(.*?)</style>", text, re.S).group(1)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self.assertIn("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'" % digest, text)
        self.assertNotRegex(style, r"url\(|@import|@font-face|expression|https?:")
        levels = [int(tag[1]) for tag in page.names() if re.fullmatch("h[1-6]", tag)]
        self.assertEqual(levels[0], 1)
        self.assertEqual(levels.count(1), 1)
        self.assertTrue(all(b <= a + 1 for a, b in zip(levels, levels[1:])), levels)
        return page

    def compile_hostile(self):
        hostile = ("<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</style><b>", "a\u202eb", "x" * 900, "&lt;", "\u05d0\u05d1",
                   "--><!--", "transfer_not_received_by_recipient")
        rows = tickets(400, noise=0.2, labels=hostile)
        for row in rows[::20]:
            row["input"] += " " + "w" * 300
        self.write("tickets.jsonl", jsonl(rows))
        self.compile("--min-accuracy", "0", "--gate", "0", "--allow-baseline")
        self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl")


class Report(Paged):
    def test_what_an_artifact_holds(self):
        self.write_tickets()
        self.compile()
        done = self.kolm("report", "router-1.0.0.kolm")
        self.assertIn("router-1.0.0.html", done.out)
        self.assertIn("trusted", done.out)
        page = self.page()
        said = self.json("inspect", "router-1.0.0.kolm")
        score = said["manifest"]["kscore"]
        for piece in ("%.3f" % score["k"], "%.1f %%" % (100 * score["accuracy"]), "%.1f %%" % (100 * score["baseline"]["accuracy"]), "test-word",
                      "the picker", "Runners-up", said["manifest_sha256"], "none found", "kolm report MODEL -d DATA"):
            self.assertIn(piece, page.text)
        receipt = self.json("verify", "router-1.0.0.kolm")["receipt"]
        for piece in (receipt["chain"]["log_id"], receipt["chain"]["prev"], "found in the log of this machine"):
            self.assertIn(piece, page.text)
        self.assertNotIn("Worst mistakes", page.text)
        # A file is replaced only with --force, and the same facts give the same bytes.
        first = self.read("router-1.0.0.html")
        self.assert_error(self.kolm("report", "router-1.0.0.kolm", code=2), "exists already", "--force")
        self.kolm("report", "router-1.0.0.kolm", "--force")
        self.assertEqual(self.read("router-1.0.0.html"), first)
        record = self.json("report", "router-1.0.0.kolm", "-o", "other.html", schema="kolm.report/1")
        self.assertEqual((record["page"], record["bytes"], record["verdict"], record["shipped"], record["asked"]),
                         ("other.html", len(first), "trusted", True, False))

    def test_a_page_is_a_file(self):
        self.write_tickets()
        self.compile()
        self.assert_error(self.kolm("report", "router-1.0.0.kolm", "-o", "-", code=2), "not to standard output", "pass the name of a file with --out")
        self.assertNotIn("-", os.listdir(self.work))

    def test_what_has_no_manifest_has_no_page(self):
        """Its CRC is wrong, so nothing in it can be trusted."""
        self.write_tickets()
        self.compile()
        data = self.read("router-1.0.0.kolm")
        at = data.index(b'"kscore"')
        self.write("router-1.0.0.kolm", data[:at] + b"X" + data[at + 1:])
        self.assert_error(self.kolm("report", "router-1.0.0.kolm", code=7), "manifest.json")
        self.assertNotIn("router-1.0.0.html", os.listdir(self.work))

    def test_one_mistake(self):
        self.write_tickets()
        rows = tickets(40, noise=0, seed=8)
        rows[3]["output"] = "refund" if rows[3]["output"] != "refund" else "other"
        self.write("eval.jsonl", jsonl(rows))
        self.compile("--eval", "eval.jsonl")
        self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl", "--eval", "eval.jsonl")
        text = self.page().text
        self.assertIn("The wrong answer that was given with most confidence, of 1 in all", text[text.rindex("Worst mistakes\n"):][:120])

    def test_with_the_data(self):
        self.write_tickets()
        self.compile()
        record = self.json("report", "router-1.0.0.kolm", "-d", "tickets.jsonl")
        self.assertTrue(record["asked"])
        page = self.page()
        score = self.json("inspect", "router-1.0.0.kolm")["manifest"]["kscore"]
        self.assertIn("byte for byte", page.text)
        self.assertIn("of %d in all" % (score["answered"] - score["correct"]), page.text)
        self.assertIn("row ", page.text)
        self.assertEqual(page.names().count("figure"), 2)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.work, "router-1.0.0.html")).st_mode), 0o600)
        self.assertEqual(self.jobs(), [])
        # The diagonal and the other cells add up to all answers.
        cells = re.search('<table class="matrix">(.*?)</table>', self.read("router-1.0.0.html").decode(), re.S).group(1)
        self.assertEqual(sum(int(n) for n in re.findall(r'<td class="n [^"]*">(\d+)</td>', cells)), score["answered"])

    def test_other_data(self):
        self.write_tickets()
        self.compile()
        self.write_tickets("others.jsonl", seed=9)
        self.assert_error(self.kolm("report", "router-1.0.0.kolm", "-d", "others.jsonl", code=6), "not the rows", "digest", "same files")
        self.assert_error(self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl", "--eval", "others.jsonl", code=6), "without --eval")
        self.assert_error(self.kolm("report", "router-1.0.0.kolm", "--eval", "others.jsonl", code=2), "--data")
        self.assertNotIn("router-1.0.0.html", os.listdir(self.work))

    def test_with_data_of_its_own_to_measure_on(self):
        self.write_tickets()
        self.write_tickets("eval.jsonl", seed=5)
        self.compile("--eval", "eval.jsonl")
        self.assert_error(self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl", code=6), "including those of --eval")
        self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl", "--eval", "eval.jsonl")
        page = self.page()
        self.assertIn("byte for byte", page.text)
        self.assertIn("of the evaluation data", page.text)

    def test_a_wrong_label_shows(self):
        self.add_engine()
        rows = tickets(600, noise=0)
        self.write("tickets.jsonl", jsonl(rows))
        evaluation = tickets(60, seed=4, noise=0)
        wrong = evaluation[17]
        right = wrong["output"]
        wrong["output"] = "refund" if right != "refund" else "other"
        self.write("eval.jsonl", jsonl(evaluation))
        self.compile("--eval", "eval.jsonl", "--backend", "local-cpu", "--effort", "quick")
        self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl", "--eval", "eval.jsonl")
        page = self.page()
        first = page.text[page.text.index("given with most confidence, of"):]
        self.assertLess(first.index(wrong["input"]), first.index("Nearest training rows"))
        self.assertIn("row 18 of the evaluation data", first)
        self.assertIn("the row's label may be wrong", first)

    def test_contradictions_show(self):
        rows = tickets(300)
        rows[40] = dict(rows[3], output="shipping" if rows[3]["output"] != "shipping" else "login")
        rows[50] = dict(rows[4])
        self.write("tickets.jsonl", jsonl(rows))
        self.compile()
        self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl")
        page = self.page()
        said = page.text[page.text.index("The same question with different outputs"):]
        self.assertIn(rows[3]["input"] + "\n" + rows[3]["output"] + " line 4 " + rows[40]["output"] + " line 41", said)
        self.assertIn("Duplicates dropped1", page.text)
        self.assertIn("Contradicting rows dropped2", page.text)

    def test_a_missed_gate(self):
        self.write_tickets(noise=0.3)
        self.compile("--min-accuracy", "0.99", code=4)
        done = self.kolm("report", "router-1.0.0.failed/")
        self.assertIn("not shipped", done.out)
        page = self.page()
        report = json.loads(self.read("router-1.0.0.failed/report.json"))
        for piece in ("This model was not shipped", "below the gate of 99.0 %", "Nothing here is signed", "What to try:", "router", "1.0.0",
                      "%.3f" % report["ece"]):
            self.assertIn(piece, page.text)
        self.assertEqual(page.names().count("figure"), 2)
        # Answers other than those that were counted give no curve; an invalid report is an error.
        self.write("router-1.0.0.failed/predictions.jsonl", b'{"id":"1","output":"x","confidence":0.4}\n')
        self.kolm("report", "router-1.0.0.failed", "-f")
        self.assertIn("has other answers", self.page().text)
        self.write("router-1.0.0.failed/report.json", b'{"k": 1}')
        self.assert_error(self.kolm("report", "router-1.0.0.failed", "-f", code=6), "is not a report")
        os.remove(os.path.join(self.work, "router-1.0.0.failed/report.json"))
        self.assert_error(self.kolm("report", "router-1.0.0.failed", "-f", code=6), "report.json")

    def test_a_missed_gate_with_the_data(self):
        rows = tickets(500, noise=0.3, seed=3)
        rows[7] = dict(rows[8])
        self.write("tickets.jsonl", jsonl(rows))
        self.compile("--min-accuracy", "0.99", "--seed", "4", code=4)
        report = json.loads(self.read("router-1.0.0.failed/report.json"))
        # Another seed gives another split, whose rows have other places.
        self.assert_error(self.kolm("report", "router-1.0.0.failed", "-d", "tickets.jsonl", code=6), "not the rows", "--seed")
        self.assert_error(self.kolm("report", "router-1.0.0.failed", "-d", "tickets.jsonl", "--contradictions", "x", code=6), "'x'", "majority")
        self.assert_error(self.kolm("report", "none.kolm", "--seed", "4", code=2), "an artifact records them")
        self.assertNotIn("router-1.0.0.html", os.listdir(self.work))
        self.kolm("report", "router-1.0.0.failed", "-d", "tickets.jsonl", "--seed", "4")
        page = self.page()
        for piece in ("This model was not shipped", "add up to the same figures", "of %d in all" % (report["answered"] - report["correct"]),
                      "Nearest training rows", "Duplicates dropped1", "%.3f" % report["ece"]):
            self.assertIn(piece, page.text)
        # Each mistake shown is the answer that the directory has for the row at that place.
        kept = {answer["id"]: answer for answer in map(json.loads, self.read("router-1.0.0.failed/predictions.jsonl").splitlines())}
        shown = re.findall(r"\n(.*)\ntrue (\S+) answered (\S+) with \S+ % row (\d+) of the data", page.text)
        self.assertEqual(len(shown), 20)
        for text, truth, given, place in shown:
            self.assertEqual((text, truth), (rows[int(place) - 1]["input"], rows[int(place) - 1]["output"]))
            self.assertEqual(given, kept[place]["output"])
        self.assertEqual(self.jobs(), [])
        # Answers that were changed no longer add up.
        changed = self.read("router-1.0.0.failed/predictions.jsonl").replace(b'"output":"billing"', b'"output":"refund"')
        self.write("router-1.0.0.failed/predictions.jsonl", changed)
        done = self.kolm("report", "router-1.0.0.failed", "-d", "tickets.jsonl", "--seed", "4", "-f", code=6)
        self.assert_error(done, "do not match its report")

    def test_hostile_names(self):
        self.compile_hostile()
        page = self.page()
        for piece in ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a[U+202E]b", "bytes more]"):
            self.assertIn(piece, page.text)
        self.assertNotIn("\u202e", page.text)
        self.assertLess(len(self.read("router-1.0.0.html")), 1 << 20)

    def test_what_is_not_verified_is_marked(self):
        self.write_tickets()
        self.compile()
        # Another user's key: the page is made, with a warning at the top.
        other = {"KOLM_HOME": os.path.join(self.dir, "other")}
        done = self.kolm("report", "router-1.0.0.kolm", env=other)
        self.assertIn("unknown key", done.out)
        page = self.page()
        self.assertLess(page.text.index("This artifact is not verified."), page.text.index("K-score"))
        # Changed bytes: the page and the exit code are those of verify, and the model is not asked anything.
        whole = bytearray(self.read("router-1.0.0.kolm"))
        size = self.json("inspect", "router-1.0.0.kolm")["entries"]
        at = next(e["offset"] for e in size if e["name"].startswith("model/"))
        whole[at] ^= 1
        self.write("router-1.0.0.kolm", bytes(whole))
        self.assertIn("tampered", self.kolm("report", "router-1.0.0.kolm", "-f", "-d", "tickets.jsonl", code=7).out)
        page = self.page()
        self.assertIn("This artifact is not verified.", page.text)
        self.assertIn("The model was not asked again.", page.text)
        self.assertNotIn("byte for byte", page.text)
        # A file that is not an artifact has no facts.
        self.write("router-1.0.0.kolm", bytes(whole[:len(whole) // 2]))
        self.assert_error(self.kolm("report", "router-1.0.0.kolm", "-o", "none.html", code=7))
        self.assertNotIn("none.html", os.listdir(self.work))
        self.assert_error(self.kolm("report", "nothing.kolm", code=6), "nothing.kolm")

    def test_without_receipts(self):
        self.write_tickets()
        self.compile()
        os.remove(os.path.join(self.work, "router-1.0.0.kolm.intoto.jsonl"))
        self.kolm("report", "router-1.0.0.kolm")
        page = self.page()
        self.assertIn("none next to the artifact", page.text)
        self.assertIn("no receipt of the signer", page.text)


LEAST_CONTRAST = """(() => {
    const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
    const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
    const ground = e => {
        const stack = [];
        for (; e; e = e.parentElement) { stack.push(parse(getComputedStyle(e).backgroundColor)); if (stack.at(-1)[3] === 1) break; }
        return stack.reduceRight((below, top) => over(top, below), [255, 255, 255]);
    };
    const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
    let least = [99, ''];
    for (const e of document.querySelectorAll('body *')) {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.matches('.none, svg *')) continue;
        const a = light(parse(getComputedStyle(e).color)), b = light(ground(e)), c = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (c < least[0]) least = [c, e.className + ': ' + e.textContent.slice(0, 40)];
    }
    return least;
})()"""


CUT = """[...document.querySelectorAll('.scroll:not(:has(.matrix))')].filter(e => e.scrollWidth > e.clientWidth ||
    (!e.closest('details') && e.scrollHeight > e.clientHeight)).map(e => e.getAttribute('aria-label'))"""


class InABrowser(Paged):
    """The page as a reader sees it."""

    def setUp(self):
        super().setUp()
        path = browser.find()
        if path is None:
            self.skipTest("there is no Chromium")
        try:
            self.browser = browser.Browser(path)
        except OSError as error:
            self.skipTest(str(error))
        self.addCleanup(self.browser.close)

    def url(self, name="router-1.0.0.html"):
        return "file://" + os.path.join(self.work, name)

    def check(self, width, scheme):
        requests, complaints = self.browser.show(self.url(), width, scheme)
        self.assertEqual((requests, complaints), ([self.url()], []))
        for script in ("0", "document.querySelectorAll('details').forEach(d => { d.open = true; })"):
            self.browser.evaluate(script)
            self.assertEqual(self.browser.evaluate("document.documentElement.scrollWidth"), width)
        # A long label wraps and leaves space for the numbers next to it, and nothing visible is cut off.
        self.assertEqual(self.browser.evaluate(CUT), [])
        # WCAG 2.1, 1.4.3: a contrast of 4.5 to 1 for text.
        contrast, where = self.browser.evaluate(LEAST_CONTRAST)
        self.assertGreaterEqual(contrast, 4.5, where)
        # The policy allows the page's own style.
        self.assertEqual(self.browser.evaluate("getComputedStyle(document.querySelector('.tiles')).display"), "grid")
        return self.browser.evaluate("getComputedStyle(document.body).backgroundColor")

    def test_it_fits_and_queries_nothing(self):
        self.compile_hostile()
        light = {self.check(width, "light") for width in (360, 1200)}
        dark = {self.check(width, "dark") for width in (360, 1200)}
        self.assertEqual((len(light), len(dark), len(light | dark)), (1, 1, 2))
        # No label was run as a script, and a title is a title.
        self.assertEqual(self.browser.evaluate("document.scripts.length + document.images.length"), 0)
        self.assertEqual(self.browser.evaluate("document.title"), "router 1.0.0 \u2013 model report")

    def test_a_missed_gate_fits_too(self):
        self.write_tickets(noise=0.3)
        self.compile("--min-accuracy", "0.99", code=4)
        self.kolm("report", "router-1.0.0.failed")
        self.check(360, "light")
        self.check(360, "dark")

    def test_a_request_would_be_seen_and_is_refused(self):
        """The other tests rely on this: an image is requested without the policy, and blocked with it."""
        self.write_tickets()
        self.compile()
        self.kolm("report", "router-1.0.0.kolm")
        page = self.read("router-1.0.0.html").decode().replace("<main", '<img src="http://127.0.0.1:9/x.png"><main')
        self.write("refused.html", page)
        self.write("seen.html", re.sub("<meta http-equiv[^>]*>", "", page))
        requests, _ = self.browser.show(self.url("seen.html"), 360)
        self.assertIn("http://127.0.0.1:9/x.png", requests)
        _, complaints = self.browser.show(self.url("refused.html"), 360)
        self.assertIn("Content Security Policy", " ".join(complaints))


if __name__ == "__main__":
    harness.main()
