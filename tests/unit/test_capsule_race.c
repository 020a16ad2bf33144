/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several processes at one capsule. */
#include "tests/unit/capsule_kit.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/inside.h"
#include "core/capsule/mutex.h"
#include "core/capsule/stock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define WORKERS_MAX 8

/* In a worker there is no test to fail, only a process. */
#define MUST(_x)                                                               \
	do {                                                                   \
		if (!(_x)) {                                                   \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,     \
				#_x);                                          \
			_exit(1);                                              \
		}                                                              \
	} while (0)

struct crew {
	struct capsule *capsule;
	bool *stop; /* shared */
	pid_t pids[WORKERS_MAX];
	unsigned n;
};

static void crew_new(struct crew *crew, struct capsule *capsule)
{
	*crew = (struct crew){ .capsule = capsule };
	crew->stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(crew->stop != MAP_FAILED);
}

static bool goes_on(const struct crew *crew)
{
	return !__atomic_load_n(crew->stop, __ATOMIC_RELAXED);
}

static void hire(struct crew *crew, void (*work)(struct crew *crew, unsigned i))
{
	pid_t pid = fork();

	assert_true(pid >= 0 && crew->n < WORKERS_MAX);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(crew, crew->n);
		_exit(0);
	}
	crew->pids[crew->n++] = pid;
}

static void join(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Wait for the first @n, then stop the others. */
static void crew_done(struct crew *crew, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		join(crew->pids[i]);
	__atomic_store_n(crew->stop, true, __ATOMIC_RELAXED);
	for (unsigned i = n; i < crew->n; i++)
		join(crew->pids[i]);
	munmap(crew->stop, 4096);
}

#define BASE 30
#define PUSHES 40

static void lock_disk(const char *name, struct capsule_parcel *p)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	struct stat st;

	*p = (struct capsule_parcel){
		.n_fds = 1,
		.type = RES_TYPE_FILE,
		.scope = RES_SCOPE_HOST,
		.path = test_file(name, 0),
	};
	p->fds[0] = open(p->path, O_RDWR | O_CLOEXEC);
	MUST(p->fds[0] >= 0 && !fstat(p->fds[0], &st));
	MUST(!fcntl(p->fds[0], F_OFD_SETLK, &lock));
	p->id = (struct res_id){ st.st_dev, st.st_ino };
}

static void list(struct capsule *capsule, struct capsule_contents *contents)
{
	int r = capsule_list(capsule, deadline_in_ms(20000), contents);

	if (r)
		fprintf(stderr, "list: %d\n", r);
	MUST(r == 0);
}

static void unplug(struct capsule *capsule, const char *name)
{
	struct capsule_contents contents;
	struct capsule_lease *lease;

	list(capsule, &contents);
	lease = kit_find(&contents, name);
	MUST(lease && lease->held);
	MUST(!capsule_unlock(lease));
	capsule_contents_done(&contents);
	MUST(!capsule_compact(capsule, deadline_in_ms(20000)));
}

/* Every second disk is unplugged again. */
static void plug(struct crew *crew, unsigned worker)
{
	for (unsigned i = 0; i < PUSHES; i++) {
		struct capsule_parcel p;
		char name[32];

		snprintf(name, sizeof(name), "plug%u-%u", worker, i);
		lock_disk(name, &p);
		MUST(!capsule_push(crew->capsule, &p, 1,
				   deadline_in_ms(20000)));
		kit_close(&p);
		if (i % 2)
			unplug(crew->capsule, name);
	}
}

static void turn_over(struct crew *crew, unsigned worker)
{
	(void)worker;
	while (goes_on(crew)) {
		int r = capsule_repack(crew->capsule, deadline_in_ms(20000),
				       true);

		MUST(r == 0);
		usleep(500);
	}
}

static void watch(struct crew *crew, unsigned worker)
{
	(void)worker;
	while (goes_on(crew)) {
		struct capsule_contents contents;
		size_t n_base = 0;

		list(crew->capsule, &contents);
		for (size_t i = 0; i < contents.n_leases; i++)
			n_base += contents.leases[i].held &&
				  strstr(contents.leases[i].path, "/base");
		MUST(n_base == BASE);
		MUST(contents.n_garbled == 0);
		capsule_contents_done(&contents);
	}
}

static void readers_pushers_and_compaction_do_not_hurt_each_other(void **state)
{
	struct capsule *capsule = kit_capsule("busy");
	struct capsule_contents contents;
	struct crew crew;

	(void)state;
	assert_int_equal(kit_park(capsule, "base", BASE), 0);
	crew_new(&crew, capsule);
	hire(&crew, plug);
	hire(&crew, plug);
	hire(&crew, turn_over);
	hire(&crew, watch);
	hire(&crew, watch);
	crew_done(&crew, 2);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, BASE + PUSHES);
	assert_int_equal(contents.n_dead + contents.n_garbled, 0);
	for (size_t i = 0; i < contents.n_leases; i++)
		assert_true(contents.leases[i].held);
	capsule_contents_done(&contents);
	for (unsigned i = 0; i < PUSHES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "plug1-%u", i);
		assert_int_equal(test_lockable(test_file(name, -1), F_WRLCK),
				 i % 2);
	}
	capsule_free(capsule);
}

#define EQUAL 12
#define LOOKS 300

/* Messages of one length, so that offsets alone do not tell them apart. */
static void look_without_mutex(struct crew *crew, unsigned worker)
{
	(void)worker;
	for (unsigned i = 0; i < LOOKS; i++) {
		struct queue_look look = { .deadline = deadline_in_ms(20000),
					   .max_fds = 1000 };
		struct queue_view view;
		int r = queue_view(crew->capsule->b, &look, &view);

		MUST(r == 0);
		MUST(view.n == EQUAL + 1);
		for (unsigned k = 0; k < EQUAL; k++)
			MUST(view.messages[k + 1].payload[MESSAGE_HEAD_SIZE] ==
			     k);
		queue_view_done(&view);
	}
}

static void readers_without_the_mutex_see_everything_in_order(void **state)
{
	struct capsule *capsule = kit_capsule("equal");
	struct crew crew;

	(void)state;
	for (uint8_t k = 0; k < EQUAL; k++) {
		struct message head = { .kind = MESSAGE_LEASES, .id = k };
		uint8_t data[MESSAGE_HEAD_SIZE + 8] = {};
		struct iovec iov = { data, sizeof(data) };

		message_encode(&head, data);
		data[MESSAGE_HEAD_SIZE] = k;
		assert_int_equal(queue_send(capsule->a, &iov, 1, &capsule->b,
					    1),
				 0);
	}
	crew_new(&crew, capsule);
	for (unsigned i = 0; i < 3; i++)
		hire(&crew, look_without_mutex);
	crew_done(&crew, 3);
	capsule_free(capsule);
}

static void hold_and_release(struct crew *crew, unsigned worker)
{
	(void)worker;
	for (unsigned i = 0; i < 100; i++) {
		int mutex;

		MUST(!mutex_lock(crew->capsule->identity, MUTEX_QUEUE,
				 deadline_in_ms(20000), &mutex));
		/* Nobody else is in here. */
		MUST(!__atomic_exchange_n(&crew->stop[1], true,
					  __ATOMIC_SEQ_CST));
		MUST(__atomic_exchange_n(&crew->stop[1], false,
					 __ATOMIC_SEQ_CST));
		mutex_unlock(mutex);
	}
}

static void one_at_a_time_has_the_mutex(void **state)
{
	struct capsule *capsule = kit_capsule("mutex");
	struct crew crew;

	(void)state;
	crew_new(&crew, capsule);
	for (unsigned i = 0; i < 4; i++)
		hire(&crew, hold_and_release);
	crew_done(&crew, 4);
	capsule_free(capsule);
}

/* As SIGKILL between any two instructions of many cycles would. */
static void plug_until_killed(struct crew *crew, unsigned worker)
{
	for (unsigned i = 0;; i++) {
		struct capsule_parcel p;
		char name[32];

		snprintf(name, sizeof(name), "killed%u-%u", worker, i % 4);
		lock_disk(name, &p);
		MUST(!capsule_push(crew->capsule, &p, 1,
				   deadline_in_ms(20000)));
		kit_close(&p);
		unplug(crew->capsule, name);
	}
}

static void a_plugger_killed_at_random_loses_no_other_lease(void **state)
{
	struct capsule *capsule = kit_capsule("killed");

	(void)state;
	assert_int_equal(kit_park(capsule, "kept", BASE), 0);
	for (unsigned i = 0; i < 40; i++) {
		struct capsule_contents contents;
		struct crew crew;

		crew_new(&crew, capsule);
		crew.n = i; /* names of its own */
		crew.n %= WORKERS_MAX;
		hire(&crew, plug_until_killed);
		usleep((useconds_t)(clock_now() / 1000 % 3000));
		kit_end(crew.pids[i % WORKERS_MAX]);
		munmap(crew.stop, 4096);
		assert_int_equal(kit_locked("kept", BASE), BASE);
		assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
		contents = kit_list(capsule);
		assert_true(contents.n_leases - BASE <= i + 1);
		assert_int_equal(contents.n_garbled, 0);
		/* What it left plugged in is its own; unplug it. */
		for (size_t k = 0; k < contents.n_leases; k++)
			if (strstr(contents.leases[k].path, "/killed"))
				capsule_unlock(&contents.leases[k]);
		capsule_contents_done(&contents);
		assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	}
	capsule_free(capsule);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(readers_pushers_and_compaction_do_not_hurt_each_other),
	cmocka_unit_test(readers_without_the_mutex_see_everything_in_order),
	cmocka_unit_test(one_at_a_time_has_the_mutex),
	cmocka_unit_test(a_plugger_killed_at_random_loses_no_other_lease),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
