/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/driver.h"

#include "core/base/util.h"
#include "core/lib/lib.h"

#include <dlfcn.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * Drivers by name, and those of others from a shared object.
 *
 * A stranger's table is judged before anything of it is used: that it is a data
 * object at all, and how large, is known from the symbol. A table of another
 * version is refused by its first word, so that all after it may change; one
 * that lacks a function of an ability that it declares is refused when it is
 * loaded, and not by a crash when a guest needs it.
 *
 * An object is unmapped with its last user, be that the one who loaded it or a
 * manager: whoever unloads too early gets no crash, either.
 */

#define TABLE_SYMBOL "glk_driver_table"
#define MESSAGE_MAX 512

static _Thread_local char message[MESSAGE_MAX];

static _printf_(2, 3) int fail(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	return error;
}

GLK_EXPORT const char *glk_driver_message(void)
{
	return message;
}

/* Offsets of the functions that each ability needs. */
#define AT(_member) offsetof(struct glk_driver_table, _member)

static const struct need {
	unsigned ability; /* 0: every driver */
	size_t at;
	const char *why;
} needs[] = {
	{ 0, AT(open), "has no open()" },
	{ 0, AT(close), "has no close()" },
	{ 0, AT(acquire), "has no acquire()" },
	{ 0, AT(inherit), "has no inherit()" },
	{ 0, AT(started), "has no started()" },
	{ 0, AT(child), "has no child()" },
	{ 0, AT(shutdown), "has no shutdown()" },
	{ GLK_CAN_SUPERVISE, AT(supervisor),
	  "declares a supervisor and has no supervisor()" },
	{ GLK_CAN_SUPERVISE, AT(supervised),
	  "declares a supervisor and has no supervised()" },
	{ GLK_CAN_ATTACH, AT(attach), "declares attach and has no attach()" },
	{ GLK_CAN_HOTPLUG, AT(add), "declares hotplug and has no add()" },
	{ GLK_CAN_HOTPLUG, AT(remove), "declares hotplug and has no remove()" },
	{ GLK_CAN_MIGRATE, AT(prepare),
	  "declares migration and has no prepare()" },
	{ GLK_CAN_MIGRATE, AT(out), "declares migration and has no out()" },
	{ GLK_CAN_MIGRATE, AT(in), "declares migration and has no in()" },
	{ GLK_CAN_MIGRATE, AT(cancel),
	  "declares migration and has no cancel()" },
};

#define ABILITIES_ALL ((unsigned)(2 * GLK_IGNORES_DISKS - 1))

static bool has(const struct glk_driver_table *table, size_t at)
{
	void *function;

	memcpy(&function, (const char *)table + at, sizeof(function));
	return function;
}

static const char *find_fault(const struct glk_driver_table *table)
{
	if (!table->name || !*table->name)
		return "has no name";
	if (table->abilities & ~ABILITIES_ALL)
		return "declares an ability that is none";
	for (size_t i = 0; i < ARRAY_SIZE(needs); i++)
		if ((!needs[i].ability ||
		     (table->abilities & needs[i].ability)) &&
		    !has(table, needs[i].at))
			return needs[i].why;
	return NULL;
}

int driver_table_check(const struct glk_driver_table *table, size_t size,
		       const char **ret_why)
{
	const char *fault;

	if (size < AT(name)) {
		*ret_why = "has a driver table that is cut off";
		return -ELIBBAD;
	}
	if (table->version != GLK_DRIVER_VERSION) {
		*ret_why = "is of another version";
		return -EPROTONOSUPPORT;
	}
	if (table->size != sizeof(*table) || size < sizeof(*table)) {
		*ret_why = "has a driver table of a wrong size";
		return -ELIBBAD;
	}
	fault = find_fault(table);
	if (fault)
		*ret_why = fault;
	return fault ? -ELIBBAD : 0;
}

static int new_driver(const struct glk_driver_table *table, void *object,
		      struct glk_driver **ret_driver)
{
	struct glk_driver *driver = malloc(sizeof(*driver));

	if (!driver)
		return fail(-ENOMEM, "out of memory");
	*driver = (struct glk_driver){ table, object, 1 };
	*ret_driver = driver;
	return 0;
}

/* A function would not do: it is the symbol's type that tells. */
static int find_table(void *object, const struct glk_driver_table **ret_table,
		      size_t *ret_size)
{
	void *address = dlsym(object, TABLE_SYMBOL);
	const ElfW(Sym) *symbol = NULL;
	Dl_info info;

	if (!address ||
	    !dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) ||
	    !symbol || ELF64_ST_TYPE(symbol->st_info) != STT_OBJECT ||
	    info.dli_saddr != address)
		return -ELIBBAD;
	*ret_table = address;
	*ret_size = symbol->st_size;
	return 0;
}

static int load_table(const char *path, void *object,
		      const struct glk_driver_table **ret_table)
{
	const struct glk_driver_table *table = NULL;
	const char *why = "exports no data " TABLE_SYMBOL;
	size_t size = 0;
	int r;

	r = find_table(object, &table, &size);
	if (!r)
		r = driver_table_check(table, size, &why);
	if (r)
		return fail(r, "%s: %s", quoted(path), why);
	*ret_table = table;
	return 0;
}

static int load_object(const char *path, struct glk_driver **ret_driver)
{
	const struct glk_driver_table *table = NULL;
	void *object;
	int r;

	if (access(path, F_OK) && (errno == ENOENT || errno == ENOTDIR))
		return fail(-ENOENT, "%s: there is no such driver",
			    quoted(path));
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!object)
		return fail(-ELIBBAD, "%s", quoted(dlerror()));
	r = load_table(path, object, &table);
	if (!r)
		r = new_driver(table, object, ret_driver);
	if (r)
		dlclose(object);
	return r;
}

static int load_named(const char *name, struct glk_driver **ret_driver)
{
	const char *dir = secure_getenv("GUESTLOCK_DRIVER_DIR");
	_cleanup_(freep) char *path = NULL;

	if (strchr(name, '/'))
		return load_object(name, ret_driver);
	if (asprintf(&path, "%s/%s.so", dir && *dir ? dir : DRIVER_DIR, name) <
	    0) {
		path = NULL;
		return fail(-ENOMEM, "out of memory");
	}
	return load_object(path, ret_driver);
}

GLK_EXPORT int glk_driver_load(const char *name, struct glk_driver **ret_driver)
{
	static const struct glk_driver_table *const built_in[] = {
		&driver_ofd,
		&driver_vm,
		&driver_nop,
	};

	message[0] = '\0';
	if (!name || !*name)
		return fail(-EINVAL, "no driver is named");
	for (size_t i = 0; i < ARRAY_SIZE(built_in); i++)
		if (!strcmp(built_in[i]->name, name))
			return new_driver(built_in[i], NULL, ret_driver);
	return load_named(name, ret_driver);
}

struct glk_driver *driver_ref(struct glk_driver *driver)
{
	__atomic_add_fetch(&driver->refs, 1, __ATOMIC_RELAXED);
	return driver;
}

GLK_EXPORT void glk_driver_unload(struct glk_driver *driver)
{
	if (!driver || __atomic_sub_fetch(&driver->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (driver->object)
		dlclose(driver->object);
	free(driver);
}

GLK_EXPORT const char *glk_driver_name(const struct glk_driver *driver)
{
	return driver->table->name;
}
