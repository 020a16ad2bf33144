/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/idler.h"

#include "tests/lib/test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void idler_start(struct idler *idler, void (*fn)(void *arg), void *arg)
{
	int sv[2];
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    sv),
			 0);
	idler->pid = fork();
	assert_true(idler->pid >= 0);
	if (!idler->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(sv[0]);
		fn(arg);
		(void)!write(sv[1], "x", 1);
		for (;;)
			pause();
	}
	close(sv[1]);
	idler->sock = sv[0];
	assert_int_equal(read(idler->sock, &c, 1), 1);
}

void idler_end(struct idler *idler)
{
	kill(idler->pid, SIGKILL);
	assert_int_equal(waitpid(idler->pid, NULL, 0), idler->pid);
	close(idler->sock);
}
