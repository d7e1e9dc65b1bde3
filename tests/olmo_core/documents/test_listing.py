import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from remote_files import Web

from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.listing import File, ListingError, list_files, tag_of


def listed(*patterns: str | Path) -> list[File]:
    return list_files([str(pattern) for pattern in patterns], FileDigests().of)


def names(*patterns: str | Path) -> list[str]:
    return [file.address.rpartition("/")[2] for file in listed(*patterns)]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def put(address: str, content: bytes) -> None:
    with fsspec.open(address, "wb") as file:
        file.write(content)


def refusal(*patterns: str | Path) -> str:
    with pytest.raises(ListingError) as error:
        listed(*patterns)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_files_are_sorted_and_each_is_listed_once(tmp_path: Path) -> None:
    write(tmp_path, "b.jsonl", "a.jsonl", "c.txt")
    assert names(tmp_path / "*.txt", tmp_path / "*.jsonl", tmp_path / "a*", tmp_path / "a.jsonl") == [
        "a.jsonl",
        "b.jsonl",
        "c.txt",
    ]
    assert listed(tmp_path / "a.jsonl") == [
        File(str(tmp_path / "a.jsonl"), 7, f"sha256:{hashlib.sha256(b'a.jsonl').hexdigest()}")
    ]


def test_one_file_has_one_address_by_any_path(tmp_path: Path) -> None:
    write(tmp_path, "data/a.jsonl", "recipes/r.yaml")
    around = tmp_path / "recipes" / ".." / "data"
    assert listed(around / "*.jsonl", around / "a.jsonl", around, tmp_path / "data") == listed(
        tmp_path / "data/a.jsonl"
    )


def test_folder_is_all_files_in_it(tmp_path: Path) -> None:
    write(tmp_path, "z.jsonl", "one/a.jsonl", "one/two/b.gz")
    for folder in (tmp_path, f"{tmp_path}/", f"file://{tmp_path}", f"{tmp_path}/**"):
        assert names(folder) == ["a.jsonl", "b.gz", "z.jsonl"]


def test_hidden_and_underscore_names_are_left_out(tmp_path: Path) -> None:
    root = write(tmp_path / ".cache" / "_in", "a", ".b", "_SUCCESS", "_tmp/c", "x/.git/d", "x/e", "x/f_1")
    assert names(root) == names(f"{root}/**") == ["a", "e", "f_1"]
    assert names(f"{root}/*") == ["a"]
    assert names(f"{root}/x/f*") == ["f_1"]
    assert names(f"{root}/?", f"{root}/x/?_1") == ["a", "f_1"]


def test_hidden_name_is_listed_where_it_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "_part_1", "_part_2", "part_3", "_tmp/part_4", "_tmp/_part_5")
    assert names(tmp_path / "_part_1") == ["_part_1"]
    assert names(tmp_path / "_part*") == ["_part_1", "_part_2"]
    assert names(tmp_path / "_tmp" / "*") == names(tmp_path / "_t*" / "*") == ["part_4"]


@pytest.mark.parametrize("name", ["a[1].jsonl", "what?.jsonl", "a b.jsonl", "a#b.jsonl", "50%20.jsonl", "a::b", "*"])
def test_name_with_special_characters_is_itself_if_it_exists(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "a1.jsonl", "whats.jsonl")
    assert names(tmp_path / name) == [name]
    assert name in names(tmp_path)


@pytest.mark.parametrize("name", ["a[1].jsonl", "a b.jsonl", "a#b.jsonl", "50%20.jsonl"])
def test_remote_name_with_special_characters_is_itself(bucket: str, memory: str, name: str) -> None:
    for root in (f"{bucket}/special", memory):
        put(f"{root}/{name}", b"x")
        put(f"{root}/a1.jsonl", b"x")
        assert names(f"{root}/{name}") == [name]
        assert name in names(root)


def test_question_mark_and_brackets_are_patterns(tmp_path: Path) -> None:
    write(tmp_path, "a1.jsonl", "a2.jsonl", "a3.jsonl")
    assert names(tmp_path / "a[12].jsonl") == ["a1.jsonl", "a2.jsonl"]
    assert names(tmp_path / "a?.jsonl") == ["a1.jsonl", "a2.jsonl", "a3.jsonl"]


def test_links_to_files_are_read_by_the_name_of_the_link(tmp_path: Path) -> None:
    write(tmp_path, "blobs/3f", "snapshot/b.jsonl")
    (tmp_path / "snapshot/a.jsonl").symlink_to(tmp_path / "blobs/3f")
    for pattern in ("snapshot", "snapshot/*", "snapshot/**/*.jsonl"):
        assert names(tmp_path / pattern) == ["a.jsonl", "b.jsonl"]
    (link,) = listed(tmp_path / "snapshot/a.jsonl")
    assert (link.bytes, link.tag) == (8, listed(tmp_path / "blobs/3f")[0].tag)


def test_link_to_no_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "b.jsonl")
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone")
    for pattern in ("", "*.jsonl", "a.jsonl"):
        assert str(tmp_path / "a.jsonl") in refusal(tmp_path / pattern)


def test_link_to_a_folder_is_not_left_out_silently(tmp_path: Path) -> None:
    write(tmp_path, "other/b.jsonl", "data/a.jsonl")
    (tmp_path / "data/more").symlink_to(tmp_path / "other")
    assert refusal(tmp_path / "data") == (
        f"{tmp_path}/data/more is a link to a folder, which is not followed; list that folder by its path"
    )
    assert names(tmp_path / "data/more") == ["b.jsonl"]
    assert names(tmp_path / "data/*") == ["a.jsonl"]


def test_unknown_scheme_is_refused() -> None:
    for address in ("ftp://host/a", "zip://a.jsonl::/data/a.zip", "simplecache::s3://bucket/a"):
        message = refusal(address)
        assert message.startswith(address) and message.endswith(
            "is not read from; there are file, gs, hf, http, https, memory, s3"
        )


def test_address_that_matches_nothing_is_named(tmp_path: Path, memory: str, bucket: str, web: Web) -> None:
    (tmp_path / "empty").mkdir()
    for root in (str(tmp_path), f"file://{tmp_path}", memory, bucket, web.url):
        for address in (f"{root}/none.jsonl", f"{root}/none*.jsonl"):
            assert refusal(address).startswith(address)
    assert refusal(tmp_path / "empty") == (
        f"{tmp_path}/empty: no such file; give an address, a pattern or a folder that has files"
    )


def test_bucket_that_does_not_exist_is_named(bucket: str) -> None:
    for address in ("s3://no-such-bucket/a.jsonl", "s3://no-such-bucket/*.jsonl", "s3://no-such-bucket"):
        assert refusal(address).startswith(address)


def test_missing_access_is_refused_with_the_address(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/a.jsonl"], web.status = b"x", 403
    message = refusal(f"{web.url}/a.jsonl")
    assert message.startswith(f"{web.url}/a.jsonl cannot be listed: ") and "403" in message

    def closed(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    digests = FileDigests()
    monkeypatch.setattr(digests, "of", closed)
    write(tmp_path, "a")
    with pytest.raises(ListingError, match=rf"^{re.escape(str(tmp_path))}/a cannot be read: Permission denied$"):
        list_files([str(tmp_path)], digests.of)


def test_error_of_several_lines_becomes_one(monkeypatch: pytest.MonkeyPatch, memory: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError("Forbidden:\n  you may not\n  list this")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.info", fail)
    address = f"{memory}/a"
    assert refusal(address) == f"{address} cannot be listed: PermissionError: Forbidden: you may not list this"


@pytest.mark.parametrize("store", ["local", "file", "memory", "s3", "web"])
def test_changed_file_gets_another_tag(store: str, tmp_path: Path, memory: str, bucket: str, web: Web) -> None:
    def put_web(content: bytes) -> None:
        web.files["/a.jsonl"] = content

    address, change = {
        "local": (f"{tmp_path}/a.jsonl", (tmp_path / "a.jsonl").write_bytes),
        "file": (f"file://{tmp_path}/a.jsonl", (tmp_path / "a.jsonl").write_bytes),
        "memory": (f"{memory}/a.jsonl", lambda content: put(f"{memory}/a.jsonl", content)),
        "s3": (f"{bucket}/tags/a.jsonl", lambda content: put(f"{bucket}/tags/a.jsonl", content)),
        "web": (f"{web.url}/a.jsonl", put_web),
    }[store]
    changing: Callable[[bytes], object] = change
    changing(b"one")
    before = listed(address)
    assert listed(address) == before
    assert [file.bytes for file in before] == [3]
    assert before[0].address.endswith("/a.jsonl")
    changing(b"two")
    after = listed(address)
    assert after[0].tag != before[0].tag and after[0].address == before[0].address
    assert listed(after[0].address) == after, "the address of a file can be listed again"


def test_change_by_another_machine_is_seen_in_a_bucket(bucket: str) -> None:
    put(f"{bucket}/other/a.jsonl", b"one")
    before = listed(f"{bucket}/other"), listed(f"{bucket}/other/*")
    elsewhere = fsspec.filesystem("s3", skip_instance_cache=True)
    elsewhere.pipe_file(f"{bucket}/other/a.jsonl".removeprefix("s3://"), b"two")
    elsewhere.pipe_file(f"{bucket}/other/b.jsonl".removeprefix("s3://"), b"two")
    after = listed(f"{bucket}/other"), listed(f"{bucket}/other/*")
    assert [len(files) for files in (*before, *after)] == [1, 1, 2, 2]
    assert before[0][0].tag != after[0][0].tag == after[1][0].tag


def test_files_in_a_bucket_are_found_by_folder_and_pattern(bucket: str) -> None:
    for name in ("b.jsonl", "a.jsonl", "_SUCCESS", "x/c.jsonl"):
        put(f"{bucket}/many/{name}", name.encode())
    assert [file.address for file in listed(f"{bucket}/many")] == [
        f"{bucket}/many/{name}" for name in ("a.jsonl", "b.jsonl", "x/c.jsonl")
    ]
    assert names(f"{bucket}/many/*.jsonl", f"{bucket}/many/**/c*") == ["a.jsonl", "b.jsonl", "c.jsonl"]
    content = hashlib.md5(b"a.jsonl").hexdigest()
    assert listed(f"{bucket}/many/a.jsonl")[0].tag == f"ETag:{content}", "without the quotes that S3 sends"


def test_server_with_only_a_time_of_change_is_listed(web: Web) -> None:
    web.files["/a.jsonl"] = b"x"
    web.tags = lambda _: {"Last-Modified": "Sat, 28 Nov 2026 06:00:00 GMT"}
    assert listed(f"{web.url}/a.jsonl")[0].tag == "Last-Modified:Sat, 28 Nov 2026 06:00:00 GMT"


def test_server_without_a_tag_is_refused_with_the_remedy(web: Web) -> None:
    web.files["/a.jsonl"], web.tags = b"x", lambda _: {}
    assert refusal(f"{web.url}/a.jsonl") == (
        f"{web.url}/a.jsonl: its server gives neither an ETag nor a time of change, so a changed file would not be "
        "noticed; copy it to a disk or a bucket"
    )


def test_address_with_a_query_is_itself(web: Web) -> None:
    web.files["/a.jsonl?download=1"] = b"x"
    assert [file.address for file in listed(f"{web.url}/a.jsonl?download=1")] == [f"{web.url}/a.jsonl?download=1"]


def test_tag_of_google_does_not_change_with_metadata() -> None:
    assert tag_of("gs://b/a", {"etag": "CJ=", "md5Hash": "abc", "updated": "2026"}) == "md5Hash:abc"
