/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench/floor.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"

#include <err.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PIECE 256   /* opens at a time */
#define MESSAGE 252 /* leases in a message, beside the memfd */
#define RECORD 100  /* bytes of a lease */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static void lock(int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_len = 1 };
	struct flock query = { .l_type = F_WRLCK, .l_start = 100, .l_len = 4 };

	if (fcntl(fd, F_OFD_SETLK, &l) || fcntl(fd, F_OFD_GETLK, &query) ||
	    query.l_type != F_UNLCK)
		bench_die("floor: lock");
}

static void send_fds(int socket, const int *fds, size_t n)
{
	union {
		char buf[CMSG_SPACE((MESSAGE + 1) * sizeof(int))];
		struct cmsghdr head;
	} control;
	char payload[64] = {};
	struct iovec iov = { payload, sizeof(payload) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_LEN(n * sizeof(int)) };

	control.head = (struct cmsghdr){ .cmsg_len = msg.msg_controllen,
					 .cmsg_level = SOL_SOCKET,
					 .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.head), fds, n * sizeof(int));
	if (sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		bench_die("floor: sendmsg");
}

static void open_and_stat(struct engine *ring, const struct images *images,
			  int dir, size_t from, size_t n, int *ret_fds)
{
	static struct op ops[PIECE];
	struct stat st;

	for (size_t i = 0; i < n; i++)
		ops[i] = (struct op){
			.kind = OP_OPEN,
			.fd = dir,
			.open = { .path = strrchr(images->paths[from + i],
						  '/') +
					  1,
				  .flags = O_RDWR },
		};
	if (engine_run(ring, ops, n, DEADLINE_NEVER))
		bench_die("floor: open");
	for (size_t i = 0; i < n; i++) {
		ret_fds[i] = ops[i].res;
		if (syscall(SYS_fstat, ret_fds[i], &st))
			bench_die("floor: stat");
	}
}

static void park(int socket, const int *locked, size_t n)
{
	static const char records[MESSAGE * RECORD];
	int fds[MESSAGE + 1];

	fds[0] = (int)syscall(SYS_memfd_create, "guestlock-bench",
			      MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (write(fds[0], records, n * RECORD) < 0 ||
	    fcntl(fds[0], F_ADD_SEALS, SEALS))
		bench_die("floor: memfd");
	memcpy(fds + 1, locked, n * sizeof(int));
	send_fds(socket, fds, n + 1);
	close(fds[0]);
}

uint64_t floor_acquire(struct engine *ring, const struct images *images,
		       size_t n)
{
	uint64_t start = clock_now();
	int dir = open(images->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int size = 1 << 20, pair[2];
	static int fds[2000];

	if (dir < 0 || n > ARRAY_SIZE(fds) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		bench_die("floor");
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	for (size_t i = 0; i < n; i += PIECE)
		open_and_stat(ring, images, dir, i, MIN(n - i, (size_t)PIECE),
			      fds + i);
	for (size_t i = 0; i < n; i++)
		lock(fds[i]);
	for (size_t i = 0; i < n; i += MESSAGE)
		park(pair[1], fds + i, MIN(n - i, (size_t)MESSAGE));
	engine_close_many(ring, fds, n);
	close(dir);
	start = clock_now() - start;
	close(pair[0]);
	close(pair[1]);
	return start;
}

uint64_t floor_plug(const char *path, const int pair[2], int mounts)
{
	struct open_how how = { .flags = O_RDWR | O_CLOEXEC | O_NONBLOCK,
				.resolve = RESOLVE_CACHED };
	struct pollfd changed = { .fd = mounts, .events = POLLPRI };
	uint64_t start = clock_now();
	char byte;
	struct stat st;
	int fd;

	poll(&changed, 1, 0);
	fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	if (fd < 0 || syscall(SYS_fstat, fd, &st))
		bench_die(path);
	lock(fd);
	if (stat(path, &st))
		bench_die(path);
	send_fds(pair[1], &fd, 1);
	close(fd);
	start = clock_now() - start;
	if (read(pair[0], &byte, sizeof(byte)) < 0)
		bench_die("read");
	return start;
}
