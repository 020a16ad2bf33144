#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# unprivileged.sh PROGRAM LIBRARY COMMAND: run the test as a user who may do
# nothing but open its own disks, from a folder that this user can read.
set -eu
export GUESTLOCK_COMMAND="$3"
[ "$(id -u)" -eq 0 ] || exec "$1"
dir=$(mktemp -d "${TMPDIR:-/tmp}/glk-nobody.XXXXXX")
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
cp "$1" "$dir/test"
cp "$2" "$dir/libguestlock.so.0"
cp "$3" "$dir/guestlock"
chmod 755 "$dir/test" "$dir/libguestlock.so.0" "$dir/guestlock"
export GUESTLOCK_COMMAND="$dir/guestlock"
LD_LIBRARY_PATH=$dir setpriv --reuid=65534 --regid=65534 --clear-groups \
	--bounding-set=-all --no-new-privs "$dir/test"
