"""Reader of the Bible translations in the `pythonbible` packages: literary English, one document per chapter.

A Python module contains the text as one string, with a table of where each verse begins and one of where it ends. The
module is read as text; it is never imported.
"""

import ast
import re
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field

from olmo_core.documents.document import Document
from olmo_core.documents.sources.archive import ArchiveError, address, read_members
from olmo_core.documents.sources.source import ArchiveSource

_TEXT = re.compile(r'""".*?"""', re.DOTALL)
_VERSE = re.compile(r"^\s+(\d{7,8}): (\d+),$", re.MULTILINE)
_SUPPLIED = re.compile(r"[\[\]]")


class PythonBibleSource(ArchiveSource):
    """A translation of the Bible, from a module `plain_text_readers_bible.py`."""

    reader: Literal["pythonbible"] = Field(description="Kind of reader.")
    member: str = Field(description="Shell pattern of the module inside the archive.")

    def documents(self, archive: Path) -> Iterator[Document]:
        """Yield the chapters in order, with id `book/chapter` by number; brackets around supplied words are removed.

        Raises:
            ArchiveError: the member is missing or has another form.
        """
        for name, content in read_members(archive, [self.member]):
            source = content.decode()
            literal = _TEXT.search(source)
            starts: dict[int, int] = {}
            for number, position in _VERSE.findall(source):
                starts.setdefault(int(number), int(position))  # the second table has the ends
            if literal is None or not starts:
                raise ArchiveError(f"{archive.name}: {name} has no text with a table of verses")
            text = ast.literal_eval(literal[0])
            # A verse is numbered book * 10^6 + chapter * 10^3 + verse.
            chapters = [(key, next(group)[1]) for key, group in groupby(starts.items(), lambda verse: verse[0] // 1000)]
            for (key, start), (_, end) in pairwise([*chapters, (0, len(text))]):
                chapter = _SUPPLIED.sub("", text[start:end]).strip()
                yield Document(f"{key // 1000:02d}/{key % 1000:03d}", chapter, source=address(archive, name))
