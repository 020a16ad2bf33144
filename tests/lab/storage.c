/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lab/storage.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * scsi_debug is driven by what it has in sysfs. Each host that is added has one
 * disk, and that a store of its own, with per_host_store, or else the one that
 * was made last. Its identifiers are made of the host's number, unless that is
 * taken for 0. Stores of hosts that went are used again, with what is in them.
 *
 * No udev runs, so the tools make their nodes and links themselves, and LVM
 * looks at the disks and not at udev's data.
 */

#define DRIVER "/sys/bus/pseudo/drivers/scsi_debug/"
#define PATIENCE_MS 20000
#define MIB (1 << 20)

struct glk_context *storage_context;

static unsigned n_guests;
static size_t n_of_qemu;

static const char lvm_conf[] =
	"devices {\n"
	"	use_devicesfile = 0\n"
	"	obtain_device_list_from_udev = 0\n"
	"	external_device_info_source = \"none\"\n"
	"	filter = [ \"a|^/dev/sd|\", \"a|^/dev/mapper/mp|\", \"r|.*|\" "
	"]\n"
	"}\n"
	"activation {\n"
	"	udev_sync = 0\n"
	"	udev_rules = 0\n"
	"	monitoring = 0\n"
	"	retry_deactivation = 0\n"
	"}\n"
	"global {\n"
	"	thin_check_executable = \"\"\n"
	"	event_activation = 0\n"
	"}\n"
	"backup {\n"
	"	backup = 0\n"
	"	archive = 0\n"
	"}\n";

static char *next_text(void)
{
	static char ring[64][PATH_MAX];
	static unsigned next;

	return ring[next++ % ARRAY_SIZE(ring)];
}

void storage_require(void)
{
	if (!getenv("LAB_STORAGE"))
		test_skip("runs in the lab: see tests/lab/meson.build");
	test_require(TEST_NEEDS_ROOT);
}

static void write_file(const char *path, const char *what)
{
	size_t len = strlen(what);
	_cleanup_(fd_closep) int fd =
		open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	MUST(fd >= 0);
	MUST_EQUAL(write(fd, what, len), len);
}

static void read_back(int fd, char *buf, size_t size)
{
	ssize_t n = pread(fd, buf, size - 1, 0);

	MUST(n >= 0);
	buf[n] = '\0';
	close(fd);
}

struct call {
	const char *const *args;
	int out, err;
};

static int become(void *arg)
{
	const struct call *call = arg;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	MUST(dup2(null, STDIN_FILENO) >= 0);
	MUST(dup2(call->out, STDOUT_FILENO) >= 0);
	MUST(dup2(call->err, STDERR_FILENO) >= 0);
	execvp(call->args[0], (char *const *)call->args);
	return 127;
}

const struct answer *ask(const char *const *args)
{
	static struct answer answer;
	struct call call = {
		.args = args,
		.out = memfd_create("out", MFD_CLOEXEC),
		.err = memfd_create("err", MFD_CLOEXEC),
	};

	MUST(call.out >= 0 && call.err >= 0);
	answer.status = process_wait(process_start(become, &call));
	read_back(call.out, answer.out, sizeof(answer.out));
	read_back(call.err, answer.err, sizeof(answer.err));
	return &answer;
}

static int exec_program(void *arg)
{
	const char *const *args = arg;

	execvp(args[0], (char *const *)args);
	return 127;
}

pid_t start_program(const char *const *args)
{
	return process_start(exec_program, (void *)args);
}

const char *text(const char *format, ...)
{
	char *buf = next_text();
	va_list args;

	va_start(args, format);
	MUST(vsnprintf(buf, PATH_MAX, format, args) < PATH_MAX);
	va_end(args);
	return buf;
}

static const char *first_line(const char *from)
{
	size_t len;

	from += strspn(from, " \t\n");
	len = strcspn(from, "\n");
	while (len && isspace((unsigned char)from[len - 1]))
		len--;
	return text("%.*s", (int)len, from);
}

const char *tell(const char *const *args)
{
	const struct answer *answer = ask(args);

	if (answer->status) {
		for (; *args; args++)
			fprintf(stderr, "%s ", *args);
		fprintf(stderr, ": %d\n%s%s", answer->status, answer->out,
			answer->err);
	}
	MUST_EQUAL(answer->status, 0);
	return first_line(answer->out);
}

static bool is_disk(const char *name)
{
	return !strncmp(name, "sd", 2) && !strpbrk(name, "0123456789");
}

/* Those that are there. Return: how many. */
static size_t list_disks(char names[SCSI_MAX][16])
{
	DIR *dir = opendir("/sys/class/block");
	const struct dirent *entry;
	size_t n = 0;

	MUST(dir != NULL);
	while ((entry = readdir(dir)) && n < SCSI_MAX)
		if (is_disk(entry->d_name))
			snprintf(names[n++], 16, "%.15s", entry->d_name);
	closedir(dir);
	return n;
}

static bool is_among(const char *name, char names[SCSI_MAX][16], size_t n)
{
	while (n--)
		if (!strcmp(names[n], name))
			return true;
	return false;
}

/* What a disk has from before: a label, a table, a file system. */
static void wipe(const char *path)
{
	static char zeroes[4 * MIB];
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

	MUST(fd >= 0);
	MUST_EQUAL(write(fd, zeroes, sizeof(zeroes)), sizeof(zeroes));
	MUST(!fsync(fd));
}

/* The node is there a moment before the disk is. */
static bool can_open(const char *path)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd >= 0;
}

static const char *await_disk(char before[SCSI_MAX][16], size_t n_before)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);
	char now[SCSI_MAX][16];
	const char *path;

	while (clock_now() < deadline) {
		size_t n = list_disks(now);

		for (size_t i = 0; i < n; i++) {
			if (is_among(now[i], before, n_before))
				continue;
			path = text("/dev/%s", now[i]);
			if (can_open(path))
				return path;
		}
		usleep(2000);
	}
	MUST(!"no disk came");
	return NULL;
}

static const char *add_disk(const char *by_host, const char *own_store)
{
	char before[SCSI_MAX][16];
	size_t n = list_disks(before);

	write_file(DRIVER "vpd_use_hostno", by_host);
	write_file(DRIVER "per_host_store", own_store);
	write_file(DRIVER "add_host", "1");
	return await_disk(before, n);
}

const char *scsi_add(void)
{
	const char *path = add_disk("1", "1");

	wipe(path);
	return path;
}

struct paths scsi_add_paths(void)
{
	struct paths paths = { .a = add_disk("0", "1") };

	paths.b = add_disk("0", "0");
	wipe(paths.a);
	return paths;
}

void scsi_remove(void)
{
	write_file(DRIVER "add_host", "-1");
}

const char *scsi_partition(const char *disk, unsigned number)
{
	struct blkpg_partition partition = { .start = 8LL * number * MIB,
					     .length = 8 * MIB,
					     .pno = (int)number };
	struct blkpg_ioctl_arg arg = { .op = BLKPG_ADD_PARTITION,
				       .datalen = sizeof(partition),
				       .data = &partition };
	_cleanup_(fd_closep) int fd = open(disk, O_RDWR | O_CLOEXEC);

	MUST(fd >= 0);
	MUST(!ioctl(fd, BLKPG, &arg));
	return text("%s%u", disk, number);
}

const char *scsi_id(const char *disk)
{
	const struct answer *answer =
		ask(ARGS("/lib/udev/scsi_id", "--replace-whitespace",
			 "--whitelisted", "--device", disk));

	MUST(answer->status == 0 || answer->status == 1);
	return answer->status ? "" : first_line(answer->out);
}

void lvm_group(const char *const *disks)
{
	const char *args[SCSI_MAX + 6] = { "lvm",   "vgcreate",
					   "--yes", "--physicalextentsize",
					   "1m",    "vg" };

	for (size_t i = 0; disks[i] && i + 1 < SCSI_MAX; i++)
		args[i + 6] = disks[i];
	tell(args);
}

const char *kernel_name(const char *path)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;

	MUST(!stat(path, &st));
	n = readlink(text("/sys/dev/block/%u:%u", major(st.st_rdev),
			  minor(st.st_rdev)),
		     target, sizeof(target) - 1);
	MUST(n > 0);
	target[n] = '\0';
	return first_line(strrchr(target, '/') + 1);
}

const char *lock_file(const char *path)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t seq = 0;
	struct stat st;

	MUST(fd >= 0 && !fstat(fd, &st));
	MUST(!ioctl(fd, BLKGETDISKSEQ, &seq));
	return text("%s/%u:%u-%" PRIu64, getenv("GUESTLOCK_HOST_DIR"),
		    major(st.st_rdev), minor(st.st_rdev), seq);
}

bool is_held(const char *path)
{
	const char *file = lock_file(path);

	return !test_lockable(path, F_WRLCK) && !access(file, F_OK) &&
	       !test_lockable(file, F_WRLCK);
}

bool is_free(const char *path)
{
	const char *file = lock_file(path);

	return test_lockable(path, F_WRLCK) &&
	       (access(file, F_OK) || test_lockable(file, F_WRLCK));
}

bool becomes_free(const char *path)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);

	while (!is_free(path)) {
		if (clock_now() > deadline)
			return false;
		usleep(2000);
	}
	return true;
}

void end_guest(pid_t pid, const char *path)
{
	process_end(pid);
	MUST(becomes_free(path));
}

const char *only_name(const char *dir)
{
	DIR *list = opendir(dir);
	const struct dirent *entry;
	char *name = next_text();

	*name = '\0';
	MUST(list != NULL);
	while ((entry = readdir(list))) {
		if (entry->d_name[0] == '.')
			continue;
		MUST(!*name);
		snprintf(name, PATH_MAX, "%s", entry->d_name);
	}
	closedir(list);
	return name;
}

pid_t run_guest(const char *path, unsigned flags)
{
	struct glk_disk disk = { path, flags };
	struct guest_plan plan = { guest_uuid(++n_guests),
				   "lab",
				   { &disk, 1 } };

	return guest_run(storage_context, &plan);
}

int try_disk(const char *path, unsigned flags)
{
	struct glk_guest *guest =
		guest_describe(storage_context, GLK_HOLDER_SELF, NULL, NULL);
	int r;

	MUST_EQUAL(guest_add(guest, path, flags), 0);
	r = glk_guest_acquire(guest);
	if (r && r != -EBUSY)
		fprintf(stderr, "%s\n", glk_context_message(storage_context));
	glk_guest_free(guest);
	return r;
}

void assert_refused(const char *path, pid_t pid, const char *how)
{
	static const unsigned modes[] = { 0, GLK_DISK_SHARED };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		const struct glk_conflict *c = NULL;

		assert_int_equal(try_disk(path, modes[i]), -EBUSY);
		assert_int_equal(glk_context_conflicts(storage_context, &c), 1);
		assert_string_equal(c->path, path);
		assert_string_equal(c->how, how);
		assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
		assert_int_equal(c->pid, pid);
	}
}

static const char *make_dir(const char *what)
{
	static unsigned n;
	const char *path = text("%s", test_file(text("%s-%u", what, n++), -1));

	MUST(!mkdir(path, 0700));
	return path;
}

struct lock_dirs lock_dirs_new(void)
{
	return (struct lock_dirs){ make_dir("plain"), make_dir("lvm"),
				   make_dir("scsi") };
}

void lock_dirs_use(const struct lock_dirs *dirs)
{
	struct glk_policy policy = {
		.lock_dir = dirs->plain,
		.lvm_lock_dir = dirs->lvm,
		.scsi_lock_dir = dirs->scsi,
	};

	MUST_EQUAL(glk_context_set_policy(storage_context, &policy), 0);
}

static size_t count_disks(void)
{
	char disks[SCSI_MAX][16];

	return list_disks(disks);
}

/* They come when the kernel has looked for them. */
static void await_qemus_disks(void)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);

	n_of_qemu = (size_t)atoi(getenv("LAB_STORAGE"));
	while (count_disks() < n_of_qemu) {
		MUST(clock_now() < deadline);
		usleep(2000);
	}
}

size_t scsi_of_qemu(const char **ret_disks)
{
	char names[SCSI_MAX][16];
	size_t n = list_disks(names);

	MUST_EQUAL(n, n_of_qemu);
	for (size_t i = 0; i < n; i++) {
		ret_disks[i] = text("/dev/%s", names[i]);
		MUST(can_open(ret_disks[i]));
	}
	return n;
}

int storage_start(void **state)
{
	static bool ready;

	(void)state;
	if (!ready) {
		await_qemus_disks();
		write_file(test_file("lvm.conf", -1), lvm_conf);
		setenv("LVM_SYSTEM_DIR", test_dir(), 1);
		setenv("LVM_SUPPRESS_FD_WARNINGS", "1", 1);
		ready = true;
	}
	storage_context = guest_context();
	return count_disks() == n_of_qemu ? 0 : -1;
}

/* What a test that failed has left, too. */
int storage_stop(void **state)
{
	int r = process_end_all(state);

	glk_context_free(storage_context);
	if (!access("/dev/vg", F_OK))
		ask(ARGS("lvm", "vgremove", "-ff", "--yes", "vg"));
	ask(ARGS("dmsetup", "remove_all", "--verifyudev"));
	for (size_t n = count_disks(); n > n_of_qemu; n--)
		scsi_remove();
	return r;
}
