"""Converts the markup of a MediaWiki article to plain text.

Markup nests, so it is removed from the inside out. Running text is kept: paragraphs, headings, lists, link labels,
formulas (as `$TeX$`). Tables, notes, infoboxes, galleries and the closing sections of links and references are removed.
Only the few templates that wrap a text are expanded.
"""

import html
import re

# Closing sections that have references and links but no prose.
# fmt: off
_LINK_SECTIONS = frozenset({
    "references", "external links", "see also", "further reading", "notes", "footnotes", "bibliography", "sources",
    "notes and references", "citations", "notes and citations", "works cited", "gallery",
})
# fmt: on
# Template -> position of the argument that is the visible text; negative positions count from the end.
_SHOWN_ARGUMENT = {
    "lang": -1,
    "nowrap": 0,
    "quote": 0,
    "blockquote": 0,
    "quotation": 0,
    "transl": -1,
    "unicode": 0,
    "polytonic": 0,
    "script": -1,
    "small": 0,
    "smallcaps": 0,
    "mvar": 0,
    "math": 0,
    "abbr": 0,
}
_MEDIA = re.compile(r"^\s*:?(file|image|category|media|wikipedia|template|[a-z]{2,3}|simple)\s*:", re.IGNORECASE)

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_EMPTY_TAG = re.compile(r"<\w+\b[^<>]*/>")
_MATH = re.compile(r"<math\b[^<>]*>(.*?)</math\s*>", re.DOTALL | re.IGNORECASE)
_HIDDEN = re.compile(
    r"<(ref|gallery|timeline|imagemap|syntaxhighlight|source|score|hiero|table)\b[^<>]*>.*?</\1\s*>",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_TEMPLATE = re.compile(r"\{\{((?:[^{}\[]|\[(?!\[)|\{(?!\{)|\}(?!\}))*?)\}\}")
_BROKEN_TEMPLATE = re.compile(r"\{\{((?:[^{}]|\{(?!\{)|\}(?!\}))*?)\}\}")
_EXTERNAL = re.compile(r"\[(?:https?:|ftp:)?//[^\s\]]+ *([^\[\]]*)\]")
_LINK = re.compile(r"\[\[((?:[^\[\]{]|\{(?!\{))*)\]\]")
_STRAY = re.compile(r"\{\{|\}\}|\[\[|\]\]|^\|\}", re.MULTILINE)
# TeX contains sequences that look like templates and links; they are masked until those are removed.
_HIDE_TEX = str.maketrans("{}[]|'", "\x00\x01\x02\x03\x04\x05")
_SHOW_TEX = {shown: hidden for hidden, shown in _HIDE_TEX.items()}
_HEADING = re.compile(r"^(={2,6})\s*(.*?)\s*\1\s*$", re.MULTILINE)
_QUOTES = re.compile("'{2,}")
_MAGIC = re.compile(r"__[A-Z]+__")
_LIST = re.compile(r"^[*#:;]*([*#])\s*", re.MULTILINE)
_INDENT = re.compile(r"^[:;]+\s*", re.MULTILINE)
_EMPTY_BRACKETS = re.compile(r" ?\([\s,;:/\u2013-]*\)")
_BRACKET_START = re.compile(r"\((?:[,;:]\s*)+")
_BLANKS = re.compile(r"[ \t\u00a0]+")
_SPACE_BEFORE = re.compile(r" +([,.;:)])")
_MANY_LINES = re.compile(r"\n\s*\n+")


def plain_text(markup: str) -> str:
    """Return the running text of an article; each heading is on its own line, between blank lines."""
    text = html.unescape(_COMMENT.sub("", markup))
    text = _MATH.sub(_keep_formula, text)
    text = _HIDDEN.sub("", _EMPTY_TAG.sub("", text))
    text = _EXTERNAL.sub(r"\1", text)
    text = _take_off_links_and_templates(text)
    text = _QUOTES.sub("", _TAG.sub("", _MAGIC.sub("", _drop_tables(text))))
    text = _drop_link_sections(_drop_strays(text))
    text = _INDENT.sub("", _LIST.sub("- ", text))
    text = _BRACKET_START.sub("(", text)
    text = _SPACE_BEFORE.sub(r"\1", _BLANKS.sub(" ", text))
    lines = (line.strip() for line in text.translate(_SHOW_TEX).split("\n"))
    return _MANY_LINES.sub("\n\n", "\n".join(line for line in lines if line not in ("-", "."))).strip()


def _keep_formula(match: re.Match[str]) -> str:
    return "$" + match[1].strip().translate(_HIDE_TEX) + "$"


def _take_off_links_and_templates(text: str) -> str:
    """Replace links and templates in turn, innermost first, as they nest; last, templates with a stray bracket."""
    count = 1
    while count:
        text, links = _LINK.subn(_label, text)
        text, templates = _TEMPLATE.subn(_expand, text)
        count = links + templates
        if not count:
            text, count = _BROKEN_TEMPLATE.subn(_expand, text)
    return text


def _expand(match: re.Match[str]) -> str:
    name, *arguments = match[1].split("|")
    name = name.strip().lower()
    plain = [argument.strip() for argument in arguments if "=" not in argument]
    if name == "convert" and len(plain) >= 2:
        return f"{plain[0]} {plain[1]}"
    position = _SHOWN_ARGUMENT.get(name)
    return plain[position] if position is not None and plain else ""


def _label(match: re.Match[str]) -> str:
    if _MEDIA.match(match[1]):
        return ""
    return match[1].rpartition("|")[2].strip(" ")


def _drop_tables(text: str) -> str:
    kept, depth = [], 0
    for line in text.split("\n"):
        start = line.lstrip(" :*")
        depth += start.startswith("{|")
        if depth == 0:
            kept.append(line)
        elif start.startswith("|}"):
            depth -= 1
    return "\n".join(kept)


def _drop_strays(text: str) -> str:
    """Drop unpaired markers and empty brackets, repeatedly, as a removal can leave new ones."""
    count = 1
    while count:
        text, strays = _STRAY.subn("", text)
        text, brackets = _EMPTY_BRACKETS.subn("", text)
        count = strays + brackets
    return text


def _drop_link_sections(text: str) -> str:
    """Remove the markup of headings; drop link sections together with their subsections."""
    kept, hidden_below, at = [], 7, 0
    for heading in [*_HEADING.finditer(text), None]:
        end = heading.start() if heading else len(text)
        if hidden_below == 7:
            kept.append(text[at:end])
        if heading is None:
            break
        level, title = len(heading[1]), heading[2].strip("' ")
        if level <= hidden_below:
            hidden_below = level if title.lower() in _LINK_SECTIONS else 7
        if hidden_below == 7:
            kept.append(f"\n\n{title}\n\n")
        at = heading.end()
    return "".join(kept)
