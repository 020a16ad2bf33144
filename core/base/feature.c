/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/feature.h"

#include "core/base/util.h"

#include <pthread.h>
#include <string.h>

static const char *const feature_names[_FEATURE_N] = {
	[FEATURE_URING] = "uring",
	[FEATURE_DEFER_TASKRUN] = "defer-taskrun",
	[FEATURE_COOP_TASKRUN] = "coop-taskrun",
	[FEATURE_MSG_RING] = "msg-ring",
	[FEATURE_OFD_LOCK_OP] = "ofd-lock-op",
	[FEATURE_GETLK_UNLCK] = "getlk-unlck",
	[FEATURE_MEMFD_NOEXEC] = "memfd-noexec",
	[FEATURE_CLOSE_RANGE] = "close-range",
	[FEATURE_OPENAT2] = "openat2",
	[FEATURE_DIR_CHECK] = "dir-check",
	[FEATURE_UDIAG_UID] = "udiag-uid",
	[FEATURE_UNIX_DIAG] = "unix-diag",
	[FEATURE_STATMOUNT] = "statmount",
	[FEATURE_THREAD_CANCEL] = "thread-cancel",
	[FEATURE_PLAIN_TAKE] = "plain-take",
};

static pthread_once_t feature_once = PTHREAD_ONCE_INIT;
static bool feature_disabled[_FEATURE_N];
static char feature_stranger[64];

static void feature_disable(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(feature_names); i++) {
		if (strlen(feature_names[i]) == len &&
		    !memcmp(feature_names[i], name, len)) {
			feature_disabled[i] = true;
			return;
		}
	}
	if (len && !feature_stranger[0])
		memcpy(feature_stranger, name,
		       MIN(len, sizeof(feature_stranger) - 1));
}

static void feature_read(void)
{
	const char *s = getenv("GUESTLOCK_DISABLE");

	while (s && *s) {
		size_t len = strcspn(s, ", ");

		feature_disable(s, len);
		s += len;
		s += strspn(s, ", ");
	}
}

bool feature_allowed(enum feature f)
{
	pthread_once(&feature_once, feature_read);
	return !feature_disabled[f];
}

const char *feature_name(enum feature f)
{
	return feature_names[f];
}

const char *feature_unknown(void)
{
	pthread_once(&feature_once, feature_read);
	return feature_stranger[0] ? feature_stranger : NULL;
}
