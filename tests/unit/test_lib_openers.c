/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/loop.h"
#include "tests/lib/tree.h"
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"
#include "core/lib/lone.h"

#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

static struct glk_context *context;
static struct kit_guest running; /* whose processes are none of ours */

static void set_policy(struct glk_context *of, int exclusive_open)
{
	const struct glk_policy policy = { .exclusive_open = exclusive_open };

	assert_int_equal(glk_context_set_policy(of, &policy), 0);
}

static int start(void **state)
{
	(void)state;
	context = guest_context();
	running = kit_run(context, 1, kit_file("own", 0), 0);
	set_policy(context, GLK_OPEN_REFUSE);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	kit_end(&running);
	glk_context_free(context);
	return 0;
}

struct opener {
	const char *path;
	int flags;
	const int *without; /* two descriptors not to be inherited, or NULL */
	bool map;
	unsigned ms;	     /* how long, or 0 */
	const char *removes; /* a file, meanwhile; or NULL */
	pid_t pid;
	struct channel ready;
};

static int be_opener(void *arg)
{
	struct opener *o = arg;
	int fd = open(o->path, o->flags);

	MUST(fd >= 0);
	for (int i = 0; o->without && i < 2; i++)
		close(o->without[i]);
	if (o->map) {
		MUST(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) !=
		     MAP_FAILED);
		close(fd);
	}
	channel_tell(&o->ready, 0);
	if (o->ms) {
		usleep(o->ms * 500);
		if (o->removes)
			MUST(!unlink(o->removes));
		usleep(o->ms * 500);
		close(fd);
	}
	guest_live();
	return 0;
}

static void opener_start(struct opener *o)
{
	o->ready = channel_new();
	o->pid = process_start(be_opener, o);
	channel_reads(&o->ready);
	assert_int_equal(channel_hear(&o->ready), 0);
}

static void opener_end(struct opener *o)
{
	process_end(o->pid);
	channel_free(&o->ready);
}

static const struct glk_conflict *conflicts(size_t expected)
{
	const struct glk_conflict *c = NULL;

	assert_int_equal(glk_context_conflicts(context, &c), expected);
	return c;
}

static void assert_process(const struct glk_conflict *c, pid_t pid,
			   const char *how)
{
	assert_int_equal(c->kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(c->pid, pid);
	assert_string_equal(c->how, how);
	assert_non_null(strstr(c->exe, "test_lib_openers"));
	assert_true(c->since > 0);
}

static int attach(const char *path)
{
	return guest_attach(running.guest, path, 0);
}

static void every_opener_is_named(void **state)
{
	const char *path = kit_file("open", 0);
	struct opener writer = { .path = path, .flags = O_RDWR };
	struct opener reader = { .path = path, .flags = O_RDONLY };
	const struct glk_conflict *c;

	(void)state;
	opener_start(&writer);
	opener_start(&reader);
	assert_int_equal(attach(path), -EBUSY);
	c = conflicts(2);
	assert_process(&c[c[0].pid != writer.pid], writer.pid,
		       "has it open for writing");
	assert_process(&c[c[0].pid == writer.pid], reader.pid, "has it open");
	assert_says(context, path);
	assert_free(path);
	opener_end(&writer);
	assert_int_equal(attach(path), -EBUSY);
	assert_process(conflicts(1), reader.pid, "has it open");
	opener_end(&reader);
	assert_int_equal(attach(path), 0);
	conflicts(0);
	assert_held(path);
}

static void openers_are_found_by_whatever_name_they_have_used(void **state)
{
	const char *path = kit_file("named", 0), *link = kit_file("link", -1);
	struct opener o = { .path = link, .flags = O_RDWR };

	(void)state;
	unlink(link);
	assert_int_equal(linkat(AT_FDCWD, path, AT_FDCWD, link, 0), 0);
	opener_start(&o);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(attach(path), -EBUSY);
	assert_process(conflicts(1), o.pid, "has it open for writing");
	opener_end(&o);
}

static void what_is_mapped_and_closed_is_open(void **state)
{
	const char *path = kit_file("mapped", 4096);
	struct opener o = { .path = path, .flags = O_RDONLY, .map = true };

	(void)state;
	opener_start(&o);
	assert_int_equal(attach(path), -EBUSY);
	assert_process(conflicts(1), o.pid, "has it open");
	opener_end(&o);
}

/* Elsewhere, as in a container, the rest of a host may have anything open. */
static bool sees_all_processes(void)
{
	struct stat st;

	return !stat("/proc/self/ns/pid", &st) && st.st_ino == 0xeffffffc;
}

static void what_is_mapped_is_found_beside_our_own(void **state)
{
	const char *path = kit_file("mapped-too", 4096);
	struct opener o = { .path = path, .flags = O_RDONLY, .map = true };
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	(void)state;
	if (!sees_all_processes())
		skip();
	opener_start(&o);
	assert_int_equal(attach(path), -EBUSY);
	assert_process(conflicts(1), o.pid, "has it open");
	opener_end(&o);
	assert_int_equal(attach(path), 0);
	close(fd);
}

/* On a busy machine it may have it open for longer than it means to. */
static void who_only_has_a_look_does_not_count(void **state)
{
	const char *path = kit_file("looked-at", 0);
	struct opener o = { .path = path, .flags = O_RDONLY, .ms = 30 };
	int r = -EBUSY;

	(void)state;
	for (int i = 0; i < 50 && r == -EBUSY; i++) {
		opener_start(&o);
		r = attach(path);
		opener_end(&o);
	}
	assert_int_equal(r, 0);
}

static void a_warning_takes_the_disk_and_names_the_opener(void **state)
{
	const char *paths[] = { kit_file("w-0", 0), kit_file("w-1", 0) };
	struct opener o = { .path = paths[1], .flags = O_RDONLY };
	const struct glk_conflict *c;

	(void)state;
	set_policy(context, GLK_OPEN_WARN);
	opener_start(&o);
	assert_int_equal(kit_attach(running.guest, paths, 2), 0);
	c = conflicts(1);
	assert_string_equal(c->path, paths[1]);
	assert_process(c, o.pid, "has it open");
	assert_held(paths[0]);
	assert_held(paths[1]);
	/* It has them already: nothing is taken, so nothing is asked. */
	assert_int_equal(kit_attach(running.guest, paths, 2), 0);
	conflicts(0);
	opener_end(&o);
}

static void without_a_policy_nobody_is_asked_for(void **state)
{
	const char *path = kit_file("ignored", 0);
	struct opener o = { .path = path, .flags = O_RDWR };

	(void)state;
	assert_int_equal(glk_context_set_policy(context, NULL), 0);
	opener_start(&o);
	assert_int_equal(attach(path), 0);
	conflicts(0);
	opener_end(&o);
}

static void all_disks_are_taken_or_none(void **state)
{
	const char *paths[] = { kit_file("a-0", 0), kit_file("a-1", 0),
				kit_file("a-2", 0) };
	struct opener o = { .path = paths[1], .flags = O_RDONLY };

	(void)state;
	opener_start(&o);
	assert_int_equal(kit_attach(running.guest, paths, 3), -EBUSY);
	assert_string_equal(conflicts(1)->path, paths[1]);
	for (size_t i = 0; i < 3; i++)
		assert_free(paths[i]);
	opener_end(&o);
}

static void who_wants_to_share_does_not_mind(void **state)
{
	const char *path = kit_file("shared", 0);
	struct opener o = { .path = path, .flags = O_RDWR };

	(void)state;
	opener_start(&o);
	assert_int_equal(guest_attach(running.guest, path, GLK_DISK_SHARED), 0);
	opener_end(&o);
}

static void our_own_and_the_guests_descriptors_do_not_count(void **state)
{
	const char *path = kit_file("ours", 0), *twice[] = { path, path };
	struct glk_guest *self = kit_self(context);
	struct opener child = { .path = path, .flags = O_RDWR };
	int fd = open(path, O_RDWR | O_CLOEXEC);

	(void)state;
	if (!sees_all_processes())
		skip();
	opener_start(&child);
	assert_int_equal(guest_attach(self, path, 0), 0);
	assert_int_equal(guest_attach(self, path, 0), 0);
	assert_int_equal(guest_detach(self, path), 0);
	assert_int_equal(attach(path), -EBUSY);
	assert_process(conflicts(1), child.pid, "has it open for writing");
	opener_end(&child);
	assert_int_equal(kit_attach(running.guest, twice, 2), 0);
	close(fd);
	glk_guest_free(self);
}

static void what_was_released_is_open_no_more(void **state)
{
	const char *path = kit_file("released", 0);

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(attach(path), 0);
		assert_int_equal(guest_detach(running.guest, path), 0);
	}
	assert_int_equal(kit_try(context, path, 0), 0);
}

static void one_that_is_in_no_process_is_unknown(void **state)
{
	const char *path = kit_file("in-flight", 0);
	int queue[2];

	(void)state;
	kit_send_away(open(path, O_RDONLY | O_CLOEXEC), queue);
	assert_int_equal(attach(path), -EBUSY);
	assert_int_equal(conflicts(1)->kind, GLK_CONFLICT_UNKNOWN);
	assert_string_equal(conflicts(1)->how, "has it open");
	close(queue[0]);
	close(queue[1]);
	assert_int_equal(attach(path), 0);
}

static void a_loop_device_is_named(void **state)
{
	const char *path = kit_file("loop", 1 << 20);
	char device[LOOP_PATH_MAX], how[LOOP_PATH_MAX + 32];
	int fd = loop_attach("loop", 1 << 20, device);

	(void)state;
	snprintf(how, sizeof(how), "has it open as %s", device);
	assert_int_equal(attach(path), -EBUSY);
	assert_int_equal(conflicts(1)->kind, GLK_CONFLICT_KERNEL);
	assert_string_equal(conflicts(1)->how, how);
	close(fd);
}

static void a_devices_openers_are_found_by_any_of_its_nodes(void **state)
{
	char device[LOOP_PATH_MAX];
	int fd = loop_attach("device", 1 << 20, device);
	struct opener o = { .flags = O_RDONLY };

	(void)state;
	if (!sees_all_processes())
		skip();
	assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
	o.path = loop_alias(device, "alias");
	assert_int_equal(attach(device), 0);
	assert_int_equal(guest_detach(running.guest, device), 0);
	opener_start(&o);
	/* It has inherited @fd, too. */
	assert_int_equal(attach(device), -EBUSY);
	assert_process(conflicts(1), o.pid, "has it open for writing");
	opener_end(&o);
	assert_int_equal(attach(device), 0);
	close(fd);
}

static void what_the_kernel_has_claimed_is_open(void **state)
{
	char device[LOOP_PATH_MAX];
	int fd = loop_attach("claimed", 1 << 20, device), claim;

	(void)state;
	if (!sees_all_processes())
		skip();
	claim = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
	assert_true(claim >= 0);
	set_policy(context, GLK_OPEN_WARN);
	assert_int_equal(attach(device), 0);
	assert_string_equal(conflicts(1)->path, device);
	assert_int_equal(guest_detach(running.guest, device), 0);
	set_policy(context, GLK_OPEN_REFUSE);
	assert_int_equal(attach(device), -EBUSY);
	conflicts(1);
	close(claim);
	assert_int_equal(attach(device), 0);
	close(fd);
}

static void _printf_(4, 5)
	assert_opened(const struct glk_conflict *c, const char *path,
		      const struct opener *o, const char *format, ...)
{
	char how[128];
	va_list args;

	va_start(args, format);
	vsnprintf(how, sizeof(how), format, args);
	va_end(args);
	assert_string_equal(c->path, path);
	assert_process(c, o->pid, how);
}

/* A disk, with two partitions. */
struct parted {
	char disk[LOOP_PATH_MAX], parts[2][LOOP_PATH_MAX];
	const char *name, *part; /* the kernel's */
	int fds[2];
};

static void parted_start(struct parted *p)
{
	p->fds[1] = -1;
	p->fds[0] = loop_attach("parted", 8 << 20, p->disk);
	for (int i = 0; i < 2; i++)
		loop_add_partition(p->fds[0], p->disk, i + 1, p->parts[i]);
	p->name = strrchr(p->disk, '/') + 1;
	p->part = strrchr(p->parts[0], '/') + 1;
}

static void who_has_a_partition_open_has_the_disk_open(void **state)
{
	struct parted p;
	struct opener o = { .flags = O_RDWR };

	(void)state;
	if (!sees_all_processes())
		skip();
	parted_start(&p);
	assert_int_equal(attach(p.disk), 0);
	assert_int_equal(guest_detach(running.guest, p.disk), 0);
	o.path = p.parts[0];
	o.without = p.fds;
	opener_start(&o);
	assert_int_equal(attach(p.disk), -EBUSY);
	assert_opened(conflicts(1), p.disk, &o,
		      "has its partition %s open for writing", p.part);
	assert_free(p.disk);
	/* A sibling has no block of it. */
	assert_int_equal(attach(p.parts[1]), 0);
	conflicts(0);
	assert_int_equal(guest_detach(running.guest, p.parts[1]), 0);
	set_policy(context, GLK_OPEN_WARN);
	assert_int_equal(attach(p.disk), 0);
	assert_opened(conflicts(1), p.disk, &o,
		      "has its partition %s open for writing", p.part);
	opener_end(&o);
	close(p.fds[0]);
}

/* The search may take long, and a lock file may go while it does. */
static void a_lock_file_that_goes_during_the_search_is_made_anew(void **state)
{
	struct parted p;
	struct opener o = { .flags = O_RDONLY, .ms = 200 };
	char pattern[512];
	struct stat st;
	glob_t found;

	(void)state;
	if (!sees_all_processes())
		skip();
	parted_start(&p);
	assert_int_equal(attach(p.disk), 0);
	assert_int_equal(stat(p.disk, &st), 0);
	snprintf(pattern, sizeof(pattern), "%s/%u:%u-*",
		 getenv("GUESTLOCK_HOST_DIR"), major(st.st_rdev),
		 minor(st.st_rdev));
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_int_equal(found.gl_pathc, 1);
	assert_int_equal(guest_detach(running.guest, p.disk), 0);
	o.path = p.disk;
	o.without = p.fds;
	o.removes = found.gl_pathv[0];
	opener_start(&o);
	assert_int_equal(attach(p.disk), 0);
	assert_held(o.removes);
	globfree(&found);
	opener_end(&o);
	assert_int_equal(guest_detach(running.guest, p.disk), 0);
	close(p.fds[0]);
}

static void who_has_the_disk_open_has_its_partitions_open(void **state)
{
	const char *paths[2];
	struct parted p;
	struct opener o = { .flags = O_RDONLY };
	const struct glk_conflict *c;

	(void)state;
	if (!sees_all_processes())
		skip();
	parted_start(&p);
	o.path = p.disk;
	o.without = p.fds;
	opener_start(&o);
	for (int i = 0; i < 2; i++)
		paths[i] = p.parts[i];
	assert_int_equal(kit_attach(running.guest, paths, 2), -EBUSY);
	c = conflicts(2);
	for (int i = 0; i < 2; i++)
		assert_opened(&c[i], c[i].path, &o,
			      "has %s open, of which it is a part", p.name);
	assert_string_not_equal(c[0].path, c[1].path);
	opener_end(&o);
	/* Its own descriptors are ours. */
	assert_int_equal(kit_attach(running.guest, paths, 2), 0);
	conflicts(0);
	close(p.fds[0]);
}

/* One that opens a device that is taken, too, is named for each of them. */
static void a_disk_and_its_partition_are_taken_together(void **state)
{
	const char *paths[2];
	struct parted p;
	struct opener o = { .flags = O_RDWR };
	const struct glk_conflict *c;

	(void)state;
	if (!sees_all_processes())
		skip();
	parted_start(&p);
	paths[0] = p.disk;
	paths[1] = o.path = p.parts[0];
	o.without = p.fds;
	opener_start(&o);
	assert_int_equal(kit_attach(running.guest, paths, 2), -EBUSY);
	c = conflicts(2);
	assert_opened(&c[0], p.disk, &o,
		      "has its partition %s open for writing", p.part);
	assert_opened(&c[1], p.parts[0], &o, "has it open for writing");
	opener_end(&o);
	assert_int_equal(kit_attach(running.guest, paths, 2), 0);
	close(p.fds[0]);
}

/* What sysfs says of a device that is built on another one. */
static const char *stack(const char *above, const char *below)
{
	const char *names[2] = { strrchr(above, '/') + 1,
				 strrchr(below, '/') + 1 };
	const char *root = tree_make("/dev/null", "sysfs");
	struct stat st[2];
	char line[256];

	for (int i = 0; i < 2; i++) {
		const char *name = names[i];
		unsigned number;

		assert_int_equal(stat(i ? below : above, &st[i]), 0);
		number = minor(st[i].st_rdev);
		snprintf(line, sizeof(line),
			 "l dev/block/7:%u ../../devices/%s", number, name);
		tree_add(root, line);
		snprintf(line, sizeof(line), "f devices/%s/dev 7:%u", name,
			 number);
		tree_add(root, line);
		snprintf(line, sizeof(line), "l devices/%s/%s/%s ../../%s",
			 name, i ? "holders" : "slaves", names[!i], names[!i]);
		tree_add(root, line);
	}
	return root;
}

static void what_is_built_on_a_device_has_its_blocks(void **state)
{
	char above[LOOP_PATH_MAX], below[LOOP_PATH_MAX];
	int fds[2] = { loop_attach("above", 1 << 20, above),
		       loop_attach("below", 1 << 20, below) };
	struct opener o = { .flags = O_RDONLY, .without = fds };

	(void)state;
	if (!sees_all_processes())
		skip();
	context->sysfs = stack(above, below);
	o.path = above;
	opener_start(&o);
	assert_int_equal(attach(below), -EBUSY);
	assert_opened(conflicts(1), below, &o,
		      "has %s open, which is built on it",
		      strrchr(above, '/') + 1);
	opener_end(&o);
	/* Below, a volume manager may look. */
	o.path = below;
	opener_start(&o);
	assert_int_equal(attach(above), 0);
	conflicts(0);
	assert_int_equal(guest_detach(running.guest, above), 0);
	opener_end(&o);
	o.flags = O_RDWR;
	opener_start(&o);
	assert_int_equal(attach(above), -EBUSY);
	assert_opened(conflicts(1), above, &o,
		      "has %s open for writing, on which it is built",
		      strrchr(below, '/') + 1);
	opener_end(&o);
	close(fds[0]);
	close(fds[1]);
}

/* Neither the owner of the file, nor one who may see root's processes. */
static int take_as_nobody(void *arg)
{
	const char *const *paths = arg;
	struct glk_context *mine = guest_context();
	const struct glk_conflict *c = NULL;
	int fd = open(paths[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	MUST(fd >= 0);
	close(fd);
	set_policy(mine, GLK_OPEN_REFUSE);
	MUST_EQUAL(kit_try(mine, paths[1], 0), 0);
	MUST_EQUAL(kit_try(mine, paths[0], 0), -EBUSY);
	MUST_EQUAL((long long)glk_context_conflicts(mine, &c), 1);
	MUST_EQUAL(c->kind, GLK_CONFLICT_UNKNOWN);
	MUST(!strcmp(c->how, "may have it open"));
	glk_context_free(mine);
	return 0;
}

static void what_cannot_be_seen_is_not_promised(void **state)
{
	const char *paths[] = { kit_file("roots", 0), NULL };
	char mine[128];

	(void)state;
	snprintf(mine, sizeof(mine), "%s/mine", test_dir());
	paths[1] = mine;
	assert_int_equal(chmod(paths[0], 0666), 0);
	assert_int_equal(chmod(test_dir(), 0777), 0);
	assert_int_equal(kit_as_nobody(take_as_nobody, paths), 0);
}

static int attach_in_namespace(void *arg)
{
	struct glk_context *mine = guest_context();
	const struct glk_conflict *c = NULL;

	set_policy(mine, GLK_OPEN_REFUSE);
	MUST_EQUAL(kit_try(mine, arg, 0), -EBUSY);
	MUST_EQUAL((long long)glk_context_conflicts(mine, &c), 1);
	MUST_EQUAL(c->kind, GLK_CONFLICT_UNKNOWN);
	MUST(!strcmp(c->how, "may have it open"));
	glk_context_free(mine);
	return 0;
}

static int attach_in_namespaces(void *arg)
{
	pid_t pid;
	int status;

	MUST(!unshare(CLONE_NEWPID | CLONE_NEWNS));
	MUST(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		MUST(!mount("proc", "/proc", "proc", 0, NULL));
		_exit(attach_in_namespace(arg));
	}
	MUST(waitpid(pid, &status, 0) == pid);
	return status != 0;
}

static void other_namespaces_may_have_a_device_open(void **state)
{
	char device[LOOP_PATH_MAX];
	int fd = loop_attach("namespace", 1 << 20, device);

	(void)state;
	if (!sees_all_processes())
		skip();
	assert_int_equal(process_wait(
				 process_start(attach_in_namespaces, device)),
			 0);
	assert_int_equal(attach(device), 0);
	close(fd);
}

static int open_for_ever(void *arg)
{
	for (;;) {
		int fd = open(arg, O_RDWR | O_CLOEXEC);

		MUST(fd >= 0);
		close(fd);
	}
	return 0;
}

/* SIGIO would kill this program. */
static void who_opens_while_we_ask_does_us_no_harm(void **state)
{
	const char *path = kit_file("busy", 0);
	struct lone file = { .fd = open(path, O_RDWR | O_CLOEXEC) };
	pid_t pid = process_start(open_for_ever, (void *)path);
	unsigned alone = 0, not_alone = 0;

	(void)state;
	for (int i = 0; i < 100000 && (i < 3000 || !alone || !not_alone); i++) {
		lone_ask(&file, 1);
		alone += !file.answer;
		not_alone += file.answer == -EAGAIN;
		assert_true(!file.answer || file.answer == -EAGAIN);
		assert_int_equal(fcntl(file.fd, F_GETLEASE), F_UNLCK);
		assert_int_equal(fcntl(file.fd, F_GETOWN), 0);
	}
	assert_true(alone > 0);
	assert_true(not_alone > 0);
	process_end(pid);
	close(file.fd);
}

#define TEST(_name) cmocka_unit_test_setup_teardown(_name, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(every_opener_is_named),
	TEST(openers_are_found_by_whatever_name_they_have_used),
	TEST(what_is_mapped_and_closed_is_open),
	TEST(what_is_mapped_is_found_beside_our_own),
	TEST(who_only_has_a_look_does_not_count),
	TEST(a_warning_takes_the_disk_and_names_the_opener),
	TEST(without_a_policy_nobody_is_asked_for),
	TEST(all_disks_are_taken_or_none),
	TEST(who_wants_to_share_does_not_mind),
	TEST(our_own_and_the_guests_descriptors_do_not_count),
	TEST(what_was_released_is_open_no_more),
	TEST(one_that_is_in_no_process_is_unknown),
	TEST(a_loop_device_is_named),
	TEST(a_devices_openers_are_found_by_any_of_its_nodes),
	TEST(what_the_kernel_has_claimed_is_open),
	TEST(who_has_a_partition_open_has_the_disk_open),
	TEST(a_lock_file_that_goes_during_the_search_is_made_anew),
	TEST(who_has_the_disk_open_has_its_partitions_open),
	TEST(a_disk_and_its_partition_are_taken_together),
	TEST(what_is_built_on_a_device_has_its_blocks),
	TEST(what_cannot_be_seen_is_not_promised),
	TEST(other_namespaces_may_have_a_device_open),
	cmocka_unit_test(who_opens_while_we_ask_does_us_no_harm),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT | TEST_NEEDS_LOOP)
