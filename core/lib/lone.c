/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lone.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/*
 * Whoever opens the file while we have the lease waits until we have given it
 * back, a microsecond later, or with O_NONBLOCK is told to try again; and the
 * kernel sends a signal to the owner of our description. By default that would
 * be this process, and the signal SIGIO, which kills it. It may not be caught,
 * blocked or redirected either: signals are the host program's.
 *
 * So the owner is a thread that has ended. The kernel keeps its identity with
 * the description, not its number, and a signal for it reaches nobody, whoever
 * may have its number by then (tests/kernel/test_lease.c). The descriptions get
 * no owner again afterwards, since they are parked and live on.
 */

struct batch {
	struct lone *files;
	size_t n;
};

static void *own_all(void *arg)
{
	struct batch *batch = arg;
	struct f_owner_ex owner = { F_OWNER_TID, gettid() };

	for (size_t i = 0; i < batch->n; i++) {
		struct lone *file = &batch->files[i];

		file->answer =
			fcntl(file->fd, F_SETOWN_EX, &owner) ? -errno : 0;
	}
	return NULL;
}

/* Return: 0, or negative errno if there can be no thread now. */
static int give_to_nobody(struct batch *batch)
{
	sigset_t all, old;
	pthread_t thread;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&thread, NULL, own_all, batch);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r ? r : -pthread_join(thread, NULL);
}

static int ask(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_WRLCK))
		return -errno;
	/* Nothing that is left behind may be parked. */
	return fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : 0;
}

void lone_ask(struct lone *files, size_t n)
{
	struct batch batch = { files, n };
	int r = n ? give_to_nobody(&batch) : 0;

	for (size_t i = 0; i < n; i++) {
		if (r)
			files[i].answer = r;
		if (files[i].answer)
			continue;
		files[i].answer = ask(files[i].fd);
		fcntl(files[i].fd, F_SETOWN, 0);
	}
}
