#!/bin/sh
# Secrets come as files. One whose name is that of a variable (upper case) is read into it, for this process only, so that
# it is in no image, no argument and no `docker inspect`; files with other names are for programs that read files.
set -eu
for file in /run/secrets/[A-Z]*; do
    [ -f "$file" ] || continue
    export "${file##*/}=$(cat "$file")"
done
exec "$@"
