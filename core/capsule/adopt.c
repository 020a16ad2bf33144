/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/inside.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/identity.h"
#include "core/capsule/mutex.h"
#include "core/capsule/name.h"
#include "core/capsule/proc.h"
#include "core/capsule/reader.h"
#include "core/capsule/stock.h"

#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/*
 * From a name that anybody can bind to a capsule that can be trusted.
 *
 * 1. Pin the process that the name hints at: a pidfd keeps its pid from being
 *    used again, or tells that it was. Take a duplicate of the descriptor.
 *    Whatever process that is, and whatever was opened under that number: it
 *    is the right one if it is the socket with the inode of the entry.
 * 2. Else the holder has moved (it forked, as daemons do). A walk over /proc
 *    finds everybody who has the socket open. The first of a family to be
 *    born is the guest; others are its children. It may move again under our
 *    eyes, so that takes a few rounds.
 * 3. The socket must be of the kind that capsules are, of a maker whom we
 *    trust, and bound to the name of the entry.
 * 4. In its queue, the header must have the socket's peer and the identity
 *    that its maker sealed. A crash during compaction leaves the header
 *    anywhere, and a hostile guest puts others before it: all are tried.
 *
 * The pid's start time is read between the pinning and a look at the pidfd
 * that finds the process alive, so it is that process's.
 */

#define FINDS_MAX 64
#define ROUNDS 3

static bool is_alive(int pidfd)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 0;
}

static int own_errno(void)
{
	switch (errno) {
	case EMFILE:
	case ENFILE:
		return CAPSULE_E_NOFILE;
	case EPERM:
	case EACCES:
		return CAPSULE_E_DENIED;
	case ESRCH:
	case EBADF:
	case EINVAL:
		return CAPSULE_E_GONE;
	default:
		return -errno;
	}
}

static bool is_socket(int fd, uint32_t ino)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISSOCK(st.st_mode) &&
	       (uint32_t)st.st_ino == ino;
}

/* A duplicate of a process's descriptor, if it is that socket. */
static int borrow(const struct capsule_keeper *keeper, int fd, uint32_t ino,
		  int *ret_b)
{
	_cleanup_(fd_closep) int b = -1;

	if (keeper->pid == getpid())
		b = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	else
		b = (int)syscall(SYS_pidfd_getfd, keeper->pidfd, fd, 0);
	if (b < 0)
		return own_errno();
	if (!is_socket(b, ino))
		return CAPSULE_E_GONE;
	*ret_b = TAKE_FD(b);
	return 0;
}

int capsule_borrow(struct capsule *c, struct loan *ret_loan)
{
	struct loan loan = { .b = c->b, .marker = -1 };
	int r;

	if (c->b < 0) {
		if (!c->keeper.pid)
			return -EBADF;
		loan.marker = reader_mark();
		r = borrow(&c->keeper, c->keeper_b, c->ino, &loan.b);
		if (r) {
			fd_close(loan.marker);
			return r == CAPSULE_E_DENIED ? -EPERM : r;
		}
	}
	*ret_loan = loan;
	return 0;
}

void capsule_give_back(struct capsule *c, struct loan *loan)
{
	if (loan->b != c->b)
		fd_close(loan->b);
	loan->b = -1;
	loan->marker = fd_close(loan->marker);
}

bool capsule_is_only_read(struct capsule *c)
{
	struct loan loan;

	/* In this order: a reader is marked as long as it has B. */
	if (reader_is(c->keeper.pid) || capsule_borrow(c, &loan))
		return true;
	capsule_give_back(c, &loan);
	return false;
}

static int pin(pid_t pid, struct capsule_keeper *ret_keeper)
{
	_cleanup_(fd_closep) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t start;

	if (pidfd < 0)
		return own_errno();
	if (proc_start_time(pid, &start) || !is_alive(pidfd))
		return CAPSULE_E_GONE;
	ret_keeper->pid = pid;
	ret_keeper->start = start;
	ret_keeper->pidfd = TAKE_FD(pidfd);
	return 0;
}

static int pin_and_borrow(struct capsule *c, pid_t pid, int fd, int *ret_b)
{
	struct capsule_keeper keeper;
	int r;

	r = pin(pid, &keeper);
	if (r)
		return r;
	r = borrow(&keeper, fd, c->ino, ret_b);
	if (r) {
		fd_close(keeper.pidfd);
		return r;
	}
	c->keeper = keeper;
	c->keeper_b = fd;
	return 0;
}

struct search {
	struct {
		pid_t pid;
		int fd;
	} finds[FINDS_MAX];
	size_t n;
};

static bool found_one(void *arg, uint32_t ino, pid_t pid, int fd)
{
	struct search *s = arg;

	(void)ino;
	s->finds[s->n].pid = pid;
	s->finds[s->n].fd = fd;
	return ++s->n == FINDS_MAX;
}

/* The guest rather than its children, either rather than who is only reading,
   and anybody rather than ourselves. */
static size_t choose(const struct search *s, pid_t hint)
{
	uint64_t first = UINT64_MAX, start;
	size_t best = 0;

	for (size_t i = 0; i < s->n && s->n > 1; i++) {
		if (s->finds[i].pid == hint)
			return i;
		if (s->finds[i].pid == getpid() ||
		    proc_start_time(s->finds[i].pid, &start) ||
		    start >= first || reader_is(s->finds[i].pid))
			continue;
		first = start;
		best = i;
	}
	return best;
}

/* What a guest inherits is not closed by exec, unlike a reader's duplicate. */
static bool was_inherited(const struct capsule_keeper *keeper, int fd)
{
	_cleanup_(fd_closep) int info = -1;
	char text[128], *flags;
	ssize_t n;

	snprintf(text, sizeof(text), "/proc/%d/fdinfo/%d", (int)keeper->pid,
		 fd);
	info = open(text, O_RDONLY | O_CLOEXEC);
	n = info < 0 ? -1 : read(info, text, sizeof(text) - 1);
	if (n < 0)
		return false;
	text[n] = '\0';
	flags = strstr(text, "flags:");
	return flags && !(strtoul(flags + 6, NULL, 8) & O_CLOEXEC);
}

/*
 * A reader that had it when we saw it, and has given it back, may have it again
 * when we borrow it, and so for the next time: three times is no accident.
 */
static bool is_reading(struct capsule *c)
{
	if (c->keeper.pid == getpid() || was_inherited(&c->keeper, c->keeper_b))
		return false;
	for (unsigned i = 0; i < ROUNDS; i++)
		if (capsule_is_only_read(c))
			return true;
	return false;
}

static int borrow_from_guest(struct capsule *c, pid_t pid, int fd, int *ret_b)
{
	int r = pin_and_borrow(c, pid, fd, ret_b);

	if (r || !is_reading(c))
		return r;
	*ret_b = fd_close(*ret_b);
	fd_close(c->keeper.pidfd);
	c->keeper = (struct capsule_keeper){ .pidfd = -1 };
	return CAPSULE_E_GONE;
}

/* The only one is taken as it is: perhaps all that is left are readers. */
static int try_finds(struct capsule *c, struct search *s, pid_t hint,
		     int *ret_b)
{
	bool only = s->n == 1;
	int r = CAPSULE_E_GONE;

	while (r == CAPSULE_E_GONE && s->n) {
		size_t i = choose(s, hint);
		pid_t pid = s->finds[i].pid;
		int fd = s->finds[i].fd;

		r = only ? pin_and_borrow(c, pid, fd, ret_b)
			 : borrow_from_guest(c, pid, fd, ret_b);
		s->finds[i] = s->finds[--s->n];
	}
	return r;
}

/* One walk. Return: as pin_and_borrow(), or CAPSULE_E_BUSY. */
static int search_b(struct capsule *c, const struct capsule_entry *entry,
		    uint64_t deadline, int *ret_b)
{
	struct search s = { .n = 0 };
	int r;

	r = proc_find_socket(&entry->ino, 1, deadline, found_one, &s);
	if (r == -EMFILE || r == -ENFILE)
		return CAPSULE_E_NOFILE;
	if (r == -ETIME && !s.n)
		return CAPSULE_E_BUSY;
	if (r && r != -ETIME)
		return r;
	return try_finds(c, &s, entry->hint_pid, ret_b);
}

/* May we hope to see its holder in /proc? */
static bool is_hidden(const struct capsule_entry *entry)
{
	return geteuid() && entry->uid != geteuid();
}

static int open_b(struct capsule *c, const struct capsule_entry *entry,
		  uint64_t deadline, int *ret_b)
{
	int hint, r;

	hint = borrow_from_guest(c, entry->hint_pid, entry->hint_fd, ret_b);
	if (hint != CAPSULE_E_GONE && hint != CAPSULE_E_DENIED)
		return hint;
	if (hint == CAPSULE_E_DENIED && is_hidden(entry))
		return hint;
	r = CAPSULE_E_GONE;
	for (unsigned i = 0; i < ROUNDS && !entry->nowhere; i++) {
		r = search_b(c, entry, deadline, ret_b);
		if (r != CAPSULE_E_GONE || clock_now() >= deadline)
			break;
	}
	if (r != CAPSULE_E_GONE)
		return r;
	return is_hidden(entry) ? CAPSULE_E_DENIED : hint;
}

static int get_option(int fd, int option, void *value, socklen_t size)
{
	return getsockopt(fd, SOL_SOCKET, option, value, &size) < 0 ? -errno
								    : 0;
}

static bool is_our_kind(int fd)
{
	int domain, type, protocol;

	return !get_option(fd, SO_DOMAIN, &domain, sizeof(domain)) &&
	       !get_option(fd, SO_TYPE, &type, sizeof(type)) &&
	       !get_option(fd, SO_PROTOCOL, &protocol, sizeof(protocol)) &&
	       domain == AF_UNIX && type == SOCK_SEQPACKET && !protocol;
}

static bool parse_bound(const struct sockaddr_un *sun, socklen_t len,
			struct name_parts *ret_name)
{
	const size_t head = offsetof(struct sockaddr_un, sun_path) + 1;

	return len > head && !sun->sun_path[0] &&
	       !name_parse(sun->sun_path + 1, len - head, ret_name);
}

static bool has_name(int b, const struct capsule_entry *entry,
		     struct name_parts *ret_name)
{
	struct sockaddr_un sun = {};
	socklen_t len = sizeof(sun);

	return !getsockname(b, (struct sockaddr *)&sun, &len) &&
	       parse_bound(&sun, len, ret_name) &&
	       ret_name->nonce == entry->nonce &&
	       !memcmp(&ret_name->uuid, &entry->uuid, sizeof(entry->uuid));
}

static bool is_same_name(const struct name_parts *a, const struct name_parts *b)
{
	return a->nonce == b->nonce && a->pid == b->pid && a->fd == b->fd &&
	       !memcmp(&a->uuid, &b->uuid, sizeof(a->uuid));
}

static uint64_t netns_cookie(int fd)
{
	socklen_t len = sizeof(uint64_t);
	uint64_t cookie = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len))
		return 0;
	return cookie;
}

/*
 * Without sock_diag nobody tells the peer's inode. But a name is bound once in
 * a network namespace: a socket of our namespace whose peer has that name has
 * that very socket as its peer.
 */
static bool has_peer_of_name(int a, const struct name_parts *bound)
{
	_cleanup_(fd_closep) int ours = -1;
	struct sockaddr_un sun = {};
	socklen_t len = sizeof(sun);
	struct name_parts name;

	ours = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	return ours >= 0 && netns_cookie(ours) &&
	       netns_cookie(ours) == netns_cookie(a) &&
	       !getpeername(a, (struct sockaddr *)&sun, &len) &&
	       parse_bound(&sun, len, &name) && is_same_name(&name, bound);
}

static bool is_end_a(const struct capsule *c, const struct capsule_entry *entry,
		     int fd)
{
	if (!is_our_kind(fd))
		return false;
	if (entry->peer_ino)
		return is_socket(fd, entry->peer_ino);
	return has_peer_of_name(fd, &c->bound);
}

static bool is_trusted(uid_t uid, bool any_owner)
{
	return any_owner || !uid || uid == geteuid();
}

/* Whose is it, and is it what it claims to be? */
static int authenticate(struct capsule *c, const struct capsule_entry *entry,
			bool any_owner, int b)
{
	struct ucred cred;
	struct stat st;

	if (fstat(b, &st) < 0)
		return -errno;
	if (!is_our_kind(b) || !has_name(b, entry, &c->bound) ||
	    get_option(b, SO_PEERCRED, &cred, sizeof(cred)))
		return CAPSULE_E_FORGED;
	if (cred.uid != st.st_uid || !is_trusted(st.st_uid, any_owner))
		return CAPSULE_E_FORGED;
	if (entry->uid != (uid_t)-1 && entry->uid != st.st_uid)
		return CAPSULE_E_FORGED;
	c->uid = st.st_uid;
	return 0;
}

static int try_identity(struct capsule *c, int *fd)
{
	struct identity_bond bond = { c->uid, c->who.uuid, c->who.nonce };
	int r;

	if (c->identity >= 0)
		return 0;
	r = identity_read(*fd, &bond, &c->who);
	if (r)
		return r == IDENTITY_E_FORGED ? 0 : r;
	c->identity = TAKE_FD(*fd);
	return 0;
}

static int try_header(struct capsule *c, const struct capsule_entry *entry,
		      const struct queue_message *m)
{
	int r = 0;

	for (unsigned i = 0; i < m->n_fds && !r; i++) {
		int *fd = &m->fds[i];

		if (c->a < 0 && is_end_a(c, entry, *fd))
			c->a = TAKE_FD(*fd);
		else
			r = try_identity(c, fd);
	}
	return r;
}

static bool is_header(const struct queue_message *m)
{
	struct message head;

	return m->size <= QUEUE_PAYLOAD_MAX &&
	       !message_parse(m->payload, m->size, &head) &&
	       head.kind == MESSAGE_HEADER;
}

static int try_messages(struct capsule *c, const struct capsule_entry *entry,
			const struct queue_view *view)
{
	int r = 0;

	for (size_t i = 0; i < view->n && !r; i++)
		if (is_header(&view->messages[i]))
			r = try_header(c, entry, &view->messages[i]);
	return r;
}

static bool is_complete(const struct capsule *c)
{
	return c->a >= 0 && c->identity >= 0;
}

/*
 * End A and the identity. It is no failure if the guest has lost them. What is
 * looked for proves itself, so a look need not be complete (.exclusive): only
 * to miss it takes several.
 */
static int find_header(struct capsule *c, const struct capsule_entry *entry,
		       uint64_t deadline, int b)
{
	struct queue_look look = {
		.deadline = deadline,
		.max_fds = capsule_fds_max(),
		.exclusive = true,
	};
	int r = 0;

	for (unsigned i = 0; i < 1 + ROUNDS && !r && !is_complete(c); i++) {
		_cleanup_(queue_view_done) struct queue_view v =
			QUEUE_VIEW_NULL;

		r = capsule_of_queue(i ? queue_view(b, &look, &v)
				       : queue_first(b, &v));
		if (!r)
			r = try_messages(c, entry, &v);
		if (i && !is_complete(c) && backoff_wait(i, deadline))
			break;
	}
	return r;
}

static void capsule_freep(struct capsule **c)
{
	capsule_free(*c);
}

int capsule_adopt(const struct capsule_entry *entry,
		  const struct capsule_adopt_config *config,
		  struct capsule **ret_capsule)
{
	_cleanup_(capsule_freep) struct capsule *c = NULL;
	_cleanup_(fd_closep) int marker = -1;
	_cleanup_(fd_closep) int b = -1;
	int r;

	if (entry->uid != (uid_t)-1 &&
	    !is_trusted(entry->uid, config->any_owner))
		return CAPSULE_E_FORGED;
	c = capsule_alloc();
	if (!c)
		return -ENOMEM;
	c->who.uuid = entry->uuid;
	c->who.id = -1;
	c->who.nonce = entry->nonce;
	c->ino = entry->ino;
	marker = reader_mark();
	r = open_b(c, entry, config->deadline, &b);
	if (!r)
		r = authenticate(c, entry, config->any_owner, b);
	if (!r)
		r = find_header(c, entry, config->deadline, b);
	if (r)
		return r;
	*ret_capsule = TAKE_PTR(c);
	return 0;
}
