/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock/driver.h>

#include <stdbool.h>

/* One guest of the driver "ofd", and of "vm", which wraps it. */
struct ofd {
	struct glk_context *context;
	int mode;
	struct glk_guest_config config; /* with a tag of our own */
	struct glk_guest *guest;	/* NULL until it is taken or found */
	int list; /* memory file that the supervisor reads, or -1 */
};

/* ofd.c */

int ofd_open(const struct glk_driver_guest *guest, void **ret_state);
void ofd_close(void *state);
int ofd_acquire(void *state, const struct glk_resource *resources, size_t n);
int ofd_inherit(void *state);
int ofd_started(void *state, pid_t pid);
int ofd_child(void *state, pid_t *ret_pid);
int ofd_add(void *state, const struct glk_resource *resources, size_t n);
int ofd_remove(void *state, const struct glk_resource *resources, size_t n);
int ofd_prepare(void *state, const char *uri);
int ofd_out(void *state);
int ofd_in(void *state);
int ofd_cancel(void *state);
int ofd_shutdown(void *state);

int ofd_no_memory(struct ofd *ofd);

/* Find the guest with our tag. Return: as glk_guest_select(). */
int ofd_select_tagged(struct ofd *ofd);

/* ofd_find.c */

int ofd_supervised(void *state, const struct glk_resource *resources, size_t n,
		   pid_t *ret_pid);
int ofd_attach(void *state, struct glk_driver_finding *finding);

/* ofd_words.c */

int ofd_supervisor(void *state, const struct glk_resource *resources, size_t n,
		   char ***ret_argv);
