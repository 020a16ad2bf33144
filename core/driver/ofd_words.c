/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/driver/ofd.h"

#include "core/base/compat.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

/*
 * The words before a guest's command line that make it take its disks first:
 * `guestlock run`. A guest may have thousands of disks, whose names would leave
 * no room for its own command line, or meet the limit of one. So many are
 * written to a memory file of this process, and the words only say where that
 * is. It is sealed: what the supervisor takes is what was registered. And it
 * begins with the guest's tag, which the supervisor compares: should we end
 * first, another process may have our pid and a file of its own there.
 */

#define DISKS_MAX 100
#define BYTES_MAX (64U << 10)
#define WORDS_MAX (40 + 2 * DISKS_MAX)

struct words {
	char **items; /* WORDS_MAX + 1 */
	size_t n;
	bool failed;
};

static void words_free(struct words *words)
{
	for (size_t i = 0; words->items && i < words->n; i++)
		free(words->items[i]);
	free(words->items);
	words->items = NULL;
}

static _printf_(2, 3) void add(struct words *words, const char *format, ...)
{
	char *word = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&word, format, args) < 0)
		word = NULL;
	va_end(args);
	if (!word || words->n == WORDS_MAX) {
		free(word);
		words->failed = true;
		return;
	}
	words->items[words->n++] = word;
}

static void add_identity(struct words *words, const struct ofd *ofd)
{
	const struct glk_guest_config *config = &ofd->config;

	add(words, "run");
	add(words, "--uuid");
	add(words, "%s", config->uuid);
	if (config->name) {
		add(words, "--name");
		add(words, "%s", config->name);
	}
	if (config->id >= 0) {
		add(words, "--id");
		add(words, "%lld", (long long)config->id);
	}
	if (config->epoch) {
		add(words, "--epoch");
		add(words, "%llu", (unsigned long long)config->epoch);
	}
	add(words, "--tag");
	add(words, "%016llx", (unsigned long long)config->tag);
	if (ofd->mode == GLK_MANAGER_MIGRATE)
		add(words, "--incoming");
}

static void add_option(struct words *words, const char *option,
		       const char *value)
{
	if (!value)
		return;
	add(words, "%s", option);
	add(words, "%s", value);
}

/* What differs from the default: the supervisor has a context of its own. */
static void add_policy(struct words *words, const struct glk_policy *policy)
{
	static const char *const scopes[] = {
		[GLK_SCOPE_NODE] = "node",
		[GLK_SCOPE_HOST] = "host",
		[GLK_SCOPE_SERVER] = "server",
		[GLK_SCOPE_CLUSTER] = "cluster",
	};
	static const char *const opens[] = {
		[GLK_OPEN_WARN] = "warn",
		[GLK_OPEN_REFUSE] = "require",
	};

	if (policy->wait_ms) {
		add(words, "--wait");
		add(words, "%llu",
		    MIN(((unsigned long long)policy->wait_ms + 999) / 1000,
			UINT32_MAX / 1000ULL));
	}
	add_option(words, "--require-scope", scopes[policy->require_scope]);
	add_option(words, "--exclusive-open", opens[policy->exclusive_open]);
	if (policy->flags & GLK_POLICY_SKIP_READONLY)
		add_option(words, "--readonly", "skip");
	add_option(words, "--lock-dir", policy->lock_dir);
	add_option(words, "--lvm-lock-dir", policy->lvm_lock_dir);
	add_option(words, "--scsi-lock-dir", policy->scsi_lock_dir);
}

/* PATH[,shared][,readonly][,lease]: the supervisor may run in another folder,
   and a comma of the path is doubled. */
static void write_spec(FILE *out, const char *cwd,
		       const struct glk_resource *resource)
{
	if (resource->path[0] != '/')
		fprintf(out, "%s/", cwd);
	for (const char *c = resource->path; *c; c++) {
		if (*c == ',')
			fputc(',', out);
		fputc(*c, out);
	}
	if (resource->flags & GLK_DISK_SHARED)
		fputs(",shared", out);
	if (resource->flags & GLK_DISK_READONLY)
		fputs(",readonly", out);
	if (resource->type == GLK_RESOURCE_LEASE)
		fputs(",lease", out);
}

/* "--disk" and a specification for each, with a NUL after each word. In a file
   they stand behind the tag. */
static int write_disks(const struct glk_resource *resources, size_t n,
		       char **ret_text, size_t *ret_len)
{
	_cleanup_(freep) char *cwd = getcwd(NULL, 0);
	int no_cwd = cwd ? 0 : -errno;
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	for (size_t i = 0; no_cwd && i < n; i++)
		if (resources[i].path[0] != '/')
			return no_cwd;
	out = open_memstream(&text, &len);
	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		fprintf(out, "--disk%c", 0);
		write_spec(out, cwd && strcmp(cwd, "/") ? cwd : "",
			   &resources[i]);
		fputc(0, out);
	}
	if (fclose(out)) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	*ret_len = len;
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		data += MAX(n, 0);
		len -= (size_t)MAX(n, 0);
	}
	return 0;
}

static int memory_file(void)
{
	const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create("guestlock-disks", flags | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("guestlock-disks", flags);
	return fd;
}

static int sealed_file(uint64_t tag, const char *text, size_t len, int *ret_fd)
{
	_cleanup_(fd_closep) int fd = memory_file();
	char head[32];
	int r;

	if (fd < 0)
		return -errno;
	r = snprintf(head, sizeof(head), "--tag%c%016llx", 0,
		     (unsigned long long)tag);
	r = write_all(fd, head, (size_t)r + 1);
	if (!r)
		r = write_all(fd, text, len);
	if (r)
		return r;
	if (fcntl(fd, F_ADD_SEALS,
		  F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int add_disks(struct ofd *ofd, struct words *words,
		     const struct glk_resource *resources, size_t n)
{
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	int fd = -1, r;

	r = write_disks(resources, n, &text, &len);
	if (r)
		return r;
	if (n <= DISKS_MAX && len <= BYTES_MAX) {
		for (size_t at = 0; at < len; at += strlen(text + at) + 1)
			add(words, "%s", text + at);
		return 0;
	}
	r = sealed_file(ofd->config.tag, text, len, &fd);
	if (r)
		return r;
	fd_close(ofd->list);
	ofd->list = fd;
	add(words, "--args-from");
	add(words, "/proc/%d/fd/%d", (int)getpid(), fd);
	return 0;
}

int ofd_supervisor(void *state, const struct glk_resource *resources, size_t n,
		   char ***ret_argv)
{
	const char *command = secure_getenv("GUESTLOCK_COMMAND");
	struct ofd *ofd = state;
	struct words words = { .n = 0 };
	int r;

	words.items = zalloc(WORDS_MAX + 1, sizeof(*words.items));
	if (!words.items)
		return ofd_no_memory(ofd);
	add(&words, "%s", command && *command ? command : GUESTLOCK_COMMAND);
	add_identity(&words, ofd);
	add_policy(&words, glk_context_policy(ofd->context));
	r = add_disks(ofd, &words, resources, n);
	add(&words, "--");
	if (!r && words.failed)
		r = -ENOMEM;
	if (r) {
		words_free(&words);
		return glk_context_explain(ofd->context, r,
					   "cannot write the arguments: %s",
					   strerror(-r));
	}
	*ret_argv = words.items;
	return 0;
}
