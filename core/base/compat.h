/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Kernel constants that Debian bookworm's headers (Linux 6.1) may lack. The
 * numbers are the kernel's stable ABI. Having a constant says nothing about
 * the running kernel: see core/base/feature.h.
 */
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/unix_diag.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/fs.h>

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#define F_OFD_SETLKW 38
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif
#ifndef UDIAG_SHOW_UID
#define UDIAG_SHOW_UID 0x00000040 /* Linux 5.3 */
#define UNIX_DIAG_UID 7
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14 */
#endif
#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000U /* Linux 6.8 */
#endif
#ifndef SYS_statmount
#define SYS_statmount 457 /* Linux 6.8 */
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t) /* Linux 5.15 */
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* Linux never defined it publicly; net/core/scm.h, checked in tests/kernel. */
#define SCM_MAX_FD_COUNT 253
