/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/capsule.h"

#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/capsule/name.h"

#include <inttypes.h>
#include <limits.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <string.h>

/*
 * A dump of the AF_UNIX sockets of this network namespace, from which those are
 * kept that are SOCK_SEQPACKET and bear a capsule's abstract name.
 *
 * The kernel walks its hash table and fills a message of at most 32 KiB
 * whenever the last one was read, synchronously, so a read never waits and the
 * socket is non-blocking. Between two messages it remembers its place as
 * (chain, index) and holds no lock. So a socket that appears meanwhile shifts
 * its chain and one entry comes twice, and one that goes away makes it skip an
 * entry. With 1000 capsules, and a process that makes and closes sockets as
 * fast as it can, 5 dumps in 100 were short of one. /proc/net/unix is the same
 * walk in pages, so it has more such borders.
 *
 * Therefore a walk in several messages is followed by others, and the union
 * counts. Each has messages of another size, so that what lies at a border in
 * one does not in the next. What a walk has skipped stood behind a socket that
 * it had told of and that went away before its end. So if the next walk tells
 * of the very same sockets, capsules or not, none was skipped; on a quiet host
 * that is the second one. On a busy host there is no such proof, and it ends
 * when one walk after another has found nothing new: two were not enough, for a
 * capsule that both have skipped is missed.
 *
 * That file is for where sock_diag is absent (module unix_diag) or forbidden (a
 * sandbox). It has no peer and no owner. It is text which others write: '@'
 * stands for a NUL byte, and a name with a newline can imitate a whole line. A
 * name proves nothing anyway, and capsule_adopt() compares the inode with the
 * socket that it has got.
 */

#define DUMP_SIZE (32 * 1024)
#define TEXT_SIZE 4096
#define DUMP_TRIES 5

/* A border of one of them lies seldom near one of another. In 64ths. */
static const unsigned char sizes[] = { 64, 41, 53, 29, 47, 37, 59, 31,
				       43, 61, 33, 49, 39, 57, 35, 45 };
#define VAIN_WALKS_MAX 4

/* What tells two walks apart: how many sockets of any kind, and which. */
struct walked {
	uint64_t n, sum;
};

struct discovery {
	const struct uuid *uuid;
	struct capsule_entry *entries;
	size_t n, size;
	struct walked walked;
};

static void discovery_done(struct discovery *d)
{
	free(d->entries);
	d->entries = NULL;
	d->n = d->size = 0;
}

static int discovery_push(struct discovery *d, const struct capsule_entry *e)
{
	if (d->n == d->size) {
		size_t size = d->size ? d->size * 2 : 64;
		void *p = reallocarray(d->entries, size, sizeof(*d->entries));

		if (!p)
			return -ENOMEM;
		d->entries = p;
		d->size = size;
	}
	d->entries[d->n++] = *e;
	return 0;
}

static int compare_entry(const void *a, const void *b)
{
	const struct capsule_entry *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* Sort them by inode, and keep one of each. */
static void discovery_unique(struct discovery *d)
{
	size_t n = 0;

	if (d->n)
		qsort(d->entries, d->n, sizeof(*d->entries), compare_entry);
	for (size_t i = 0; i < d->n; i++)
		if (!n || d->entries[n - 1].ino != d->entries[i].ino)
			d->entries[n++] = d->entries[i];
	d->n = n;
}

static bool walked_same(const struct walked *a, const struct walked *b)
{
	return a->n == b->n && a->sum == b->sum;
}

/* Ids are successive numbers: they are spread before they are added up. */
static void discovery_note(struct discovery *d, uint64_t id)
{
	uint64_t x = (id + 1) * UINT64_C(0x9e3779b97f4a7c15);

	d->walked.n++;
	d->walked.sum += (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* @entry has everything but what the name says. */
static int discovery_add(struct discovery *d, const char *name, size_t len,
			 struct capsule_entry *entry)
{
	struct name_parts parts;

	if (d->uuid && !name_has_uuid(name, len, d->uuid))
		return 0;
	if (name_parse(name, len, &parts) < 0)
		return 0;
	entry->uuid = parts.uuid;
	entry->hint_pid = parts.pid;
	entry->hint_fd = parts.fd;
	entry->nonce = parts.nonce;
	return discovery_push(d, entry);
}

static uint32_t attr_u32(const struct nlattr *attr)
{
	uint32_t value;

	memcpy(&value, mnl_attr_get_payload(attr), sizeof(value));
	return value;
}

/* Never used again, and there is one for those that have no inode yet. */
static uint64_t cookie_of(const struct unix_diag_msg *msg)
{
	return msg->udiag_cookie[0] | (uint64_t)msg->udiag_cookie[1] << 32;
}

static int diag_message(const struct nlmsghdr *nlh, void *arg)
{
	const struct unix_diag_msg *msg = mnl_nlmsg_get_payload(nlh);
	struct capsule_entry entry = { .uid = (uid_t)-1 };
	const char *name = NULL;
	struct nlattr *attr;
	size_t len = 0;
	int r;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*msg))
		return MNL_CB_OK;
	discovery_note(arg, cookie_of(msg));
	if (msg->udiag_type != SOCK_SEQPACKET)
		return MNL_CB_OK;
	entry.ino = msg->udiag_ino;
	mnl_attr_for_each(attr, nlh, sizeof(*msg))
	{
		uint16_t type = mnl_attr_get_type(attr);
		uint16_t size = mnl_attr_get_payload_len(attr);

		if (type == UNIX_DIAG_NAME) {
			name = mnl_attr_get_payload(attr);
			len = size;
		} else if (type == UNIX_DIAG_PEER && size == sizeof(uint32_t)) {
			entry.peer_ino = attr_u32(attr);
		} else if (type == UNIX_DIAG_UID && size == sizeof(uint32_t)) {
			entry.uid = attr_u32(attr);
		}
	}
	if (len < 2 || name[0] != '\0')
		return MNL_CB_OK;
	r = discovery_add(arg, name + 1, len - 1, &entry);
	errno = -r;
	return r < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int diag_request(struct mnl_socket *nl, void *buf, uint32_t seq)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct unix_diag_req *req;

	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = seq;
	req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));
	req->sdiag_family = AF_UNIX;
	req->udiag_states = UINT32_MAX;
	req->udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER;
	if (feature_allowed(FEATURE_UDIAG_UID))
		req->udiag_show |= UDIAG_SHOW_UID;
	return mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0 ? -errno : 0;
}

static void mnl_closep(struct mnl_socket **nl)
{
	if (*nl)
		mnl_socket_close(*nl);
}

static bool has_sockets(const struct nlmsghdr *nlh, ssize_t len)
{
	return mnl_nlmsg_ok(nlh, (int)len) &&
	       nlh->nlmsg_type == SOCK_DIAG_BY_FAMILY;
}

/* Return: in how many messages it came; or negative errno. */
static int diag_dump(struct discovery *d, void *buf, size_t size)
{
	_cleanup_(mnl_closep) struct mnl_socket *nl = NULL;
	const uint32_t seq = 1;
	int r, messages = 0;

	nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	r = diag_request(nl, buf, seq);
	if (r < 0)
		return r;
	do {
		ssize_t n = mnl_socket_recvfrom(nl, buf, size);

		if (n < 0)
			return -errno;
		messages += has_sockets(buf, n);
		r = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nl),
			       diag_message, d);
	} while (r == MNL_CB_OK);
	return r == MNL_CB_STOP ? messages : -errno;
}

/* EINTR: NLM_F_DUMP_INTR, says libmnl, or a signal. */
static int diag_walk(struct discovery *d, void *buf, size_t size)
{
	int r = -EAGAIN;

	for (int i = 0; i < DUMP_TRIES; i++) {
		r = diag_dump(d, buf, size);
		if (r != -EINTR && r != -ENOBUFS && r != -EAGAIN)
			break;
	}
	return r;
}

/* "Num: RefCount Protocol Flags Type St Inode Path", all but Inode in hex. */
static int proc_line(struct discovery *d, const char *line, size_t len)
{
	struct capsule_entry entry = { .uid = (uid_t)-1 };
	unsigned type;
	int name = 0;

	if (sscanf(line, "%*x: %*x %*x %*x %x %*x %" SCNu32 " @%n", &type,
		   &entry.ino, &name) != 2)
		return 0;
	discovery_note(d, entry.ino);
	if (!name || type != SOCK_SEQPACKET)
		return 0;
	if (line[len - 1] == '\n')
		len--;
	return discovery_add(d, line + name, len - (size_t)name, &entry);
}

static void fclosep(FILE **file)
{
	if (*file)
		fclose(*file);
}

static int proc_walk(struct discovery *d, void *buf, size_t size)
{
	_cleanup_(fclosep) FILE *file = NULL;
	_cleanup_(freep) char *line = NULL;
	size_t line_size = 0;
	ssize_t len;
	int r = 0;

	file = fopen("/proc/thread-self/net/unix", "re");
	if (!file)
		return -errno;
	setvbuf(file, buf, _IOFBF, size);
	while (r == 0 && (len = getline(&line, &line_size, file)) > 0)
		r = proc_line(d, line, (size_t)len);
	if (r == 0 && ferror(file))
		r = -EIO;
	return r < 0 ? r : INT_MAX;
}

/*
 * Another walk, of which the union is made. @walk returns in how many messages
 * it came, or negative errno; and so does this one.
 */
static int discover_more(struct discovery *d, void *buf, size_t size,
			 int (*walk)(struct discovery *, void *, size_t))
{
	int r;

	d->walked = (struct walked){};
	r = walk(d, buf, size);
	discovery_unique(d);
	return r;
}

static int discover_by(struct discovery *d, size_t size,
		       int (*walk)(struct discovery *, void *, size_t))
{
	_cleanup_(freep) void *buf = malloc(size);
	unsigned vain = 0;

	if (!buf)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(sizes) && vain < VAIN_WALKS_MAX;
	     i++) {
		struct walked last = d->walked;
		size_t known = d->n;
		int r = discover_more(d, buf, size * sizes[i] / 64, walk);

		if (r < 0)
			return r;
		if (r <= 1 || (i && walked_same(&last, &d->walked)))
			break;
		vain = i && known == d->n ? vain + 1 : 0;
	}
	return 0;
}

static int discover_diag(struct discovery *d)
{
	if (!feature_allowed(FEATURE_UNIX_DIAG))
		return -EPROTONOSUPPORT;
	return discover_by(d, DUMP_SIZE, diag_walk);
}

static int discover_proc(struct discovery *d)
{
	discovery_done(d);
	return discover_by(d, TEXT_SIZE, proc_walk);
}

int capsule_discover(const struct uuid *uuid,
		     struct capsule_entry **ret_entries, size_t *ret_n)
{
	_cleanup_(discovery_done) struct discovery d = { .uuid = uuid };
	int r = discover_diag(&d);

	if (r < 0) {
		int e = discover_proc(&d);

		if (e < 0)
			return e == -ENOMEM ? e : r;
	}
	*ret_entries = TAKE_PTR(d.entries);
	*ret_n = d.n;
	return 0;
}
