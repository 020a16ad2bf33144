/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/pool.h"

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/util.h"
#include "uring/worker.h"

/*
 * The batch in the middle: engine_run() adds operations, workers take them.
 *
 * The queue holds pointers to the caller's operations; a worker that takes one
 * copies it and duplicates its descriptor, both under the lock. So the engine
 * can let go of any operation at any instant by clearing the worker's pointer:
 * the worker then finds itself an orphan, undoes what it did and forgets it.
 * Copies are made by those at work only, at most max_workers of them: a batch
 * of 2000 locks does not need 2000 descriptors more.
 *
 * Each hand-over between threads costs about as much as a round trip to a
 * server on the same host, so there are few. A run of operations is added under
 * one lock; a worker that has done one takes the next; and one that finds none
 * is woken by name, the last to fall asleep first, its cache still being warm,
 * and with the lock free, or it would only go back to sleep for it.
 *
 * A descriptor that was lent (OP_LEND) is not duplicated, and stays with the
 * worker that has it when it is abandoned, or is closed if that has no more use
 * for it.
 *
 * A close cannot be undone or left undone: the number is the engine's from the
 * start, so closes that nobody got to are remembered as bare numbers. They need
 * somebody who does not hang.
 *
 * Workers that hang for good keep counting against max_workers: a dead server
 * costs that many threads and no more. Local opens have POOL_OPENERS places of
 * their own beside them. 64 threads at once cost 2 to 9 ms to start, so one is
 * started only where work waits that no idle worker will take.
 *
 * Waiting locks are cancelled rather than abandoned, and pool_finish() waits a
 * moment for them to be undone: when the caller gets its -ETIME, nobody holds
 * the lock, unless the wait is stuck in a file system.
 */

int pool_new(unsigned max_workers, struct pool **ret_pool)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	int r;

	if (!pool)
		return -ENOMEM;
	r = waker_init(&pool->waker);
	if (r) {
		free(pool);
		return r;
	}
	pthread_mutex_init(&pool->lock, NULL);
	pool->refs = 1;
	pool->max_workers = max_workers ? max_workers : POOL_WORKERS;
	*ret_pool = pool;
	return 0;
}

void pool_unref_locked(struct pool *pool)
{
	bool last = --pool->refs == 0;

	pthread_mutex_unlock(&pool->lock);
	if (!last)
		return;
	waker_deinit(&pool->waker);
	pthread_mutex_destroy(&pool->lock);
	free(pool->queue);
	free(pool->closes);
	free(pool);
}

static void rouse_all(struct pool *pool)
{
	struct worker *w;

	while ((w = worker_rouse_locked(pool)))
		pthread_cond_signal(&w->wake);
}

/* Detach those that hang; return those that will end now. */
static struct worker *part_workers(struct pool *pool)
{
	struct worker *ending = NULL, *next;

	for (struct worker *w = pool->workers; w; w = next) {
		next = w->next;
		if (w->detached)
			continue;
		if (w->state != WORKER_IDLE || pool->n_closes) {
			w->detached = true;
			pthread_detach(w->thread);
			continue;
		}
		worker_unlink(w);
		w->next = ending;
		ending = w;
	}
	return ending;
}

struct pool *pool_free(struct pool *pool)
{
	struct worker *ending, *next;

	if (!pool)
		return NULL;
	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	waker_detach(&pool->waker);
	if (!pool->n_workers)
		while (pool->n_closes)
			close(pool->closes[--pool->n_closes]);
	ending = part_workers(pool);
	rouse_all(pool);
	pthread_mutex_unlock(&pool->lock);
	for (struct worker *w = ending; w; w = next) {
		next = w->next;
		pthread_join(w->thread, NULL);
		worker_free(w);
	}
	pthread_mutex_lock(&pool->lock);
	pool_unref_locked(pool);
	return NULL;
}

void pool_attach(struct pool *pool, struct ring *ring)
{
	pthread_mutex_lock(&pool->lock);
	if (ring)
		waker_attach(&pool->waker, ring);
	else
		waker_detach(&pool->waker);
	pthread_mutex_unlock(&pool->lock);
}

static int make_room(struct pool *pool, size_t n)
{
	size_t size = MAX(2 * pool->size, 64);
	struct op **queue;
	int *closes;

	if (pool->size - pool->tail < n) {
		size = MAX(size, pool->tail + n);
		queue = reallocarray(pool->queue, size, sizeof(*queue));
		if (!queue)
			return -ENOMEM;
		pool->queue = queue;
		pool->size = size;
	}
	/* All of them may be closes that are left. */
	if (pool->closes_size < pool->n_closes + pool->size) {
		size = pool->n_closes + pool->size;
		closes = reallocarray(pool->closes, size, sizeof(*closes));
		if (!closes)
			return -ENOMEM;
		pool->closes = closes;
		pool->closes_size = size;
	}
	return 0;
}

static bool wants_worker(const struct pool *pool, bool local)
{
	size_t able = pool->n_workers - pool->n_orphans;
	size_t n_other = pool->outstanding - pool->n_local;
	size_t want = MIN(n_other, pool->max_workers) +
		      MIN(pool->n_local, POOL_OPENERS);
	unsigned limit = pool->max_workers;

	if (local)
		limit += POOL_OPENERS;
	return able < want && pool->n_workers < limit;
}

static bool has_long_errand(const struct op *ops, size_t n)
{
	for (size_t i = 0; i < n; i += op_errand(&ops[i]))
		if (op_errand(&ops[i]) > OP_ERRAND_MAX)
			return true;
	return false;
}

/* Return: how many errands. */
static size_t enqueue(struct pool *pool, struct op *ops, size_t n)
{
	size_t errands = 0;

	for (size_t i = 0; i < n; i += op_errand(&ops[i])) {
		pool->queue[pool->tail++] = &ops[i];
		errands++;
	}
	pool->outstanding += errands;
	if (worker_opens_locally(ops))
		pool->n_local += errands;
	return errands;
}

/* Of what was added last nothing was taken. */
static void back_out(struct pool *pool, const struct op *ops, size_t errands)
{
	pool->tail -= errands;
	pool->outstanding -= errands;
	if (worker_opens_locally(ops))
		pool->n_local -= errands;
}

/* One worker for each, if there are as many, and as long as there is need. */
static int employ(struct pool *pool, size_t errands, bool local)
{
	int r = 0;

	for (; errands && pool->head < pool->tail && !r; errands--) {
		struct worker *w = worker_rouse_locked(pool);

		if (w) {
			pthread_mutex_unlock(&pool->lock);
			pthread_cond_signal(&w->wake);
			pthread_mutex_lock(&pool->lock);
		} else if (wants_worker(pool, local)) {
			r = worker_start_locked(pool);
		} else {
			break;
		}
	}
	return r;
}

int pool_add(struct pool *pool, struct op *ops, size_t n)
{
	size_t errands;
	int r;

	BUG_RETURN(has_long_errand(ops, n), -ENOTRECOVERABLE);
	pthread_mutex_lock(&pool->lock);
	r = make_room(pool, n);
	if (!r) {
		errands = enqueue(pool, ops, n);
		r = employ(pool, errands, worker_opens_locally(ops));
		/* Without a new one the old ones do it, or have done it. */
		if (r && (pool->n_workers > pool->n_orphans ||
			  pool->head == pool->tail))
			r = 0;
		if (r)
			back_out(pool, ops, errands);
	}
	pthread_mutex_unlock(&pool->lock);
	return r;
}

static void set_res(struct op *op, int error)
{
	for (size_t i = 0, n = op_errand(op); i < n; i++)
		op[i].res = error;
}

static void abandon_op(struct worker *w, int error)
{
	struct pool *pool = w->pool;
	int fd;

	set_res(w->op, error);
	if (!worker_is_lent(w->op))
		return;
	w->op->fd = -1;
	fd = worker_take_lent_locked(w);
	if (fd >= 0)
		pool->closes[pool->n_closes++] = fd;
}

static void abandon(struct pool *pool, int error)
{
	for (; pool->head < pool->tail; pool->head++) {
		struct op *op = pool->queue[pool->head];

		if (op->kind == OP_CLOSE)
			pool->closes[pool->n_closes++] = op->fd;
		set_res(op, error);
	}
	for (struct worker *w = pool->workers; w; w = w->next) {
		if (!w->op)
			continue;
		pool->n_orphans++;
		w->orphan = true;
		if (w->state == WORKER_COMMITTED) {
			w->leaving = true;
			pool->n_leaving++;
		} else {
			abandon_op(w, error);
		}
		w->op = NULL;
		if (w->state == WORKER_WAITING)
			worker_cancel_locked(w);
	}
	pool->outstanding = pool->n_local = 0;
}

/* One for each; without a new one they wait until somebody comes back. */
static void employ_for_closes(struct pool *pool)
{
	for (size_t n = pool->n_closes; n && pool->n_closes; n--) {
		struct worker *w = worker_rouse_locked(pool);

		if (w)
			pthread_cond_signal(&w->wake);
		else if (pool->n_workers >= pool->max_workers ||
			 worker_start_locked(pool))
			break;
	}
}

/*
 * Cancelled waits have a moment to be undone, and duplicates whose work is done
 * to be closed; then they are on their own.
 */
static void see_off(struct pool *pool)
{
	uint64_t leave_by = deadline_in_ms(POOL_LEAVE_MS);

	while (pool->n_leaving && clock_now() < leave_by)
		waker_wait(&pool->waker, &pool->lock, leave_by);
	for (struct worker *w = pool->workers; w && pool->n_leaving;
	     w = w->next) {
		pool->n_leaving -= w->leaving;
		w->leaving = false;
	}
}

/* Those that hang take places, until they come back; then some end. */
static void employ_successor(struct pool *pool)
{
	if (pool->n_workers <= pool->n_orphans)
		(void)employ(pool, pool->tail - pool->head, false);
}

void pool_finish(struct pool *pool, uint64_t deadline)
{
	pthread_mutex_lock(&pool->lock);
	while (pool->outstanding && !pool->cancelled &&
	       clock_now() < deadline) {
		employ_successor(pool);
		waker_wait(&pool->waker, &pool->lock, deadline);
	}
	if (pool->outstanding) {
		abandon(pool, pool->cancelled ? -ECANCELED : -ETIME);
		pool->cancelled = false;
		employ_for_closes(pool);
	}
	if (pool->n_leaving)
		see_off(pool);
	pool->head = pool->tail = 0;
	pthread_mutex_unlock(&pool->lock);
}

void pool_cancel(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->cancelled = true;
	waker_wake(&pool->waker);
	pthread_mutex_unlock(&pool->lock);
}

bool pool_take_cancel(struct pool *pool)
{
	if (!pool->cancelled)
		return false;
	pthread_mutex_lock(&pool->lock);
	pool->cancelled = false;
	pthread_mutex_unlock(&pool->lock);
	return true;
}
