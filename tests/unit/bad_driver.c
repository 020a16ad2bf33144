/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <guestlock/driver.h>

/* Objects that are no drivers, each in its own way: see meson.build. */

#if defined(BAD_VERSION)
/* As of a later version, which may be of another size, too. */
const unsigned glk_driver_table[2] = { GLK_DRIVER_VERSION + 1, 8 };
#elif defined(BAD_SIZE)
const struct glk_driver_table glk_driver_table = {
	.version = GLK_DRIVER_VERSION,
	.size = sizeof(struct glk_driver_table) - sizeof(void *),
	.name = "bad",
};
#elif defined(BAD_OBJECT)
/* It says a size that it does not have. */
const unsigned glk_driver_table[2] = { GLK_DRIVER_VERSION,
				       sizeof(struct glk_driver_table) };
#elif defined(BAD_CUT)
const unsigned glk_driver_table = GLK_DRIVER_VERSION;
#elif defined(BAD_FUNCTION)
int glk_driver_table(void);

int glk_driver_table(void)
{
	return GLK_DRIVER_VERSION;
}
#elif defined(BAD_NAME)
const int glk_driver_tables = GLK_DRIVER_VERSION;
#elif defined(BAD_LACKING)
static int bad_open(const struct glk_driver_guest *guest, void **ret_state)
{
	(void)guest;
	(void)ret_state;
	return 0;
}

const struct glk_driver_table glk_driver_table = {
	.version = GLK_DRIVER_VERSION,
	.size = sizeof(struct glk_driver_table),
	.name = "bad",
	.abilities = GLK_CAN_DISKS,
	.open = bad_open,
};
#endif
