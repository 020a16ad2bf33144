/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/openers.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/capsule/proc.h"
#include "core/capsule/reader.h"
#include "core/lib/backing.h"
#include "core/lib/claimed.h"
#include "core/lib/device.h"
#include "core/lib/family.h"
#include "core/lib/lone.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A disk can be open without any lock. First the kernel is asked, which knows
 * without a search (lone.h), so on a host where all is well that is all. What
 * it says no to, or cannot say (of devices, of files of others, on a file
 * system whose other users are elsewhere), is looked for: in the descriptors of
 * all processes, in loop devices, and, if the kernel has said that there is
 * somebody, in what processes have mapped. Descriptors in flight are in no
 * process; the kernel's answer counts them.
 *
 * A device has blocks of its relatives (relatives.c), so who has one of those
 * open has these blocks, too, and is looked for likewise. (Claims the kernel
 * itself extends to the parts of a disk.) But what a device is built on, its
 * volume manager may well have open to look at it, as multipathd(8) does, so
 * there only those count who write.
 *
 * One that does not write may only have a look, as udev, blkid(8) and our own
 * `who` do. It counts when it is there after the same time as one that is
 * ending, see below.
 *
 * A process that is ending, or one that is reading capsules and will have
 * closed what it read in a moment, is waited for, and so is one whom nobody can
 * find, as long as a dying holder of a lock would be. After that it counts.
 *
 * If nobody is found, and there are processes that we may not look into, or
 * that our /proc does not show since we are in a pid namespace, then nobody can
 * say that the disk is not open, and "require" is a promise.
 */

#define PAUSE_MS 10
#define SEARCH_MS 2000

/* include/linux/proc_ns.h, PROC_PID_INIT_INO */
#define INITIAL_PID_NS 0xEFFFFFFC

struct disk {
	struct proc_file file; /* the first: they are sorted by it */
	uint32_t event;
	bool remote;
	bool probed;  /* the kernel has said that somebody has it open */
	bool own;     /* somebody of ours has */
	bool claimed; /* a device that the kernel has given to somebody */
	bool alone;   /* the answer: nobody else has */
	bool live;    /* somebody was found who has it for longer */
	bool hidden;  /* there may be others that we cannot see */
	bool related; /* it is no disk that is taken, but a relative of one */
	struct sysfs_relative relative;
};

struct opener {
	size_t disk;
	pid_t pid; /* 0: a loop device */
	bool writes;
	char device[24];
};

struct check {
	struct take *take;
	struct disk *disks;
	size_t n, cap;
	struct opener *found;
	size_t n_found, cap_found;
	size_t *asked; /* of one search: the first disk with each file */
	int error;
};

static void check_done(struct check *c)
{
	free(c->disks);
	free(c->found);
	free(c->asked);
}

static bool is_wanted(const struct take *t, const struct txn_event *e)
{
	const struct txn_item *item = txn_item(t->txn, e->item);

	return !e->res && item->mode == RES_EXCLUSIVE &&
	       item->state == TXN_ITEM_LOCKED &&
	       t->slots[e->item].type != RES_TYPE_LEASE &&
	       !t->slots[e->item].has_source;
}

static struct disk describe(const struct take *t, uint32_t event)
{
	uint32_t item = t->events[event].item;
	const struct take_point point = take_point(t, item, 0);
	struct disk disk = {
		.file.id = point.file,
		.event = event,
		.remote = point.remote,
	};
	struct stat st;

	if (!point.remote && !fstat(point.fd, &st) && S_ISBLK(st.st_mode))
		disk.file = (struct proc_file){ .rdev = st.st_rdev };
	return disk;
}

static int add_disk(struct check *c, const struct disk *disk)
{
	if (c->n == c->cap) {
		size_t cap = MAX(2 * c->cap, 16);
		void *p = reallocarray(c->disks, cap, sizeof(*c->disks));

		if (!p)
			return -ENOMEM;
		c->disks = p;
		c->cap = cap;
	}
	c->disks[c->n++] = *disk;
	return 0;
}

/* That they are known, relatives_look() has made sure of. */
static int add_relatives(struct check *c, const struct disk *disk)
{
	struct sysfs_relatives relatives = {};
	int r = sysfs_relatives(c->take->context->sysfs, disk->file.rdev,
				&relatives);

	for (size_t i = 0; i < relatives.n && !r; i++) {
		const struct disk related = {
			.file.rdev = relatives.v[i].rdev,
			.event = disk->event,
			.related = true,
			.relative = relatives.v[i],
		};

		r = add_disk(c, &related);
	}
	sysfs_relatives_done(&relatives);
	return r;
}

static int collect(struct check *c, size_t first, size_t n)
{
	int r = 0;

	for (size_t i = first; i < first + n && !r; i++) {
		struct disk disk;

		if (!is_wanted(c->take, &c->take->events[i]))
			continue;
		disk = describe(c->take, (uint32_t)i);
		r = add_disk(c, &disk);
		if (!r && disk.file.rdev)
			r = add_relatives(c, &disk);
	}
	if (r || !c->n)
		return r;
	qsort(c->disks, c->n, sizeof(*c->disks), proc_file_compare);
	c->asked = calloc(c->n, sizeof(*c->asked));
	return c->asked ? 0 : -ENOMEM;
}

/* The descriptor that is about to be parked. */
static int fd_of(const struct check *c, size_t i)
{
	uint32_t item = c->take->events[c->disks[i].event].item;

	return take_point(c->take, item, 0).fd;
}

/* A mount, a volume or the like has opened it with O_EXCL. */
static bool is_claimed(const struct check *c, size_t i)
{
	_cleanup_(fd_closep) int fd = -1;
	char path[32];

	if (c->take->slots[c->take->events[c->disks[i].event].item].claim)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd_of(c, i));
	fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 && errno == EBUSY;
}

/* Of all that are not known to be alone. */
static int ask_kernel(struct check *c)
{
	_cleanup_(freep) struct lone *files = calloc(c->n + 1, sizeof(*files));
	size_t k = 0;

	if (!files)
		return -ENOMEM;
	for (size_t i = 0; i < c->n; i++) {
		struct disk *disk = &c->disks[i];

		if (disk->file.rdev && !disk->related)
			disk->claimed = is_claimed(c, i);
		if (disk->alone || disk->remote || disk->file.rdev)
			continue;
		c->asked[k] = i;
		files[k++].fd = fd_of(c, i);
	}
	lone_ask(files, k);
	for (size_t i = 0; i < k; i++) {
		c->disks[c->asked[i]].alone = !files[i].answer;
		c->disks[c->asked[i]].probed = files[i].answer == -EAGAIN;
	}
	return 0;
}

/* Neither ending, nor one that may only have a look. */
static bool is_steady(const struct opener *opener)
{
	return !opener->pid || (opener->writes && !proc_is_dying(opener->pid) &&
				!reader_is(opener->pid));
}

/* One process is found with all that it has open before the next one is. */
static struct opener *find_known(struct check *c, const struct opener *opener)
{
	for (size_t i = c->n_found;
	     opener->pid && i-- && c->found[i].pid == opener->pid;)
		if (c->found[i].disk == opener->disk)
			return &c->found[i];
	return NULL;
}

static void add_opener(struct check *c, const struct opener *opener)
{
	struct opener *last = find_known(c, opener);

	c->disks[opener->disk].live |= is_steady(opener);
	if (last) {
		last->writes |= opener->writes;
		return;
	}
	if (c->n_found == c->cap_found) {
		size_t cap = MAX(2 * c->cap_found, 16);
		void *p = realloc(c->found, cap * sizeof(*c->found));

		if (!p) {
			c->error = -ENOMEM;
			return;
		}
		c->found = p;
		c->cap_found = cap;
	}
	c->found[c->n_found++] = *opener;
}

static bool is_same_file(const struct check *c, size_t i, size_t k)
{
	return i < c->n &&
	       !proc_file_compare(&c->disks[i].file, &c->disks[k].file);
}

/* A volume manager has a look at what a volume is made of. */
static bool is_below(const struct disk *disk)
{
	return disk->related && disk->relative.relation == SYSFS_BELOW;
}

static bool found_process(void *arg, const struct proc_opener *found)
{
	struct check *c = arg;
	size_t first = c->asked[found->file];
	bool own = family_has(c->take->guest, found->pid);

	for (size_t i = first; is_same_file(c, i, first); i++) {
		struct disk *disk = &c->disks[i];
		const struct opener opener = {
			.disk = i,
			.pid = found->pid,
			.writes = found->writes,
		};

		if (!disk->related && found->pid == getpid() &&
		    found->fd == fd_of(c, i))
			continue;
		if (own)
			disk->own = true;
		else if (found->writes || !is_below(disk))
			add_opener(c, &opener);
	}
	return c->error;
}

static void found_device(void *arg, size_t file, const char *name)
{
	struct check *c = arg;
	size_t first = c->asked[file];

	for (size_t i = first; is_same_file(c, i, first); i++) {
		struct opener opener = { .disk = i };

		snprintf(opener.device, sizeof(opener.device), "%s", name);
		add_opener(c, &opener);
	}
}

static bool is_worth_it(const struct check *c, size_t i, bool mapped)
{
	bool wanted = !mapped || c->disks[i].probed;

	for (size_t f = 0; mapped && f < c->n_found; f++)
		wanted &= c->found[f].disk != i;
	return wanted && !c->disks[i].alone;
}

/* Those that it is worth to look for; @mapped: whom nobody was found for. */
static size_t ask_for(struct check *c, bool mapped, struct proc_file *files)
{
	size_t k = 0, first = 0;

	for (size_t i = 0; i < c->n; i++) {
		if (!is_same_file(c, i, first))
			first = i;
		if ((k && c->asked[k - 1] == first) ||
		    !is_worth_it(c, i, mapped))
			continue;
		c->asked[k] = first;
		files[k++] = c->disks[first].file;
	}
	return k;
}

static bool sees_all_processes(void)
{
	struct stat st;

	return !stat("/proc/self/ns/pid", &st) && st.st_ino == INITIAL_PID_NS;
}

static int search(struct check *c, uint64_t deadline)
{
	_cleanup_(freep) struct proc_file *files = NULL;
	struct glk_context *context = c->take->context;
	bool all = sees_all_processes();
	size_t n;
	int r;

	files = calloc(c->n + 1, sizeof(*files));
	if (!files)
		return -ENOMEM;
	c->n_found = 0;
	for (size_t i = 0; i < c->n; i++)
		c->disks[i].own = c->disks[i].live = false;
	n = ask_for(c, false, files);
	r = proc_find_openers(files, n, false, deadline, found_process, c);
	for (size_t i = 0; i < c->n; i++)
		c->disks[i].hidden = r || !all;
	backing_find(context, files, n, found_device, c);
	n = ask_for(c, true, files);
	if (n)
		proc_find_openers(files, n, true, deadline, found_process, c);
	return c->error;
}

/* Return: is there more to be known of this one in a moment? */
static bool judge(struct check *c, size_t i)
{
	struct disk *disk = &c->disks[i];
	bool any = false;

	for (size_t f = 0; f < c->n_found; f++)
		any |= c->found[f].disk == i;
	if (disk->alone || disk->claimed || disk->live)
		return false;
	if (any)
		return true;
	if (disk->probed && !disk->own)
		return true;
	disk->alone = !disk->hidden;
	return false;
}

static bool all_alone(const struct check *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (!c->disks[i].alone)
			return false;
	return true;
}

static int look(struct check *c)
{
	struct glk_context *context = c->take->context;
	uint64_t now = clock_now();
	uint64_t deadline =
		MIN(context->deadline, now + SEARCH_MS * NSEC_PER_MSEC);
	uint64_t end = now + MIN(GRACE_MS, context->timeout_ms) * NSEC_PER_MSEC;

	for (;;) {
		bool again = false;
		int r = ask_kernel(c);

		if (r || all_alone(c))
			return r;
		r = search(c, deadline);
		for (size_t i = 0; i < c->n && !r; i++)
			again |= judge(c, i);
		if (r || !again || clock_now() >= MIN(end, deadline))
			return r;
		take_sleep_until(deadline_in_ms(PAUSE_MS));
		if (engine_take_cancel(context->engine))
			return -ECANCELED;
	}
}

static bool warns(const struct check *c)
{
	return c->take->context->policy.exclusive_open == GLK_OPEN_WARN;
}

static int tell(struct check *c, size_t i, struct glk_conflict *who)
{
	struct take *t = c->take;
	uint32_t item = t->events[c->disks[i].event].item;

	who->path = txn_item(t->txn, item)->path;
	who->mode = GLK_MODE_EXCLUSIVE;
	if (warns(c))
		return conflict_add(&t->warnings, who);
	return take_add_refusal(t, item, who);
}

/* "has it open", "has its partition sda1 open for writing"; to be freed, or
   NULL for lack of memory. */
static char *tell_how(const struct check *c, const struct opener *opener)
{
	const struct disk *disk = &c->disks[opener->disk];
	char tail[64], *how;

	if (opener->pid)
		strcpy(tail, opener->writes ? " open for writing" : " open");
	else
		snprintf(tail, sizeof(tail), " open as %s", opener->device);
	if (disk->related)
		return device_has("has", &disk->relative, tail);
	return asprintf(&how, "has it%s", tail) < 0 ? NULL : how;
}

static int tell_opener(struct check *c, const struct opener *opener)
{
	_cleanup_(freep) char *how = tell_how(c, opener);
	struct glk_conflict who = { .kind = GLK_CONFLICT_KERNEL };
	char exe[PATH_MAX];

	if (!how)
		return -ENOMEM;
	if (opener->pid)
		conflict_of_process(&who, opener->pid, exe);
	who.how = how;
	return tell(c, opener->disk, &who);
}

/* Who has claimed a device is told as a refusal. */
static int tell_claim(struct check *c, size_t i)
{
	struct take *t = c->take;
	int r = claimed_blame(t, t->events[c->disks[i].event].item);

	r = MIN(r, 0);
	for (size_t k = 0; warns(c) && k < t->refused.n && !r; k++)
		r = conflict_add(&t->warnings, &t->refused.items[k]);
	if (warns(c))
		conflict_clear(&t->refused);
	return r;
}

/* All that is known of this one, or else that somebody may have it open, unless
   that is said of the disk that it is a relative of. */
static int report_disk(struct check *c, size_t i)
{
	const struct disk *disk = &c->disks[i];
	struct glk_conflict unknown = {
		.how = disk->probed && !disk->own ? "has it open"
						  : "may have it open",
	};
	size_t told = 0;
	int r = 0;

	for (size_t f = 0; f < c->n_found && !r; f++) {
		if (c->found[f].disk != i)
			continue;
		r = tell_opener(c, &c->found[f]);
		told++;
	}
	if (r || (disk->related && !told))
		return r;
	if (!warns(c))
		c->take->events[disk->event].res = -EBUSY;
	if (disk->claimed)
		return tell_claim(c, i);
	return told ? 0 : tell(c, i, &unknown);
}

/* Each opener of each disk, or else that there is one, or may be. */
static int report(struct check *c)
{
	int r = 0;

	conflict_clear(&c->take->refused);
	c->take->opened = true;
	for (size_t i = 0; i < c->n && !r; i++)
		if (!c->disks[i].alone)
			r = report_disk(c, i);
	return r;
}

int openers_check(struct take *t, size_t first, size_t n)
{
	_cleanup_(check_done) struct check c = { .take = t };
	int r;

	if (t->context->policy.exclusive_open == GLK_OPEN_IGNORE)
		return 0;
	r = collect(&c, first, n);
	if (!r && c.n)
		r = look(&c);
	return r ? r : report(&c);
}
