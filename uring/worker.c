/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/worker.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"
#include "uring/held.h"
#include "uring/local.h"
#include "uring/pool.h"

#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

/*
 * A thread for what may take long. io_uring has no lock operation, and a lock
 * on a network file system is a round trip in fcntl(2); so is an open there.
 *
 * Stopping a wait. fcntl(F_OFD_SETLKW) can only be interrupted by a signal, and
 * a library has no signal to install a handler for. But it is a cancellation
 * point, and glibc has a signal of its own for that: pthread_cancel() ends the
 * wait and with it the thread, whose cleanup handler does what the thread would
 * have done. Cancellation is enabled around that one call only. The signal may
 * arrive when the lock has just been granted, and no one can tell: so the
 * handler always drops the lock. All of it takes 0.06 ms. glibc ends the
 * process if it cannot load libgcc_s.so.1 to unwind the thread; in a chroot or
 * a sandbox that may happen, so it is loaded before the first worker starts,
 * and without it a wait is a try every 1 to 20 ms.
 *
 * Dropping a lock gives back what the description had before (uring/held.h).
 *
 * A duplicate of the caller's descriptor is closed before the caller learns the
 * result, or the caller's own close would not be the last one. That close is
 * one more round trip on FUSE. If it hangs, the result is out already: see
 * WORKER_COMMITTED.
 *
 * An errand (OP_LINK) is done without the pool's lock, and handed over when all
 * of it is done. Between its operations it is only asked whether it has been
 * abandoned: then what it has locked is given back at once. The look at the
 * path at its end may hang where the locks do not. It says so before it asks,
 * and who abandons it asks in the other order, so one of the two gives the lock
 * back.
 *
 * All signals are blocked, so that no handler of the host runs here. What hangs
 * in the kernel beyond any signal is left alone: its thread goes on by itself,
 * undoes its work whenever it comes back, and holds a reference on the pool. An
 * execve(2) of the process waits for such a thread, and so does its end.
 */

#define STACK_SIZE (256 * 1024)
#define POLL_FIRST NSEC_PER_MSEC
#define POLL_LAST (20 * NSEC_PER_MSEC)

static pthread_once_t can_cancel_once = PTHREAD_ONCE_INIT;
static bool can_cancel;

static void find_out_cancel(void)
{
	can_cancel = feature_allowed(FEATURE_THREAD_CANCEL);
#ifdef __GLIBC__
	if (can_cancel)
		can_cancel = dlopen("libgcc_s.so.1", RTLD_NOW) != NULL;
#endif
}

static void worker_link(struct worker *w)
{
	w->next = w->pool->workers;
	if (w->next)
		w->next->prev = w;
	w->pool->workers = w;
}

void worker_unlink(struct worker *w)
{
	if (w->next)
		w->next->prev = w->prev;
	if (w->prev)
		w->prev->next = w->next;
	else
		w->pool->workers = w->next;
}

struct worker *worker_free(struct worker *w)
{
	if (!w)
		return NULL;
	pthread_cond_destroy(&w->wake);
	free(w);
	return NULL;
}

static int own_data(struct worker *w, struct op *op)
{
	if (op->data.size > sizeof(w->data))
		return -EINVAL;
	if (op->kind == OP_WRITE)
		memcpy(w->data, op->data.from, op->data.size);
	op->data.from = op->data.to = w->data;
	return 0;
}

/* Copy path or data and duplicate the descriptor of one of w->mine. */
static int make_own(struct worker *w, struct op *op)
{
	const char **path = NULL;
	bool data = op->kind == OP_READ || op->kind == OP_WRITE;
	int r = data ? own_data(w, op) : 0;

	if (r)
		return r;
	if (op->kind == OP_OPEN)
		path = &op->open.path;
	else if (op->kind == OP_STAT_PATH)
		path = &op->stat.path;
	if (path) {
		size_t len = strnlen(*path, sizeof(w->path));

		if (len == sizeof(w->path))
			return -ENAMETOOLONG;
		memcpy(w->path, *path, len + 1);
		*path = w->path;
	}
	if (op->fd < 0 || op->kind == OP_CLOSE || (path && **path == '/') ||
	    worker_is_lent(op))
		return 0;
	w->fd = fcntl(op->fd, F_DUPFD_CLOEXEC, 0);
	if (w->fd < 0)
		return -errno;
	op->fd = w->fd;
	return 0;
}

static void take_op(struct worker *w)
{
	struct pool *pool = w->pool;

	w->op = pool->queue[pool->head++];
	w->n = op_errand(w->op);
	for (size_t i = 0; i < w->n; i++) {
		w->mine[i] = w->op[i];
		w->mine[i].res = make_own(w, &w->mine[i]);
	}
}

static void take_close(struct worker *w)
{
	struct pool *pool = w->pool;
	int fd = pool->closes[--pool->n_closes];

	w->mine[0] = (struct op){ .kind = OP_CLOSE, .fd = fd };
	w->n = 1;
	pool->n_orphans++;
}

static void fall_asleep(struct worker *w)
{
	struct pool *pool = w->pool;

	w->asleep = true;
	w->next_idle = pool->idle;
	pool->idle = w;
	while (w->asleep)
		pthread_cond_wait(&w->wake, &pool->lock);
}

struct worker *worker_rouse_locked(struct pool *pool)
{
	struct worker *w = pool->idle;

	if (w) {
		pool->idle = w->next_idle;
		w->asleep = false;
	}
	return w;
}

/* With the pool's lock. Return: false if the thread shall end. */
static bool take_work(struct worker *w)
{
	struct pool *pool = w->pool;

	for (;;) {
		if (pool->head < pool->tail && !pool->closed)
			take_op(w);
		else if (pool->n_closes)
			take_close(w);
		else if (pool->closed)
			return false;
		else {
			fall_asleep(w);
			continue;
		}
		w->state = WORKER_BUSY;
		w->orphan = w->looks = false;
		return true;
	}
}

static void drop_lock(struct worker *w)
{
	const struct op_lock *lock = &w->mine->lock;

	if (w->held != lock->type)
		local_lock(w->mine->fd, lock, w->held, F_OFD_SETLK);
}

/* Nobody wants the result any more. */
static void undo(struct worker *w)
{
	if (w->mine->kind == OP_OPEN && w->mine->res >= 0)
		fd_close(w->mine->res);
	if (w->mine->kind == OP_LOCK && w->mine->res == 0)
		drop_lock(w);
	if (worker_is_lent(w->mine))
		fd_close(w->mine->fd);
	w->fd = fd_close(w->fd);
}

static void hand_over(const struct op *mine, struct op *op)
{
	op->res = mine->res;
	if (op->kind == OP_QUERY)
		op->lock = mine->lock;
	else if (op->kind == OP_STAT || op->kind == OP_STAT_PATH)
		op->stat.out = mine->stat.out;
	else if (op->kind == OP_OPEN)
		op->open.out = mine->open.out;
	else if (op->kind == OP_READ && op->res > 0)
		memcpy(op->data.to, mine->data.from, (size_t)op->res);
}

static void finish_orphan(struct worker *w)
{
	struct pool *pool = w->pool;

	if (w->state != WORKER_COMMITTED) {
		pthread_mutex_unlock(&pool->lock);
		undo(w);
		pthread_mutex_lock(&pool->lock);
	}
	pool->n_orphans--;
	if (w->leaving && --pool->n_leaving == 0)
		waker_wake(&pool->waker);
	w->leaving = false;
}

/* With the pool's lock, which is dropped to close or undo. */
static void finish_work(struct worker *w)
{
	struct pool *pool = w->pool;

	if (w->op) {
		for (size_t i = 0; i < w->n; i++)
			hand_over(&w->mine[i], &w->op[i]);
		w->state = WORKER_COMMITTED;
		if (w->fd >= 0) {
			pthread_mutex_unlock(&pool->lock);
			w->fd = fd_close(w->fd);
			pthread_mutex_lock(&pool->lock);
		}
	}
	if (w->op) {
		w->op = NULL;
		pool->n_local -= worker_opens_locally(w->mine);
		if (--pool->outstanding == 0)
			waker_wake(&pool->waker);
	} else {
		finish_orphan(w);
	}
}

/* The end of the thread, which may be the only one. With the pool's lock;
   unlocks. */
static void leave(struct worker *w)
{
	struct pool *pool = w->pool;

	while (pool->n_closes) {
		take_close(w);
		pthread_mutex_unlock(&pool->lock);
		local_call(w->mine);
		pthread_mutex_lock(&pool->lock);
		pool->n_orphans--;
	}
	pool->n_workers--;
	if (pool->head < pool->tail) /* when there was no place for another */
		waker_wake(&pool->waker);
	if (w->detached) {
		worker_unlink(w);
		worker_free(w);
	}
	pool_unref_locked(pool);
}

/* The rest of a cancelled thread's life. */
static void cancelled(void *arg)
{
	struct worker *w = arg;

	w->mine->res = 0; /* it may have been granted */
	pthread_mutex_lock(&w->pool->lock);
	finish_work(w);
	leave(w);
}

/* Nothing of this is on the stack, which is thrown away when cancelled. */
static void wait_cancellable(struct worker *w)
{
	struct op *op = w->mine;

	w->wait = (struct flock){
		.l_type = op->lock.type,
		.l_whence = SEEK_SET,
		.l_start = op->lock.start,
		.l_len = op->lock.len,
	};
	pthread_cleanup_push(cancelled, w);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	do {
		op->res = fcntl(op->fd, F_OFD_SETLKW, &w->wait) ? -errno : 0;
	} while (op->res == -EINTR);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cleanup_pop(0);
}

static void wait_polling(struct worker *w)
{
	uint64_t pause = POLL_FIRST;
	struct op *op = w->mine;

	pthread_mutex_lock(&w->pool->lock);
	while (w->op) {
		uint64_t until = clock_now() + pause;
		struct timespec ts = {
			.tv_sec = (time_t)(until / NSEC_PER_SEC),
			.tv_nsec = (long)(until % NSEC_PER_SEC),
		};

		pthread_mutex_unlock(&w->pool->lock);
		local_call(op);
		pthread_mutex_lock(&w->pool->lock);
		if (op->res != -EAGAIN)
			break;
		pthread_cond_timedwait(&w->wake, &w->pool->lock, &ts);
		pause = MIN(2 * pause, POLL_LAST);
	}
	pthread_mutex_unlock(&w->pool->lock);
}

static void wait_lock(struct worker *w)
{
	struct pool *pool = w->pool;

	pthread_mutex_lock(&pool->lock);
	if (w->op)
		w->state = WORKER_WAITING;
	else
		w->mine->res = -ECANCELED;
	pthread_mutex_unlock(&pool->lock);
	if (w->mine->res)
		return;
	if (can_cancel)
		wait_cancellable(w);
	else
		wait_polling(w);
}

static void perform(struct worker *w, struct op *op)
{
	if (op->kind == OP_LOCK && !worker_is_lent(op))
		w->held = held_type(w->fd, &op->lock);
	if (op->kind == OP_LOCK && (op->flags & OP_WAIT))
		wait_lock(w);
	else
		local_call(op);
}

/* What was abandoned goes no further: it may have a lock by now. But the first
   one is always done: a close has to be, and undo() undoes what it did. */
static void work(struct worker *w)
{
	int failed = 0;

	w->held = F_UNLCK;
	for (size_t i = 0; i < w->n; i++) {
		struct op *op = &w->mine[i];

		w->looks = op->kind == OP_STAT_PATH;
		if (i && w->orphan)
			break;
		if (failed)
			op->res = failed;
		else if (!op->res) /* of make_own() */
			perform(w, op);
		failed = MIN(op->res, 0);
	}
}

int worker_take_lent_locked(struct worker *w)
{
	int fd = w->mine->fd;

	if (!w->looks || !worker_is_lent(w->mine))
		return -1;
	w->mine->fd = -1;
	w->mine->res = -ECANCELED; /* its lock goes with it */
	return fd;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct pool *pool = w->pool;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	prctl(PR_SET_NAME, "guestlock-io");
	pthread_mutex_lock(&pool->lock);
	while (w->state != WORKER_CANCELLED && take_work(w)) {
		pthread_mutex_unlock(&pool->lock);
		work(w);
		pthread_mutex_lock(&pool->lock);
		finish_work(w);
		if (w->state != WORKER_CANCELLED)
			w->state = WORKER_IDLE;
	}
	leave(w);
	return NULL;
}

/* A host with much thread-local storage needs more stack than ours. */
static int create_thread(struct worker *w)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = pthread_create(&w->thread, &attr, worker_main, w);
	if (r == EINVAL)
		r = pthread_create(&w->thread, NULL, worker_main, w);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

static struct worker *worker_new(struct pool *pool)
{
	struct worker *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;

	if (!w)
		return NULL;
	w->pool = pool;
	w->fd = -1;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_condattr_destroy(&attr);
	return w;
}

int worker_start_locked(struct pool *pool)
{
	struct worker *w;
	int r;

	pthread_once(&can_cancel_once, find_out_cancel);
	w = worker_new(pool);
	if (!w)
		return -ENOMEM;
	worker_link(w);
	pool->n_workers++;
	pool->refs++;
	pthread_mutex_unlock(&pool->lock);
	r = create_thread(w);
	pthread_mutex_lock(&pool->lock);
	if (r) {
		worker_unlink(w);
		pool->n_workers--;
		pool->refs--;
		worker_free(w);
		return -ENOMEM;
	}
	pool->started++;
	return 0;
}

void worker_cancel_locked(struct worker *w)
{
	w->leaving = true;
	w->pool->n_leaving++;
	if (!can_cancel) {
		pthread_cond_signal(&w->wake);
		return;
	}
	w->state = WORKER_CANCELLED;
	w->detached = true;
	pthread_detach(w->thread);
	pthread_cancel(w->thread);
}
