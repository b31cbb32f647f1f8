"""Reading the pages of a run: their text, tables and pictures, by Python's HTML parser."""

import shutil
import subprocess
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds: `tags` with attributes, `tables` as rows of cells, `text`; unbalanced tags are an error."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.tags, self.tables, self.open, self.text, self.comments = [], [], [], "", []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        if self.open:
            raise AssertionError(f"not closed: {self.open}")

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes nothing")

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data.strip()

    def handle_comment(self, data):
        self.comments.append(data)

    def table(self, *head):
        """Rows under the table whose first cells are `head`."""
        return next(rows[1:] for rows in self.tables if rows[0][: len(head)] == list(head))

    @property
    def pictures(self):
        """Addresses of the pictures."""
        return [attributes["src"] for tag, attributes in self.tags if tag == "img"]


def dump(path, tmp_path):
    """The page as Chromium renders it, as HTML; None where there is no Chromium."""
    browser = shutil.which("chromium")
    if not browser:
        return None
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --dump-dom"
    )
    command = [browser, *flags.split(), f"--user-data-dir={tmp_path / 'browser'}", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
