/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/err.h"

#include <stdio.h>
#include <stdlib.h>

static bool bug_fatal;

void bug_set_fatal(bool fatal)
{
	bug_fatal = fatal;
}

void bug_report(const char *file, int line, const char *what)
{
	if (!bug_fatal)
		return;
	fprintf(stderr, "guestlock: bug at %s:%d: %s\n", file, line, what);
	abort();
}
