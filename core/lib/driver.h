/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/driver/drivers.h"

#include <stdbool.h>

/* A loaded driver. It stays mapped until it was unloaded and its last manager
   is gone, in whatever order. */
struct glk_driver {
	const struct glk_driver_table *table;
	void *object; /* of dlopen(3); NULL if built in */
	unsigned refs;
};

static inline bool driver_can(const struct glk_driver *driver, unsigned ability)
{
	return driver->table->abilities & ability;
}

struct glk_driver *driver_ref(struct glk_driver *driver);

/**
 * driver_table_check() - may its functions be called at all
 * @size:	of the object that @table points to, as far as that is known
 * @ret_why:	what is wrong with it, static
 *
 * Return: 0, -ELIBBAD, or -EPROTONOSUPPORT for another version.
 */
int driver_table_check(const struct glk_driver_table *table, size_t size,
		       const char **ret_why);
