/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/ring.h"

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/feature.h"
#include "core/base/util.h"
#include "uring/local.h"

#include <linux/openat2.h>
#include <string.h>

/*
 * The io_uring half: local opens under one submit, and the place where workers
 * ring the bell.
 *
 * Every open carries RESOLVE_CACHED (see uring/local.c), so the kernel either
 * finishes it while it submits or answers -EAGAIN; it never hands it to a
 * kernel thread, and no request is left in the ring when ring_run_opens()
 * returns. That makes deadlines and abandonment the business of our own workers
 * alone, lets the ring be thrown away at any time, and is faster too: 500 cold
 * opens take 12 us each through the kernel's threads, 6 to 8 through ours.
 * IORING_FEAT_SUBMIT_STABLE lets a struct open_how be used again after submit.
 *
 * A stat never goes through the ring: the kernel always gives it to a thread.
 * Descriptors are never registered: a lock would outlive its close(2).
 *
 * DEFER_TASKRUN binds a ring to the thread that made it; after an engine moved
 * to another thread its ring is made anew, which is cheap: 12 us for 256
 * entries, 17 for 512, 90 for 2048. Longer batches go in pieces, since 256
 * entries stay in the cache: 0.369 us an open against 0.385 with 2048.
 *
 * IORING_OP_OFD_LOCK exists on a branch of liburing only. Where its header has
 * it, locks go the same way as opens if the running kernel has it too.
 */

#define RING_FEATURES                                                          \
	(IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG)

static const struct ring_kind {
	const char *name;
	enum feature feature;
	unsigned flags;
} ring_kinds[] = {
	{ "defer-taskrun", FEATURE_DEFER_TASKRUN,
	  IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
		  IORING_SETUP_DEFER_TASKRUN },
	{ "coop-taskrun", FEATURE_COOP_TASKRUN,
	  IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN },
	{ "plain", FEATURE_URING, 0 },
};

static const char *why_not(int error)
{
	switch (-error) {
	case EPERM:
	case EACCES:
		return "io_uring is switched off here (sysctl "
		       "kernel.io_uring_disabled, or a seccomp filter)";
	case ENOSYS:
		return "this kernel has no io_uring";
	case EINVAL:
		return "this kernel's io_uring is too old";
	default:
		return NULL;
	}
}

static int setup(struct ring *ring)
{
	int r = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(ring_kinds) && r == -EINVAL; i++) {
		const struct ring_kind *kind = &ring_kinds[i];

		if (!feature_allowed(kind->feature))
			continue;
		r = io_uring_queue_init(RING_ENTRIES, &ring->uring,
					kind->flags);
		if (r)
			continue;
		ring->flags = kind->name;
		if (kind->flags & IORING_SETUP_SINGLE_ISSUER)
			ring->issuer = gettid();
	}
	return r;
}

#ifdef HAVE_OFD_LOCK_OP
static bool has_lock_op(struct ring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->uring);
	bool has =
		probe && io_uring_opcode_supported(probe, IORING_OP_OFD_LOCK);

	io_uring_free_probe(probe);
	return has && feature_allowed(FEATURE_OFD_LOCK_OP);
}
#else
static bool has_lock_op(struct ring *ring)
{
	(void)ring;
	return false;
}
#endif

int ring_new(struct ring **ret_ring, const char **ret_why)
{
	struct ring *ring;
	int r;

	if (!feature_allowed(FEATURE_URING)) {
		*ret_why = "GUESTLOCK_DISABLE says so";
		return -EOPNOTSUPP;
	}
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring->hows = calloc(RING_ENTRIES, sizeof(*ring->hows));
	r = ring->hows ? setup(ring) : -ENOMEM;
	if (!r && (ring->uring.features & RING_FEATURES) != RING_FEATURES)
		r = -EINVAL;
	if (r) {
		ring_free(ring);
		*ret_why = why_not(r);
		return *ret_why ? -EOPNOTSUPP : r;
	}
	ring->lock_op = has_lock_op(ring);
	*ret_ring = ring;
	return 0;
}

struct ring *ring_free(struct ring *ring)
{
	if (!ring)
		return NULL;
	if (ring->flags)
		io_uring_queue_exit(&ring->uring);
	free(ring->hows);
	free(ring);
	return NULL;
}

bool ring_is_mine(const struct ring *ring)
{
	return !ring->issuer || ring->issuer == gettid();
}

/* Consume what is there; results go to @ops. Return: how many. */
static size_t reap(struct ring *ring, struct op *ops)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	size_t answers = 0;

	io_uring_for_each_cqe(&ring->uring, head, cqe)
	{
		n++;
		if (cqe->user_data == RING_WAKE)
			continue;
		ops[cqe->user_data].res = cqe->res;
		answers++;
	}
	io_uring_cq_advance(&ring->uring, n);
	return answers;
}

/* Submit what is prepared and get @n answers. */
static int run(struct ring *ring, struct op *ops, size_t n)
{
	while (n) {
		int r = io_uring_submit_and_wait(&ring->uring, (unsigned)n);

		n -= reap(ring, ops);
		if (r < 0 && r != -EINTR)
			return n ? r : 0;
	}
	return 0;
}

static void prepare_open(struct ring *ring, struct op *ops, size_t i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	local_try_how(&ops[i], &ring->hows[i]);
	io_uring_prep_openat2(sqe, ops[i].fd, ops[i].open.path, &ring->hows[i]);
	sqe->user_data = i;
}

#ifdef HAVE_OFD_LOCK_OP
static void prepare_lock(struct ring *ring, struct op *ops, size_t i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
	const struct op_lock *lock = &ops[i].lock;

	io_uring_prep_ofd_lock(sqe, ops[i].fd, lock->type,
			       (uint64_t)lock->start, (uint64_t)lock->len,
			       IORING_OFD_LOCK_NOWAIT);
	sqe->user_data = i;
}
#else
static void prepare_lock(struct ring *ring, struct op *ops, size_t i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	(void)ops;
	io_uring_prep_nop(sqe);
	sqe->user_data = i;
}
#endif

static int run_all(struct ring *ring, struct op *ops, size_t n,
		   void (*prepare)(struct ring *, struct op *, size_t))
{
	int r = 0;

	for (size_t i = 0; i < n; i++)
		ops[i].res = RING_UNANSWERED;
	for (size_t done = 0, k; done < n && !r; done += k) {
		k = MIN(n - done, (size_t)RING_ENTRIES);
		for (size_t i = 0; i < k; i++)
			prepare(ring, ops + done, i);
		r = run(ring, ops + done, k);
	}
	return r;
}

int ring_run_opens(struct ring *ring, struct op *ops, size_t n)
{
	return run_all(ring, ops, n, prepare_open);
}

int ring_run_locks(struct ring *ring, struct op *ops, size_t n)
{
	BUG_RETURN(!ring->lock_op, -ENOTRECOVERABLE);
	return run_all(ring, ops, n, prepare_lock);
}

int ring_wait(struct ring *ring, uint64_t ns)
{
	struct __kernel_timespec ts = {
		.tv_sec = (int64_t)(ns / NSEC_PER_SEC),
		.tv_nsec = (int64_t)(ns % NSEC_PER_SEC),
	};
	struct io_uring_cqe *cqe;
	int r = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &ts,
						 NULL);

	reap(ring, NULL);
	return r < 0 ? r : 0;
}
