/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/virtlockd.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/*
 * virtlockd has its socket and its state in /run. In a mount namespace of its
 * own that is a folder of the test's.
 *
 * A message is be32 words: length (its own included), program, version,
 * procedure, type (0 call, 1 reply), serial, status; then arguments or an
 * error, as XDR. An error is code, domain, whether there is a text, its length.
 */
#define PROGRAM_PATH "/usr/sbin/virtlockd"
#define PATIENCE_MS 60000
#define WIRE_PROGRAM 0xEA7BEEF
#define WIRE_VERSION 1
#define HEADER_WORDS 7
#define ERROR_TEXT (4 * (HEADER_WORDS + 4))

enum procedure {
	REGISTER = 1,
	ACQUIRE = 6,
	RELEASE = 7,
	CREATE_LOCKSPACE = 8,
};

enum acquire_flags { SHARED = 1, AUTOCREATE = 2 };

struct message {
	size_t n;
	unsigned char bytes[2 * PATH_MAX + 256];
};

bool virtlockd_exists(void)
{
	return !access(PROGRAM_PATH, X_OK);
}

static int become(void *arg)
{
	char *const environment[] = { (char *)"PATH=/usr/sbin:/usr/bin", NULL };
	char conf[PATH_MAX];

	snprintf(conf, sizeof(conf), "%s/virtlockd.conf", (char *)arg);
	MUST(!unshare(CLONE_NEWNS));
	MUST(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(!mount(arg, "/run", NULL, MS_BIND, NULL));
	execle(PROGRAM_PATH, "virtlockd", "-f", conf, "-p",
	       "/run/virtlockd.pid", NULL, environment);
	return 99;
}

static int dial(const char *folder)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int n = snprintf(address.sun_path, sizeof(address.sun_path),
			 "%s/libvirt/virtlockd-sock", folder);

	MUST(fd >= 0);
	MUST(n < (int)sizeof(address.sun_path));
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	return fd_close(fd);
}

static void write_conf(const char *folder)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/virtlockd.conf", folder);
	f = fopen(path, "we");
	MUST(f != NULL);
	fprintf(f, "log_outputs = \"4:file:%s/virtlockd.log\"\n", folder);
	MUST(!fclose(f));
	snprintf(path, sizeof(path), "%s/libvirt", folder);
	MUST(!mkdir(path, 0700));
}

pid_t virtlockd_start(const char *folder)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);
	pid_t pid;
	int fd;

	MUST(!mkdir(folder, 0700));
	write_conf(folder);
	pid = process_start(become, (void *)folder);
	while ((fd = dial(folder)) < 0) {
		MUST(!process_is_gone(pid));
		MUST(clock_now() < deadline);
		usleep(1000);
	}
	fd_close(fd);
	return pid;
}

static void put(struct message *m, const void *bytes, size_t n)
{
	MUST(m->n + n + 3 <= sizeof(m->bytes));
	memcpy(m->bytes + m->n, bytes, n);
	m->n += n;
	while (m->n % 4)
		m->bytes[m->n++] = 0;
}

static void put_word(struct message *m, uint32_t word)
{
	word = htonl(word);
	put(m, &word, sizeof(word));
}

static void put_text(struct message *m, const char *text)
{
	put_word(m, (uint32_t)strlen(text));
	put(m, text, strlen(text));
}

static uint32_t word_of(const struct message *m, unsigned which)
{
	uint32_t word;

	MUST(4 * which + 4 <= m->n);
	memcpy(&word, m->bytes + 4 * which, sizeof(word));
	return ntohl(word);
}

static void hear(struct virtlockd_client *client, struct message *m, size_t n)
{
	MUST(m->n + n <= sizeof(m->bytes));
	MUST_EQUAL(recv(client->fd, m->bytes + m->n, n, MSG_WAITALL),
		   (ssize_t)n);
	m->n += n;
}

/* @m: begun by call_begin(), and then the answer. Return: its status. */
static uint32_t call(struct virtlockd_client *client, struct message *m)
{
	uint32_t procedure = word_of(m, 3), length = htonl((uint32_t)m->n);

	memcpy(m->bytes, &length, sizeof(length));
	MUST_EQUAL(send(client->fd, m->bytes, m->n, MSG_NOSIGNAL),
		   (ssize_t)m->n);
	*m = (struct message){};
	hear(client, m, 4);
	MUST(word_of(m, 0) >= 4 * HEADER_WORDS);
	hear(client, m, word_of(m, 0) - 4);
	MUST_EQUAL(word_of(m, 3), procedure);
	MUST_EQUAL(word_of(m, 4), 1);
	MUST_EQUAL(word_of(m, 5), client->serial);
	client->serial++;
	return word_of(m, 6);
}

static struct message call_begin(struct virtlockd_client *client,
				 enum procedure procedure)
{
	struct message m = {};

	put_word(&m, 0);
	put_word(&m, WIRE_PROGRAM);
	put_word(&m, WIRE_VERSION);
	put_word(&m, procedure);
	put_word(&m, 0);
	put_word(&m, client->serial);
	put_word(&m, 0);
	return m;
}

static const char *error_text(const struct message *m)
{
	return m->n > ERROR_TEXT ? (const char *)m->bytes + ERROR_TEXT : "";
}

static void call_well(struct virtlockd_client *client, struct message *m)
{
	bool failed = call(client, m);

	if (failed)
		fprintf(stderr, "virtlockd: %.*s\n",
			(int)(m->n - MIN(m->n, (size_t)ERROR_TEXT)),
			error_text(m));
	MUST(!failed);
}

struct virtlockd_client virtlockd_connect(const char *folder, pid_t owner)
{
	const struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	struct virtlockd_client client = { .fd = dial(folder) };
	unsigned char uuid[16] = {};
	struct message m = call_begin(&client, REGISTER);

	MUST(client.fd >= 0);
	MUST(owner != getpid());
	MUST(!setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
			 sizeof(patience)));
	memcpy(uuid, &owner, sizeof(owner));
	put(&m, uuid, sizeof(uuid));
	put_text(&m, "other");
	put_word(&m, 1);
	put_word(&m, (uint32_t)owner);
	put_word(&m, 0);
	call_well(&client, &m);
	return client;
}

void virtlockd_hang_up(struct virtlockd_client *client)
{
	client->fd = fd_close(client->fd);
}

void virtlockd_add_lockspace(struct virtlockd_client *client, const char *path)
{
	struct message m = call_begin(client, CREATE_LOCKSPACE);

	put_text(&m, path);
	call_well(client, &m);
}

static struct message name(struct virtlockd_client *client,
			   enum procedure procedure,
			   const struct virtlockd_resource *resource)
{
	struct message m = call_begin(client, procedure);

	put_text(&m, resource->lockspace ? resource->lockspace : "");
	put_text(&m, resource->name);
	return m;
}

bool virtlockd_acquire(struct virtlockd_client *client,
		       const struct virtlockd_resource *resource)
{
	struct message m = name(client, ACQUIRE, resource);
	bool refused;

	put_word(&m, (resource->shared ? SHARED : 0) |
			     (resource->lockspace ? AUTOCREATE : 0));
	if (!call(client, &m))
		return true;
	refused = memmem(m.bytes, m.n, " is locked", strlen(" is locked"));
	if (!refused)
		fprintf(stderr, "virtlockd: %.*s\n",
			(int)(m.n - MIN(m.n, (size_t)ERROR_TEXT)),
			error_text(&m));
	MUST(refused);
	return false;
}

void virtlockd_release(struct virtlockd_client *client,
		       const struct virtlockd_resource *resource)
{
	struct message m = name(client, RELEASE, resource);

	put_word(&m, 0);
	call_well(client, &m);
}
