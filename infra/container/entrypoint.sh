#!/bin/sh
# Secrets are files. A file named like a variable (upper case) is read into that variable, for this process only, so that
# the secret is in no image, no argument and no `docker inspect`. Files with other names are for programs that read files.
set -eu
for file in /run/secrets/[A-Z]*; do
    [ -f "$file" ] || continue
    export "${file##*/}=$(cat "$file")"
done
exec "$@"
