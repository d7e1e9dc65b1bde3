"""Reader of documentation in reStructuredText; prose, headings, lists and examples are kept.

Markup for the builder is removed: targets, comments, options, substitution definitions, and directives that list, index
or show pictures. Roles and links become the text that a reader sees.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from olmo_core.documents.document import Document
from olmo_core.documents.sources.archive import address, read_members
from olmo_core.documents.sources.source import ArchiveSource

# Directives whose body is text for the reader; all others are removed with their body.
# fmt: off
_SHOWN_DIRECTIVES = frozenset({
    "admonition", "attention", "caution", "danger", "error", "hint", "important", "note", "seealso", "tip", "warning",
    "versionadded", "versionchanged", "versionremoved", "deprecated",
    "centered", "compound", "epigraph", "glossary", "pull-quote", "rubric", "sidebar", "snippet", "topic",
    "code", "code-block", "console", "doctest", "highlight", "math", "parsed-literal", "plot", "sourcecode",
    "attribute", "class", "classmethod", "data", "decorator", "describe", "exception", "function", "method", "module",
    "property", "staticmethod",
    "confval", "django-admin", "django-admin-option", "event", "fieldlookup", "option", "setting",
    "templatefilter", "templatetag",
    "py:class", "py:function", "py:method", "rst:directive", "rst:directive:option", "rst:role",
})
# fmt: on
_EXPLICIT = re.compile(r"^(?P<indent>\s*)\.\.(?:\s+(?P<rest>.*))?$")
_DIRECTIVE = re.compile(r"^(?P<name>[\w:+-]+)::\s*(?P<argument>.*)$")
_OPTION = re.compile(r"^\s+:[\w -]+:")
_RULE = re.compile(r"^\s*(?:([=\-`:'\"~^_*+#<>.!])\1{2,}|[+=\-][+=\- |]*[+=\-])\s*$")
_ROLE = re.compile(r":[a-zA-Z][\w:+-]*:`!?~?([^`<]*?)(?:\s*<([^`>]*)>)?`", re.DOTALL)
_SHORT_ROLE = re.compile(r":[a-zA-Z][\w:+-]*:`~(?:[\w]+\.)*([^`.]+)`")
_NAMED_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?", re.DOTALL)
_REFERENCE = re.compile(r"`([^`]+)`__?(?!\w)")
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)
_STRONG = re.compile(r"\*\*(\S(?:.*?\S)?)\*\*")
_EMPHASIS = re.compile(r"(?<![\w*])\*(\S(?:[^*\n]*?\S)?)\*(?![\w*])")
_DOUBLE_COLON = re.compile(r"\s?::$", re.MULTILINE)
_MANY_LINES = re.compile(r"\n\s*\n+")


class RestructuredSource(ArchiveSource):
    """Documentation pages in reStructuredText, from a source archive."""

    reader: Literal["restructured"] = Field(description="Kind of reader.")
    members: tuple[str, ...] = Field(description="Shell patterns of the pages inside the archive.", min_length=1)

    def documents(self, archive: Path) -> Iterator[Document]:
        """Yield one document per page, with its path in the archive as id.

        Raises:
            ArchiveError: a pattern matches nothing.
            ValueError: a page is not UTF-8; names the page.
        """
        for name, content in read_members(archive, self.members):
            try:
                yield Document(name, plain_text(content.decode()), source=address(archive, name))
            except UnicodeDecodeError as error:
                raise ValueError(f"{archive.name}: {name} is not UTF-8 ({error}); narrow the patterns") from error


def plain_text(source: str) -> str:
    """Return the text that a reader of the built page sees; code examples stay indented."""
    text = "\n".join(line for line in _visible_lines(source.splitlines()) if not _RULE.match(line))
    text = _SHORT_ROLE.sub(r"\1", text)
    text = _ROLE.sub(lambda match: match[1] or match[2] or "", text)
    text = _NAMED_LINK.sub(r"\1", text)
    text = _LITERAL.sub(r"\1", text)
    text = _REFERENCE.sub(r"\1", text)
    text = _EMPHASIS.sub(r"\1", _STRONG.sub(r"\1", text))
    text = _DOUBLE_COLON.sub(":", text)
    return _MANY_LINES.sub("\n\n", text).strip()


def _visible_lines(lines: list[str]) -> Iterator[str]:
    hidden_at: int | None = None  # indent of the explicit block whose body is left out
    in_options = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if hidden_at is not None:
            if not line.strip() or indent > hidden_at:
                continue
            hidden_at = None
        if in_options and _OPTION.match(line):
            continue
        in_options = False
        explicit = _EXPLICIT.match(line)
        if explicit is None:
            yield line
            continue
        directive = _DIRECTIVE.match(explicit["rest"] or "")
        if directive is None or directive["name"] not in _SHOWN_DIRECTIVES:
            hidden_at = indent
            continue
        in_options = True
        argument = directive["argument"]
        code = directive["name"] in ("code-block", "code", "sourcecode", "highlight", "console")
        if argument and not code:
            yield explicit["indent"] + argument
