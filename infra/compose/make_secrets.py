"""Generate the passwords and tokens for compose.yaml, one file each, in a folder that only its owner can enter.

The files are readable by all users, because Docker mounts them unchanged for users that the host does not know.
An existing folder is not changed, because PostgreSQL and MLflow keep the first password they got.
"""

import json
import secrets
import sys
from pathlib import Path

BYTES = 32


def make_secrets(folder: Path) -> list[str]:
    """Write the secrets to a new folder; return the names of its files.

    Raises:
        FileExistsError: the folder exists already.
    """
    folder.mkdir(mode=0o700, parents=True)
    access, secret = secrets.token_hex(10).upper(), secrets.token_hex(BYTES)
    account = {
        "name": "olmo",
        "credentials": [{"accessKey": access, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    texts = {
        "postgres_password": secrets.token_hex(BYTES),
        "prefect_auth": f"olmo:{secrets.token_hex(BYTES)}",
        "mlflow_password": secrets.token_hex(BYTES),
        "mlflow_secret_key": secrets.token_hex(BYTES),
        "ray_token": secrets.token_hex(BYTES),
        "s3_accounts": json.dumps({"identities": [account]}),
        "aws_credentials": f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o444)
    return sorted(texts)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m infra.compose.make_secrets FOLDER")
    try:
        made = make_secrets(Path(sys.argv[1]))
    except FileExistsError:
        sys.exit(f"{sys.argv[1]} exists already; keep it, or remove it and the volumes that use its passwords")
    print(f"{sys.argv[1]}: {', '.join(made)}")
