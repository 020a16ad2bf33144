/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

/*
 * Everything newer than Linux 5.14 that we use is probed at run time and has
 * a fallback. GUESTLOCK_DISABLE=name,name forces fallbacks, so that every one
 * of them can be tested on one kernel.
 */
enum feature {
	FEATURE_URING,	       /* io_uring at all */
	FEATURE_DEFER_TASKRUN, /* SINGLE_ISSUER|DEFER_TASKRUN, 6.1 */
	FEATURE_COOP_TASKRUN,  /* 5.19 */
	FEATURE_MSG_RING,      /* workers post into the ring, 5.18 */
	FEATURE_OFD_LOCK_OP,   /* IORING_OP_OFD_LOCK, not released */
	FEATURE_GETLK_UNLCK,   /* F_OFD_GETLK with F_UNLCK, 6.6 */
	FEATURE_MEMFD_NOEXEC,  /* MFD_NOEXEC_SEAL, 6.3 */
	FEATURE_CLOSE_RANGE,   /* 5.9 */
	FEATURE_OPENAT2,       /* RESOLVE_NO_SYMLINKS|NO_XDEV, 5.6 */
	FEATURE_DIR_CHECK,     /* one re-check a directory, not a file */
	FEATURE_UDIAG_UID,     /* UDIAG_SHOW_UID, 5.3 */
	FEATURE_UNIX_DIAG,     /* sock_diag for AF_UNIX */
	FEATURE_STATMOUNT,     /* statmount(2), 6.8 */
	FEATURE_THREAD_CANCEL, /* pthread_cancel() of a waiting worker */
	FEATURE_PLAIN_TAKE,    /* a single disk without a transaction */
	_FEATURE_N,
};

/**
 * feature_allowed() - may @f be used, as far as GUESTLOCK_DISABLE says
 *
 * Says nothing about the kernel: the user of the feature probes that.
 * The environment is read once, at the first call; unknown names in it are
 * ignored here and reported by feature_unknown(). Any thread.
 */
bool feature_allowed(enum feature f);

/* The name that GUESTLOCK_DISABLE and `guestlock doctor` use. Static. */
const char *feature_name(enum feature f);

/* The first unknown name in GUESTLOCK_DISABLE, or NULL. Static. */
const char *feature_unknown(void);
