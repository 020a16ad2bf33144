/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/kernel/kernel.h"

#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

int lock_byte(int fd, short type, long byte)
{
	struct flock lock = { .l_type = type, .l_start = byte, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

short lock_blocker(int fd, short type, long byte, pid_t *ret_pid)
{
	struct flock lock = { .l_type = type, .l_start = byte, .l_len = 1 };

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	if (ret_pid)
		*ret_pid = lock.l_pid;
	return lock.l_type;
}

int file_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

int file_reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return file_open(path, flags);
}

int file_locked(const char *name, const char **ret_path)
{
	int fd;

	*ret_path = test_file(name, 0);
	fd = file_open(*ret_path, O_RDWR);
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), 0);
	return fd;
}

void pair_open(int type, int ret_fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ret_fds),
			 0);
}

int fds_send(int sock, const void *data, size_t len, const int *fds, size_t n)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * (SCM_MAX_FD_COUNT + 1))];
		struct cmsghdr align;
	} control = {};
	struct iovec iov = { (void *)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (n) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n);
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
	}
	sent = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent < 0 ? -errno : (int)sent;
}

void fd_send(int sock, int fd)
{
	assert_int_equal(fds_send(sock, PAYLOAD, sizeof(PAYLOAD), &fd, 1),
			 sizeof(PAYLOAD));
}

void fds_receive(int sock, int flags, struct fds_got *ret_got)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * SCM_MAX_FD_COUNT)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { ret_got->data, sizeof(ret_got->data) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t len =
		recvmsg(sock, &msg, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	ret_got->n = 0;
	ret_got->len = len < 0 ? -errno : (int)len;
	ret_got->flags = len < 0 ? 0 : msg.msg_flags;
	if (len < 0)
		return;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		assert_int_equal(c->cmsg_level, SOL_SOCKET);
		assert_int_equal(c->cmsg_type, SCM_RIGHTS);
		memcpy(ret_got->fds + ret_got->n, CMSG_DATA(c),
		       n * sizeof(int));
		ret_got->n += n;
	}
}

void fds_got_close(struct fds_got *got)
{
	for (size_t i = 0; i < got->n; i++)
		fd_close(got->fds[i]);
	got->n = 0;
}

int fd_receive(int sock, int flags)
{
	struct fds_got got;

	fds_receive(sock, flags, &got);
	assert_true(got.len >= 0);
	assert_int_equal(got.n, 1);
	return got.fds[0];
}

void sockets_collect(void)
{
	int fds[2];

	for (int i = 0; i < 20; i++) {
		pair_open(SOCK_SEQPACKET, fds);
		fd_send(fds[0], fds[1]);
		fd_send(fds[1], fds[0]);
		fd_close(fds[0]);
		fd_close(fds[1]);
	}
	/* What starts the collector is the release of a socket, of any. */
	pair_open(SOCK_SEQPACKET, fds);
	fd_close(fds[0]);
	fd_close(fds[1]);
	/* It is a work item: let it run. */
	usleep(20 * 1000);
}

void child_start(struct child *child, int (*body)(int sock, void *arg),
		 void *arg)
{
	int fds[2];

	pair_open(SOCK_STREAM, fds);
	fflush(NULL);
	child->pid = fork();
	assert_true(child->pid >= 0);
	if (child->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fd_close(fds[0]);
		_exit(body(fds[1], arg));
	}
	fd_close(fds[1]);
	child->sock = fds[0];
}

static pid_t first_pid;

__attribute__((constructor)) static void first_pid_set(void)
{
	first_pid = getpid();
}

uid_t nobody(void)
{
	return (uid_t)(40000 + first_pid % 20000);
}

void child_become_nobody(void)
{
	uid_t id = nobody();

	CHILD_CHECK(setgroups(0, NULL) == 0);
	CHILD_CHECK(setresgid(id, id, id) == 0);
	CHILD_CHECK(setresuid(id, id, id) == 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void turn_give(int sock)
{
	if (send(sock, "", 1, MSG_NOSIGNAL) != 1)
		fprintf(stderr, "turn_give: %s\n", strerror(errno));
}

void turn_await(int sock)
{
	struct pollfd poller = { .fd = sock, .events = POLLIN };

	if (poll(&poller, 1, 20 * 1000) != 1) {
		fprintf(stderr, "the other side does not answer\n");
		abort();
	}
}

void turn_take(int sock)
{
	char byte;

	turn_await(sock);
	if (recv(sock, &byte, 1, 0) != 1) {
		fprintf(stderr, "the other side is gone\n");
		abort();
	}
}

int child_wait(struct child *child)
{
	int status;

	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	child->sock = fd_close(child->sock);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
				   : WEXITSTATUS(status);
}

int child_run(int (*body)(int sock, void *arg), void *arg)
{
	struct child child;

	child_start(&child, body, arg);
	return child_wait(&child);
}

int child_kill(struct child *child)
{
	kill(child->pid, SIGKILL);
	return child_wait(child);
}

void child_await_zombie(const struct child *child)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)child->pid, &info,
				WEXITED | WNOWAIT),
			 0);
}
