/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/inside.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/err.h"
#include "core/base/util.h"
#include "core/capsule/identity.h"
#include "core/capsule/mutex.h"
#include "core/capsule/name.h"
#include "core/capsule/pack.h"
#include "core/capsule/proc.h"

#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/un.h>

/*
 *   maker, pushers ──▶ A ═══════▶ queue of B ◀── the guest has B open, and
 *                      ▲   ┌──────────────────┐  never reads from it
 *                      │   │ header: A, ident │◀─ readers borrow B and peek
 *                      └───┼── (in flight)    │
 *                          │ leases: fd fd fd │   each fd is an open file
 *                          │ bundle: socket ──┼─▶ description with a lock
 *                          └──────────────────┘
 *
 * Descriptors in the queue are references to open file descriptions, and an
 * OFD lock lives as long as its description. The queue is freed when the last
 * descriptor of B is closed. So the locks live exactly as long as the guest,
 * whatever becomes of us, and nothing is written down anywhere else.
 *
 * A is in the queue, so whoever can borrow B can also push; B is not, so there
 * is no cycle that the kernel's collector would free. Nothing can be sent from
 * B to A: it would outlive the guest in everybody who has A open.
 *
 * For the same reason an adopted capsule keeps A, the identity and a pidfd,
 * and borrows B for the time of one operation: a duplicate of B kept open
 * keeps the locks of a dead guest. While a list of leases is looked at, its
 * duplicates do, too.
 *
 * Who is trusted: B's name was bound by its maker once and for all; the owner
 * of the socket, its peer credentials and the owner of the identity are the
 * maker's uid; A is the socket that sock_diag says is B's peer, or, where there
 * is no sock_diag, whose peer has B's name. Everything else in the queue is the
 * guest's to forge, and costs it its own leases only: a lease counts if its
 * descriptor holds its lock.
 *
 * What a guest can do and we cannot prevent: close B, unlock its own disks,
 * refuse messages, and stall its readers, if it can stall its own page faults
 * or serve files by FUSE. A keeper (CAPSULE_KEEPER) takes B out of its hands.
 */

struct capsule *capsule_alloc(void)
{
	struct capsule *c = calloc(1, sizeof(*c));

	if (c)
		c->a = c->b = c->identity = c->keeper.pidfd = c->keeper_b = -1;
	return c;
}

struct capsule *capsule_free(struct capsule *c)
{
	if (!c)
		return NULL;
	fd_close(c->b);
	fd_close(c->a);
	fd_close(c->identity);
	fd_close(c->keeper.pidfd);
	free(c);
	return NULL;
}

static void capsule_freep(struct capsule **c)
{
	capsule_free(*c);
}

int capsule_of_queue(int e)
{
	switch (e) {
	case QUEUE_E_FULL:
		return CAPSULE_E_FULL;
	case QUEUE_E_INFLIGHT:
		return CAPSULE_E_INFLIGHT;
	case QUEUE_E_GONE:
		return CAPSULE_E_GONE;
	case QUEUE_E_BUSY:
		return CAPSULE_E_BUSY;
	case QUEUE_E_NOFILE:
		return CAPSULE_E_NOFILE;
	default:
		BUG_RETURN(e > 0, -ENOTRECOVERABLE);
		return e;
	}
}

static int bind_name(struct capsule *c, pid_t holder_pid)
{
	const struct name_parts parts = {
		.uuid = c->who.uuid,
		.pid = holder_pid ? holder_pid : getpid(),
		.fd = c->b,
		.nonce = c->who.nonce,
	};
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char name[CAPSULE_SOCKNAME_MAX + 1];
	int n;

	n = name_format(&parts, name, sizeof(name));
	if (n < 0)
		return n;
	memcpy(sun.sun_path + 1, name, (size_t)n);
	if (bind(c->b, (struct sockaddr *)&sun,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			     (size_t)n)) < 0)
		return -errno;
	return 0;
}

static int fill_nonce(struct capsule *c)
{
	uint64_t *nonce = &c->who.nonce;

	if (!*nonce && getrandom(nonce, sizeof(*nonce), 0) != sizeof(*nonce))
		return -errno;
	return 0;
}

/*
 * When this process began never changes, and to read it costs as much as the
 * socket pair. A fork()ed child has another pid. 0 without /proc.
 */
static uint64_t own_start_time(void)
{
	static _Thread_local struct {
		pid_t pid;
		uint64_t start;
	} known;
	pid_t pid = getpid();

	if (known.pid == pid)
		return known.start;
	if (proc_start_time(pid, &known.start))
		return 0;
	known.pid = pid;
	return known.start;
}

static int fill_identity(struct capsule *c)
{
	struct stat st;

	if (fstat(c->b, &st) < 0)
		return -errno;
	c->ino = (uint32_t)st.st_ino;
	c->uid = st.st_uid;
	c->who.maker_pid = getpid();
	c->who.created = clock_ns(CLOCK_REALTIME);
	c->who.maker_start = own_start_time();
	return 0;
}

/*
 * The queue, what makes it a capsule (itself and its identity), and its name.
 * In this order: who finds the name adopts it at once, and would take one whose
 * header is still to come for one whose guest has thrown it away.
 */
static int make(struct capsule *c, pid_t holder_pid)
{
	int r;

	r = queue_new(&c->a, &c->b);
	if (r)
		return capsule_of_queue(r);
	r = fill_nonce(c);
	if (!r)
		r = fill_identity(c);
	if (r)
		return r;
	r = identity_new(&c->who, &c->identity);
	if (r)
		return r == IDENTITY_E_NOFILE ? CAPSULE_E_NOFILE : r;
	r = capsule_of_queue(pack_send_header(c->a, c->identity));
	return r ? r : bind_name(c, holder_pid);
}

int capsule_new(const struct capsule_identity *who, pid_t holder_pid,
		struct capsule **ret_capsule)
{
	_cleanup_(capsule_freep) struct capsule *c = NULL;
	int r;

	r = identity_check(who);
	if (r)
		return r;
	c = capsule_alloc();
	if (!c)
		return -ENOMEM;
	c->who = *who;
	r = make(c, holder_pid);
	if (r)
		return r;
	*ret_capsule = TAKE_PTR(c);
	return 0;
}

int capsule_fd(const struct capsule *c)
{
	return c->b;
}

bool capsule_is(const struct capsule *c, const struct capsule_entry *entry)
{
	return c->ino == entry->ino && c->who.nonce == entry->nonce &&
	       !memcmp(&c->who.uuid, &entry->uuid, sizeof(entry->uuid));
}

bool capsule_is_in(const struct capsule *c, pid_t pid)
{
	return proc_has_socket(pid, c->ino);
}

bool capsule_readable(const struct capsule *c)
{
	return c->b >= 0 || c->keeper.pid;
}

void capsule_let_go(struct capsule *c)
{
	c->b = fd_close(c->b);
}

const struct capsule_identity *capsule_identity(const struct capsule *c)
{
	return &c->who;
}

const struct capsule_keeper *capsule_keeper(const struct capsule *c)
{
	return c->keeper.pid ? &c->keeper : NULL;
}

uid_t capsule_uid(const struct capsule *c)
{
	return c->uid;
}

static int lock(struct capsule *c, enum mutex_byte byte, uint64_t deadline,
		int *ret_mutex)
{
	int r = mutex_lock(c->identity, byte, deadline, ret_mutex);

	if (r == MUTEX_E_BUSY)
		return CAPSULE_E_BUSY;
	if (r == -EMFILE || r == -ENFILE)
		return CAPSULE_E_NOFILE;
	return r;
}

int capsule_mutex(struct capsule *c, uint64_t deadline, int *ret_mutex)
{
	int r = lock(c, MUTEX_QUEUE, deadline, ret_mutex);

	if (r == CAPSULE_E_BUSY)
		*ret_mutex = -1;
	return r;
}

int capsule_turn(struct capsule *c, uint64_t deadline, int *ret_turn)
{
	if (c->identity < 0)
		return CAPSULE_E_FORGED;
	return lock(c, MUTEX_TURN, deadline, ret_turn);
}

int capsule_turn_over(int turn)
{
	return mutex_unlock(turn);
}

size_t capsule_fds_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	return (size_t)MIN(limit.rlim_cur, 4 * QUEUE_MESSAGES_MAX) / 4 * 3;
}

const char *capsule_strerror(int e)
{
	switch (e) {
	case 0:
		return "success";
	case CAPSULE_E_GONE:
		return "the guest is gone";
	case CAPSULE_E_FORGED:
		return "the capsule is not authentic";
	case CAPSULE_E_DENIED:
		return "no permission to look into the guest";
	case CAPSULE_E_BUSY:
		return "the capsule is blocked";
	case CAPSULE_E_FULL:
		return "the capsule is full";
	case CAPSULE_E_INFLIGHT:
		return "too many descriptors of this user are parked "
		       "(RLIMIT_NOFILE)";
	case CAPSULE_E_NOFILE:
		return "too many open files";
	default:
		return "unknown error";
	}
}
