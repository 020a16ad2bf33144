#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# symbols.sh LIBRARY: it exports public calls, and not one name more.
set -eu
names=$(nm -D --defined-only "$1" | awk '{ print $3 }')
strangers=$(echo "$names" | grep -v -e '^glk_' -e '^GUESTLOCK_[0-9.]*$' || true)
[ -z "$strangers" ] || { echo "also exported:" "$strangers"; exit 1; }
echo "$names" | grep -q '^glk_version' || { echo "no glk_version"; exit 1; }
