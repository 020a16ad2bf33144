/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/fds.h"

#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"

#include <limits.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

/*
 * The table of descriptors doubles when it is full. If other tasks share it (a
 * second thread is enough), each doubling waits for an RCU grace period: 2000
 * opens in a fresh process take 32.6 ms then, and 11.2 ms with the one step of
 * fds_reserve(). Alone they take 1.97 ms and 1.34 ms. (The step itself: 1 us.)
 *
 * Closing 500 duplicates takes 0.140 us each by close(2), 0.067 us each by
 * close_range(2), in one call.
 */

#define RUN_MIN 2 /* descriptors: from here on close_range(2) is faster */

/*
 * Grows the table to hold @n from the lowest free number on. If some of these
 * numbers are taken, the opens go beyond; then it is one more doubling.
 */
int fds_reserve(size_t n)
{
	_cleanup_(fd_closep) int low = -1, high = -1;
	struct rlimit limit;

	if (!n)
		return 0;
	low = eventfd(0, EFD_CLOEXEC);
	if (low < 0)
		return -errno;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	if (n > limit.rlim_cur || (rlim_t)low > limit.rlim_cur - n)
		return -EMFILE;
	high = fcntl(low, F_DUPFD_CLOEXEC, low + (int)n - 1);
	if (high < 0 && errno != EMFILE && errno != EINVAL)
		return -errno;
	return 0;
}

/* How many of @fds, from the first on, are consecutive numbers. */
static size_t run_length(const int *fds, size_t n)
{
	size_t k = 1;

	while (k < n && fds[0] >= 0 && fds[k - 1] < INT_MAX &&
	       fds[k] == fds[k - 1] + 1)
		k++;
	return k;
}

static bool close_run(int first, int last)
{
	return feature_allowed(FEATURE_CLOSE_RANGE) &&
	       syscall(SYS_close_range, first, last, 0) == 0;
}

void fds_close_many(int *fds, size_t n)
{
	for (size_t i = 0, k; i < n; i += k) {
		k = run_length(fds + i, n - i);
		if (fds[i] >= 0 &&
		    (k < RUN_MIN || !close_run(fds[i], fds[i + k - 1])))
			for (size_t j = i; j < i + k; j++)
				fd_close(fds[j]);
		for (size_t j = i; j < i + k; j++)
			fds[j] = -1;
	}
}
