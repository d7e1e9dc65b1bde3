"""Reader of Wikipedia dumps: the articles of a `pages-articles` XML file in an archive, as plain text."""

import bz2
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from pydantic import Field

from olmo_core.documents.document import Document
from olmo_core.documents.sources.archive import ArchiveError, address, read_members
from olmo_core.documents.sources.source import ArchiveSource
from olmo_core.documents.sources.wikitext import plain_text


class WikipediaSource(ArchiveSource):
    """Articles of a MediaWiki XML dump."""

    reader: Literal["wikipedia"] = Field(description="Kind of reader.")
    member: str = Field(description="Shell pattern of the `.xml.bz2` or `.bz2` dump inside the archive.")

    def documents(self, archive: Path) -> Iterator[Document]:
        """Yield the articles (namespace 0, no redirects) as title, blank line, text; the id ends in the page number.

        Raises:
            ArchiveError: the member is missing or is not an XML dump.
        """
        for name, packed in read_members(archive, [self.member]):
            try:
                for page, title, markup in _articles(bz2.decompress(packed)):
                    text = f"{title}\n\n{plain_text(markup)}"
                    yield Document(f"enwiki/{page}", text, source=address(archive, name))
            except (OSError, ValueError, ElementTree.ParseError) as error:
                raise ArchiveError(f"{archive.name}: {name} is not a bzip2 XML dump: {error}") from error


def _articles(xml: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield page number, title and markup; every tag of a dump has the schema's namespace."""
    for _, page in ElementTree.iterparse(BytesIO(xml)):
        if not page.tag.endswith("}page"):
            continue
        if page.findtext("{*}ns") == "0" and page.find("{*}redirect") is None:
            number, title = page.findtext("{*}id"), page.findtext("{*}title")
            yield str(number), str(title), page.findtext("{*}revision/{*}text") or ""
        page.clear()
