"""The format of a file by its name, and the names of those that can be read."""

import pytest

from olmo_core.documents.formats import Format, format_of, known_suffixes, readers
from olmo_core.documents.sources.jsonl import JsonlSource


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("/a/b.jsonl", Format(".jsonl", "", "jsonl")),
        ("s3://a/b.c.json.gz", Format(".json.gz", "gz", "jsonl")),
        ("/a/b.ndjson.zst", Format(".ndjson.zst", "zst", "jsonl")),
        ("/a.jsonl/b.bin", Format(".bin", "", "")),
        ("/a.jsonl.d/README", Format("", "", "")),
        ("/a/README", Format("", "", "")),
        ("/a/b.warc.xz", Format(".warc.xz", "xz", "")),
        ("/a/b.gz", Format(".gz", "gz", "")),
    ],
)
def test_a_format_has_a_suffix_a_compression_and_a_reader(address: str, found: Format) -> None:
    assert format_of(address) == found


def test_every_reader_of_files_is_known_by_its_name_and_has_suffixes() -> None:
    assert readers()["jsonl"] is JsonlSource
    assert [name for name, reader in readers().items() if not reader.SUFFIXES or name not in known_suffixes()] == []
    assert "wikipedia" not in readers()
