#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# pkgconfig.sh BUILD SOURCE CC...: install into a folder, build README's example
# against what is there, as another project would, and run it.
set -eu
build=$1 here=$2/tests/api
shift 2
dest=$(mktemp -d "${TMPDIR:-/tmp}/glk-install.XXXXXX")
trap 'rm -rf "$dest"' EXIT

meson install -C "$build" --no-rebuild --quiet --destdir "$dest" >/dev/null
pc=$(find "$dest" -name guestlock.pc)
[ -f "$pc" ] || { echo "no guestlock.pc was installed"; exit 1; }
lib=$(find "$dest" -name libguestlock.so)
[ -e "$lib" ] || { echo "no libguestlock.so was installed"; exit 1; }

export PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$dest"
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
flags=$(pkg-config --cflags --libs guestlock)
# shellcheck disable=SC2086 # flags are words
"$@" -std=c99 -Wall -Wextra -Werror -o "$dest/example" \
	"$here/example_vmm.c" $flags
LD_LIBRARY_PATH=${lib%/*} "$here/example.py" vmm "$dest/example"

# By its soname, so that a later 0.x can take its place.
readelf -d "$dest/example" | grep -q 'NEEDED.*\[libguestlock\.so\.0\]' || {
	echo "the example does not need libguestlock.so.0"
	exit 1
}
