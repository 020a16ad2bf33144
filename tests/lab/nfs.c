/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Run test programs on NFS: this kernel's own server, and its client.
 *
 * Only in the lab (init.c), whose kernel and file systems nobody else uses. The
 * programs of $LAB_NFS_PROGRAMS, separated by colons, run one after another.
 * Each finds in its environment
 *
 *	LAB_NFS_SERVER		the directory that the server exports
 *	GUESTLOCK_TEST_DIR	where a client has it by NFSv4.2, for its images
 *	LAB_NFS_OTHER		where another client has it, by NFSv4.0
 *	LAB_NFS_NOLOCK		NFSv3, mounted with nolock
 *
 * To the server it is the version that makes another client. Two mounts of one
 * version are one, even with `nosharecache`; and while a client has a file
 * delegated, its locks are its own business, so that two mounts of one client
 * then do not exclude each other. Another client's open ends a delegation.
 *
 * No daemon of nfs-utils runs. What they would answer when the kernel asks, is
 * told to its caches beforehand (net/sunrpc/cache.c: a line for a channel ends
 * with when it expires, and what it stands for):
 *
 *	auth.unix.ip	nfsd ADDRESS EXPIRY CLIENT
 *	nfsd.export	CLIENT PATH EXPIRY FLAGS ANONUID ANONGID FSID
 *	nfsd.fh		CLIENT FSIDTYPE FSID EXPIRY PATH
 *
 * Nor is there a mountd to give the root's file handle out for NFSv3. Ours is
 * known: version 1, no authentication, FSID_NUM, the root of the export; then
 * the FSID. The old binary form of mount(2)'s data takes it. NFSv2 and v3 need
 * rpcbind only for their locks, which `nolock` does not use.
 */
#include "core/base/util.h"

#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/nfs_mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PORT 2049
#define EXPIRY "4000000000"
/* NFSEXP_INSECURE_PORT, _ASYNC, _NOSUBTREECHECK, _FSID: linux/nfsd/export.h */
#define EXPORT_FLAGS (0x0002 | 0x0010 | 0x0400 | 0x2000)
#define SERVED "/srv/nfs"
#define CLIENT "/mnt/nfs"
#define OTHER "/mnt/other"
#define NOLOCK "/mnt/nolock"

static void tell(const char *file, const char *text)
{
	_cleanup_(fd_closep) int fd = open(file, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		err(1, "%s: %s", file, text);
}

static void make_dir(const char *path)
{
	char part[256];

	for (const char *s = strchr(path + 1, '/');; s = strchr(s + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", s ? (int)(s - path) : 255,
			 path);
		if (mkdir(part, 0755) && errno != EEXIST)
			err(1, "%s", part);
		if (!s)
			return;
	}
}

static void mount_on(const char *what, const char *where, const char *type,
		     const void *data)
{
	make_dir(where);
	if (mount(what, where, type, 0, data))
		err(1, "mount %s on %s", type, where);
}

static int listening_socket(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (void *)&address, sizeof(address)) ||
	    listen(fd, 16))
		err(1, "port %d", PORT);
	return fd;
}

/* It goes into the background once it answers. */
static void start_rpcbind(void)
{
	static const char program[] = "rpcbind";
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		execlp(program, program, "-w", (char *)NULL);
		err(127, "%s", program);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		errx(1, "%s: status %d", program, status);
}

/* Until then nobody gets a lock; nor in lockd's, which is over by then. */
static void await_grace(void)
{
	static const char file[] = "/proc/fs/nfsd/v4_end_grace";

	for (int i = 0; i < 400; i++) {
		_cleanup_(fd_closep) int fd = open(file, O_RDWR | O_CLOEXEC);
		char answer = 0;

		if (fd < 0 || read(fd, &answer, 1) != 1)
			err(1, "%s", file);
		if (answer == 'Y')
			return;
		usleep(100000);
	}
	errx(1, "the server's grace does not end");
}

static void start_server(void)
{
	char text[200];

	start_rpcbind();
	make_dir("/var/lib/nfs/v4recovery");
	mount_on("tmpfs", SERVED, "tmpfs", NULL);
	mount_on("nfsd", "/proc/fs/nfsd", "nfsd", NULL);
	tell("/proc/net/rpc/auth.unix.ip/channel",
	     "nfsd 127.0.0.1 " EXPIRY " lab\n");
	snprintf(text, sizeof(text), "lab " SERVED " " EXPIRY " %d 0 0 0\n",
		 EXPORT_FLAGS);
	tell("/proc/net/rpc/nfsd.export/channel", text);
	tell("/proc/net/rpc/nfsd.fh/channel",
	     "lab 1 \\x00000000 " EXPIRY " " SERVED "\n");
	tell("/proc/sys/fs/nfs/nlm_grace_period", "1\n");
	tell("/proc/fs/nfsd/nfsv4leasetime", "30\n");
	tell("/proc/fs/nfsd/nfsv4gracetime", "10\n");
	snprintf(text, sizeof(text), "%d\n", listening_socket());
	tell("/proc/fs/nfsd/portlist", text);
	tell("/proc/fs/nfsd/threads", "4\n");
	await_grace();
}

static void mount_v3(void)
{
	struct nfs_mount_data data = {
		.version = NFS_MOUNT_VERSION,
		.flags = NFS_MOUNT_VER3 | NFS_MOUNT_TCP | NFS_MOUNT_NONLM,
		.addr = { AF_INET,
			  htons(PORT),
			  { htonl(INADDR_LOOPBACK) },
			  {} },
		.hostname = "lab",
		.namlen = 255,
		.pseudoflavor = 1, /* AUTH_UNIX */
		.root = { 8, { 1, 0, 1, 0 } },
	};

	mount_on("lab:" SERVED, NOLOCK, "nfs", &data);
}

static void start_clients(void)
{
	mount_on("lab:/", CLIENT, "nfs4",
		 "addr=127.0.0.1,clientaddr=127.0.0.1,vers=4.2");
	mount_on("lab:/", OTHER, "nfs4",
		 "addr=127.0.0.1,clientaddr=127.0.0.2,vers=4.0,noac");
	mount_v3();
}

static int run(const char *program)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		execl(program, program, (char *)NULL);
		err(127, "%s", program);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		err(1, "%s", program);
	printf("nfs: %s: status %d\n", program, status);
	return status;
}

int main(void)
{
	char *programs = getenv("LAB_NFS_PROGRAMS"), *program, *save = NULL;
	int failed = 0;

	if (!programs)
		errx(1, "no LAB_NFS_PROGRAMS");
	setvbuf(stdout, NULL, _IOLBF, 0);
	start_server();
	start_clients();
	setenv("LAB_NFS_SERVER", SERVED, 1);
	setenv("LAB_NFS_OTHER", OTHER, 1);
	setenv("LAB_NFS_NOLOCK", NOLOCK, 1);
	setenv("GUESTLOCK_TEST_DIR", CLIENT, 1);
	for (program = strtok_r(programs, ":", &save); program;
	     program = strtok_r(NULL, ":", &save))
		failed |= run(program);
	return failed ? 1 : 0;
}
