/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/manager_fake.h"

#include <stdio.h>
#include <string.h>

struct fake fake;
const struct glk_resource fake_disk = { GLK_RESOURCE_DISK, "/disk", 0 };

static _printf_(1, 2) void say(const char *format, ...)
{
	size_t len = strlen(fake.said);
	va_list args;

	va_start(args, format);
	vsnprintf(fake.said + len, sizeof(fake.said) - len, format, args);
	va_end(args);
}

static void say_resources(const char *what,
			  const struct glk_resource *resources, size_t n)
{
	say("%s(", what);
	for (size_t i = 0; i < n; i++)
		say("%s%s%s%s", i ? " " : "", resources[i].path,
		    resources[i].type == GLK_RESOURCE_LEASE ? ":lease" : "",
		    resources[i].flags ? ":shared" : "");
	say(") ");
}

static int answer(enum fake_call call)
{
	struct glk_conflict conflict = { .path = "/disk",
					 .kind = GLK_CONFLICT_PROCESS,
					 .uuid = "",
					 .name = "",
					 .exe = "/bin/other",
					 .pid = 7 };
	int r = fake.result[call];

	if (r == -EBUSY && fake.blames)
		assert_int_equal(glk_context_blame(fake.guest.context,
						   &conflict),
				 0);
	return r ? glk_context_explain(fake.guest.context, r, "fake %d", r) : 0;
}

static int fake_open(const struct glk_driver_guest *guest, void **ret_state)
{
	fake.guest = *guest;
	say("open ");
	if (answer(FAKE_OPEN))
		return answer(FAKE_OPEN);
	fake.n_open++;
	*ret_state = &fake;
	return 0;
}

static void fake_close(void *state)
{
	assert_ptr_equal(state, &fake);
	assert_true(fake.n_open > 0);
	fake.n_open--;
}

static int fake_acquire(void *state, const struct glk_resource *resources,
			size_t n)
{
	assert_ptr_equal(state, &fake);
	say_resources("acquire", resources, n);
	return answer(FAKE_ACQUIRE);
}

static int fake_inherit(void *state)
{
	assert_ptr_equal(state, &fake);
	say("inherit ");
	return answer(FAKE_INHERIT);
}

static int fake_started(void *state, pid_t pid)
{
	assert_ptr_equal(state, &fake);
	say("started(%d) ", (int)pid);
	return answer(FAKE_STARTED);
}

static int fake_child(void *state, pid_t *ret_pid)
{
	assert_ptr_equal(state, &fake);
	say("child ");
	if (!fake.result[FAKE_CHILD])
		*ret_pid = FAKE_PID;
	return answer(FAKE_CHILD);
}

static int fake_supervisor(void *state, const struct glk_resource *resources,
			   size_t n, char ***ret_argv)
{
	int r = answer(FAKE_SUPERVISOR);
	char **words;

	assert_ptr_equal(state, &fake);
	say_resources("supervisor", resources, n);
	if (r)
		return r;
	words = calloc(n + 3, sizeof(*words));
	assert_non_null(words);
	words[0] = strdup("/fake/run");
	words[1] = strdup("take");
	for (size_t i = 0; i < n; i++)
		words[2 + i] = strdup(resources[i].path);
	*ret_argv = words;
	return 0;
}

static bool comes_again(void)
{
	return fake.again && fake.again--;
}

static int fake_supervised(void *state, const struct glk_resource *resources,
			   size_t n, pid_t *ret_pid)
{
	assert_ptr_equal(state, &fake);
	if (comes_again())
		return -EAGAIN;
	say_resources("supervised", resources, n);
	if (!fake.result[FAKE_SUPERVISED])
		*ret_pid = FAKE_PID;
	return answer(FAKE_SUPERVISED);
}

static int fake_attach(void *state, struct glk_driver_finding *finding)
{
	assert_ptr_equal(state, &fake);
	say_resources("attach", finding->expected, finding->n_expected);
	finding->pid = FAKE_PID;
	finding->roles = fake.roles;
	for (size_t i = 0; i < fake.n_drift; i++) {
		int r = finding->drift(finding, fake.drift[i].kind,
				       fake.drift[i].path);

		assert_int_equal(r, 0);
	}
	return answer(FAKE_ATTACH);
}

static int fake_add(void *state, const struct glk_resource *resources, size_t n)
{
	assert_ptr_equal(state, &fake);
	say_resources("add", resources, n);
	return answer(FAKE_ADD);
}

static int fake_remove(void *state, const struct glk_resource *resources,
		       size_t n)
{
	assert_ptr_equal(state, &fake);
	say_resources("remove", resources, n);
	return answer(FAKE_REMOVE);
}

static int fake_prepare(void *state, const char *uri)
{
	assert_ptr_equal(state, &fake);
	say("prepare(%s) ", uri);
	return answer(FAKE_PREPARE);
}

static int fake_out(void *state)
{
	assert_ptr_equal(state, &fake);
	say("out ");
	return answer(FAKE_OUT);
}

static int fake_in(void *state)
{
	assert_ptr_equal(state, &fake);
	say("in ");
	return answer(FAKE_IN);
}

static int fake_cancel(void *state)
{
	assert_ptr_equal(state, &fake);
	say("cancel ");
	return answer(FAKE_CANCEL);
}

static int fake_shutdown(void *state)
{
	assert_ptr_equal(state, &fake);
	if (comes_again())
		return -EAGAIN;
	say("shutdown ");
	return answer(FAKE_SHUTDOWN);
}

static struct glk_driver_table table = {
	.version = GLK_DRIVER_VERSION,
	.size = sizeof(struct glk_driver_table),
	.name = "fake",
	.open = fake_open,
	.close = fake_close,
	.acquire = fake_acquire,
	.inherit = fake_inherit,
	.started = fake_started,
	.child = fake_child,
	.supervisor = fake_supervisor,
	.supervised = fake_supervised,
	.attach = fake_attach,
	.add = fake_add,
	.remove = fake_remove,
	.prepare = fake_prepare,
	.out = fake_out,
	.in = fake_in,
	.cancel = fake_cancel,
	.shutdown = fake_shutdown,
};

struct glk_driver *fake_driver(unsigned abilities)
{
	static struct glk_driver driver = { &table, NULL, 1 };

	assert_int_equal(driver.refs, 1);
	assert_int_equal(fake.n_open, 0);
	fake = (struct fake){};
	table.abilities = abilities;
	return &driver;
}

struct glk_manager *fake_manager(unsigned abilities, int mode)
{
	struct glk_manager *manager = NULL;

	assert_int_equal(glk_manager_new(fake_driver(abilities),
					 GLK_OBJECT_DOMAIN, mode, &manager),
			 0);
	assert_int_equal(glk_manager_set(manager, "uuid", FAKE_UUID), 0);
	return manager;
}

/* The shortest way that the public drawing has. */
static void drive(struct glk_manager *manager, enum manager_state state)
{
	pid_t pid = 0;
	int n = 0;

	if (manager->sm.mode == MODE_ATTACH) {
		fake.roles =
			state == MANAGER_INCOMING || state == MANAGER_CANCELLED
				? 1U << GLK_ROLE_INCOMING
				: 1U << GLK_ROLE_OWNER;
		assert_int_equal(glk_manager_child(manager, &pid), 0);
	} else if (state == MANAGER_SUPERVISED) {
		char *const *argv = NULL;

		assert_int_equal(glk_manager_supervisor_args(manager, &argv,
							     &n),
				 0);
	} else {
		assert_int_equal(glk_manager_acquire(manager), 0);
	}
	if (state == MANAGER_HELD && manager->sm.mode == MODE_MIGRATE)
		assert_int_equal(glk_manager_complete_in(manager, 0), 0);
	if (state == MANAGER_HELD || state == MANAGER_CLAIMED ||
	    state == MANAGER_SUPERVISED)
		return;
	if (manager->sm.mode != MODE_ATTACH)
		assert_int_equal(glk_manager_started(manager, FAKE_PID), 0);
	if (manager_state(&manager->sm) == MANAGER_INCOMING &&
	    (state == MANAGER_RUNNING || state == MANAGER_PREPARED ||
	     state == MANAGER_LEFT))
		assert_int_equal(glk_manager_complete_in(manager, 0), 0);
	if (state == MANAGER_PREPARED || state == MANAGER_LEFT)
		assert_int_equal(glk_manager_prepare_migrate(manager, "there"),
				 0);
	if (state == MANAGER_LEFT)
		assert_int_equal(glk_manager_complete_out(manager, 0), 0);
	if (state == MANAGER_CANCELLED)
		assert_int_equal(glk_manager_complete_in(manager,
							 GLK_MIGRATE_CANCEL),
				 0);
	if (state == MANAGER_ENDED)
		assert_int_equal(glk_manager_shutdown(manager), 0);
}

struct glk_manager *fake_manager_in(int mode, enum manager_state state)
{
	static const struct glk_resource disks[] = {
		{ GLK_RESOURCE_DISK, "/a", 0 },
		{ GLK_RESOURCE_LEASE, "/space/b", GLK_DISK_SHARED },
	};
	struct glk_manager *manager = fake_manager(FAKE_ALL, mode);

	assert_int_equal(glk_manager_register(manager, disks, 2), 0);
	if (state != MANAGER_NEW)
		drive(manager, state);
	assert_int_equal(manager_state(&manager->sm), state);
	fake.said[0] = '\0';
	return manager;
}

void fake_says(const char *said)
{
	size_t len = strlen(fake.said);

	if (len)
		fake.said[len - 1] = '\0';
	assert_string_equal(fake.said, said);
	fake.said[0] = '\0';
}

void fake_set(struct glk_manager *manager, const char *key, const char *value)
{
	assert_int_equal(glk_manager_set(manager, key, value), 0);
}

void fake_is(const struct glk_manager *manager, const char *state)
{
	assert_string_equal(glk_manager_state(manager), state);
}

void fake_message(const struct glk_manager *manager, const char *text)
{
	if (!strstr(glk_manager_message(manager), text))
		fail_msg("'%s' is not in '%s'", text,
			 glk_manager_message(manager));
}
