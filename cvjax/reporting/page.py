"""The parts of a self-contained HTML page: text is escaped, pictures inlined; nothing is fetched, no script runs."""

import base64
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light dark;
  --font: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  --paper: #fff; --card: #f6f7f9; --ink: #1f2328; --quiet: #5b646e; --line: #d9dee4; --good: #1a7f4b; --bad: #c4232f;
  --hit: 11 99 197; --miss: 196 35 47;
  --s0: #0b63c5; --s1: #c2570a; --s2: #0e8060; --s3: #8b3db8;
  --s4: #b8860f; --s5: #c22d55; --s6: #4d6a8a; --s7: #6f7f1a; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --card: #1d2125; --ink: #e4e7eb; --quiet: #9aa4ae; --line: #343a41; --good: #4cc38a; --bad: #ff7b84;
  --hit: 88 166 255; --miss: 255 110 120;
  --s0: #62a8ff; --s1: #ff9b52; --s2: #3fc79a; --s3: #c98bf0;
  --s4: #e3b341; --s5: #ff7ba0; --s6: #93b4d6; --s7: #b9cb4f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 66rem; font: 16px/1.5 var(--font);
  background: var(--paper); color: var(--ink); }
header { margin-bottom: 1.75rem; }
.kind { color: var(--quiet); font-size: .875rem; margin: 0; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .1rem 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; } h3 { font-size: .95rem; margin: 0 0 .4rem; }
.verdict { font-size: 1.2rem; margin: 0; max-width: 46rem; overflow-wrap: anywhere; }
.quiet, figcaption { color: var(--quiet); font-size: .9rem; } .quiet { margin: .35rem 0; max-width: 46rem; }
.bad { color: var(--bad); } .good { color: var(--good); }
.alert { border-left: 4px solid var(--bad); background: var(--card); padding: .6rem .9rem; margin: 0 0 1rem;
  overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem;
  margin: 1.25rem 0 0; padding: 0; }
.tiles div { background: var(--card); border-radius: 8px; padding: .65rem .85rem; }
.tiles dt { color: var(--quiet); font-size: .82rem; } .tiles dd { margin: 0; font-size: 1.25rem; font-weight: 600; }
.tiles small { display: block; font-size: .78rem; font-weight: 400; color: var(--quiet); }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem 1.5rem; }
.curves svg { width: 100%; height: auto; display: block; }
figure { margin: 0; } figcaption { margin-top: .4rem; }
.wide { overflow-x: auto; } .wide img { width: 100%; min-width: 42rem; border-radius: 8px; display: block; }
.wide img.matrix { image-rendering: pixelated; width: min(100%, 36rem); min-width: 0; border: 1px solid var(--line); }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem 1.1rem .38rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--quiet); font-size: .82rem; vertical-align: bottom; }
th.n, td.n { text-align: right; } td.n, .bad, .good { white-space: nowrap; }
tr.top td { font-weight: 650; }
table.matrix td, table.matrix th { text-align: center; vertical-align: middle; white-space: nowrap;
  padding: .3rem .5rem; border: 0; min-width: 2.3rem; }
table.matrix th.row { text-align: right; position: sticky; left: 0; background: var(--paper); }
.two { display: flex; flex-wrap: wrap; gap: 1.5rem 3rem; } .two > * { max-width: 100%; }
.named { display: flex; align-items: baseline; }
.chip { flex: none; display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .5em; }
pre { background: var(--card); border-radius: 8px; padding: .75rem .9rem; overflow-x: auto; font-size: .85rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
details { margin: .75rem 0; } summary { cursor: pointer; font-weight: 600; }
@media (max-width: 40rem) { body { padding-top: 1rem; } h1 { font-size: 1.5rem; } .verdict { font-size: 1.08rem; } }
@media print { body { max-width: none; } }
"""


class Markup(str):
    """Text that is HTML already; any other string is escaped where it enters the page."""


def text(value: object) -> Markup:
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def breakable(name: str) -> Markup:
    """A name that may go on in the next line behind each comma."""
    return Markup(text(name).replace(",", ",<wbr>"))


def element(tag: str, content: object, kind: str = "") -> Markup:
    attribute = f' class="{escape(kind)}"' if kind else ""
    return Markup(f"<{tag}{attribute}>{text(content)}</{tag}>")


def join(parts: Sequence[object]) -> Markup:
    return Markup("\n".join(text(part) for part in parts if part))


def page(title: str, kind: str, body: Sequence[object]) -> str:
    """The whole document. `kind` is the small line above the title."""
    head = join(
        [
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            Markup(f"<style>{STYLE}</style>"),
        ]
    )
    top = element("header", join([element("p", kind, "kind"), element("h1", title), body[0]]))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{top}\n<main>\n{join(body[1:])}\n</main>\n</body>\n</html>\n'
    )


def section(title: str, *parts: object) -> Markup:
    """A headed section; nothing at all where it has no content."""
    content = join(parts)
    return element("section", join([element("h2", title), content])) if content else Markup("")


def table(head: Sequence[object], rows: Sequence[Sequence[object]], numeric: Collection[int] = (), top: int | None = None) -> Markup:
    """A table that scrolls by itself when too wide. `numeric`: columns set right; `top`: the row to set in bold."""

    def cells(tag: str, values: Sequence[object]) -> Markup:
        return join([element(tag, value, "n" if i in numeric else "") for i, value in enumerate(values)])

    body = join([element("tr", cells("td", row), "top" if i == top else "") for i, row in enumerate(rows)])
    head_row = element("thead", element("tr", cells("th", head)))
    return element("div", element("table", join([head_row, element("tbody", body)])), "wide")


def tiles(facts: Sequence[tuple[str, str, str]]) -> Markup:
    """Large numbers: (what, number, remark)."""

    def tile(what: str, number: str, remark: str) -> Markup:
        content = join([text(number), element("small", remark)]) if remark else text(number)
        return element("div", join([element("dt", what), element("dd", content)]))

    return element("dl", join([tile(*fact) for fact in facts]), "tiles") if facts else Markup("")


def picture(png: bytes, description: str, kind: str = "") -> Markup:
    """An image inside the page; `description` is what one who cannot see it reads."""
    data = base64.b64encode(png).decode()
    return element("div", Markup(f'<img class="{kind}" alt="{escape(description)}" src="data:image/png;base64,{data}">'), "wide")


def figure(content: object, below: object = "") -> Markup:
    return element("figure", join([content, element("figcaption", below) if below else ""]))


def details(summary: str, *parts: object) -> Markup:
    return element("details", join([element("summary", summary), *parts]))


def save(path: Path, html: str) -> Path:
    path.write_text(html, encoding="utf-8")
    return path
