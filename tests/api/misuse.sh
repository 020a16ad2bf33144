#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# misuse.sh SOURCE COMPILER...: what vir_lock_manager.h says that a compiler
# refuses or warns of is refused, and the same without the fault is not.
set -eu
include=$1/include
shift
failed=0

compile() {
	printf '%s\n' "#include <guestlock/vir_lock_manager.h>" \
		"bool use(virLockManagerPtr m);" \
		"bool use(virLockManagerPtr m) { $1 return true; }" |
		"$cc" -x "$language" "-std=$std" -Wall -Wextra -Werror \
			-S -o /dev/null -I "$include" - 2>/dev/null
}

accepts() {
	compile "$1" && return
	echo "$cc -std=$std refuses: $1"
	failed=1
}

refuses() {
	compile "$1" || return 0
	echo "$cc -std=$std accepts: $1"
	failed=1
}

for cc; do
	case $cc in
	*++*) language=c++ std=c++11 ;;
	*) language=c std=c99 ;;
	esac
	accepts 'if (!virLockManagerAcquireObject(m)) return false;'
	refuses 'virLockManagerAcquireObject(m);'
	refuses 'virLockManagerAcquireResource(m, 0, "/x", 0);'
	refuses 'virLockManagerReleaseResource(m, 0, "/x", 0);'
	refuses 'virLockManagerPrepareMigrate(m, "x");'
	refuses 'if (virLockManagerAcquireObject(m) < 0) return false;'
	accepts 'virLockManagerRegisterResource(m, 0, "/x", 0);'
	accepts 'virLockManagerSetParameter(m, "id", 1);'
	accepts 'virLockManagerSetParameter(m, "name", "x");'
	refuses 'virLockManagerSetParameter(m, "id", &m);'
	refuses 'virLockManagerSetParameter(m, "name", (void *)0);'
done
exit $failed
