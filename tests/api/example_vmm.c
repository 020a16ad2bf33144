/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <guestlock.h>
#include <stdio.h>

/* vmm DISK HOTPLUG: a VMM that holds the locks of its disks itself. */
static int fail(struct glk_context *context)
{
	const struct glk_conflict *c;
	size_t n = glk_context_conflicts(context, &c);

	fprintf(stderr, "%s\n", glk_context_message(context));
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "  %s: held by %s, pid %d\n", c[i].path,
			*c[i].name ? c[i].name : c[i].exe, (int)c[i].pid);
	return 1;
}

static int run_guest(struct glk_guest *guest, const char *hotplug)
{
	const struct glk_disk disk = { hotplug, 0 };

	/* Open the images and run the guest here. To plug a disk in: */
	if (glk_guest_attach(guest, &disk, 1) < 0)
		return -1;
	puts("locked");
	fflush(stdout);
	while (getchar() != EOF)
		;
	/* And out again, once the guest has closed it: */
	return glk_guest_detach(guest, &hotplug, 1, NULL);
}

int main(int argc, char **argv)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_context *context;
	struct glk_guest *guest = NULL;
	int status = 0;

	if (argc != 3 || glk_context_new(&context) < 0)
		return 64;
	config.name = "web1";
	config.holder = GLK_HOLDER_SELF; /* the locks end with this process */
	if (glk_guest_new(context, &config, &guest) < 0 ||
	    glk_guest_add(guest, &(struct glk_disk){ argv[1], 0 }, 1) < 0 ||
	    glk_guest_acquire(guest) < 0 || run_guest(guest, argv[2]) < 0)
		status = fail(context);
	glk_guest_free(guest);
	glk_context_free(context);
	return status;
}
