/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <guestlock.h>
#include <guestlock.h>

/*
 * Compiled as strict C99 and as C++11, and never run: the header must stand
 * alone, be included twice and give usable initialisers in both languages.
 */
struct glk_guest_config header_config(void);

struct glk_guest_config header_config(void)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_disk disk = { "/disk", GLK_DISK_SHARED | GLK_DISK_READONLY };

	config.name = disk.path;
	config.holder = GLK_HOLDER_SELF;
	return config;
}
