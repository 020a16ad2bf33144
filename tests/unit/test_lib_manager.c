/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/manager_fake.h"

#include <string.h>

/* The public call that goes with one of the machine's. */
static int call_it(struct glk_manager *manager, enum manager_call call)
{
	char *const *argv = NULL;
	const char *path = NULL;
	int argc = 0, r;
	pid_t pid = 0;

	switch (call) {
	case MANAGER_CALL_SET:
		return glk_manager_set(manager, "name", "n");
	case MANAGER_CALL_REGISTER:
		return glk_manager_register(manager, &fake_disk, 1);
	case MANAGER_CALL_ACQUIRE:
		return glk_manager_acquire(manager);
	case MANAGER_CALL_INHERIT:
		return glk_manager_inherit(manager);
	case MANAGER_CALL_STARTED:
		return glk_manager_started(manager, FAKE_PID);
	case MANAGER_CALL_CHILD:
		return glk_manager_child(manager, &pid);
	case MANAGER_CALL_SUPERVISOR:
		r = glk_manager_supervisor_path(manager, &path);
		assert_int_equal(!path, r < 0);
		return glk_manager_supervisor_args(manager, &argv, &argc);
	case MANAGER_CALL_PLUG:
		return glk_manager_acquire_resources(manager, &fake_disk, 1);
	case MANAGER_CALL_UNPLUG:
		return glk_manager_release_resources(manager, &fake_disk, 1);
	case MANAGER_CALL_PREPARE:
		return glk_manager_prepare_migrate(manager, "there");
	case MANAGER_CALL_OUT:
		return glk_manager_complete_out(manager, 0);
	case MANAGER_CALL_OUT_CANCEL:
		return glk_manager_complete_out(manager, GLK_MIGRATE_CANCEL);
	case MANAGER_CALL_IN:
		return glk_manager_complete_in(manager, 0);
	case MANAGER_CALL_IN_CANCEL:
		return glk_manager_complete_in(manager, GLK_MIGRATE_CANCEL);
	default:
		assert_int_equal(call, MANAGER_CALL_SHUTDOWN);
		return glk_manager_shutdown(manager);
	}
}

/* Which states can a manager of this mode be in? */
static bool is_state_of(int mode, enum manager_state state)
{
	switch (state) {
	case MANAGER_HELD:
	case MANAGER_SUPERVISED:
		return mode != MODE_ATTACH;
	case MANAGER_CLAIMED:
		return mode == MODE_MIGRATE;
	case MANAGER_INCOMING:
	case MANAGER_CANCELLED:
		return mode != MODE_START;
	default:
		return true;
	}
}

static void a_call_in_the_wrong_state_fails_and_changes_nothing(void **state)
{
	unsigned refused = 0;

	(void)state;
	for (int i = 0; i < _MODE_N * _MANAGER_STATE_N * _MANAGER_CALL_N; i++) {
		enum manager_call call =
			(enum manager_call)(i % _MANAGER_CALL_N);
		enum manager_state s = (enum manager_state)(
			i / _MANAGER_CALL_N % _MANAGER_STATE_N);
		int mode = i / _MANAGER_CALL_N / _MANAGER_STATE_N, r;
		struct glk_manager *manager;

		if (!is_state_of(mode, s))
			continue;
		manager = fake_manager_in(mode, s);
		r = manager_may(&manager->sm, call);
		assert_int_equal(call_it(manager, call), r < 0 ? r : 0);
		if (r) {
			assert_int_equal(manager_state(&manager->sm), s);
			assert_int_equal(manager->resources.n, 2);
			fake_says("");
		}
		if (r < 0 && call != MANAGER_CALL_INHERIT) {
			fake_message(manager, manager_call_name(call));
			fake_message(manager, manager_state_name(s));
			refused++;
		}
		glk_manager_free(manager);
		assert_int_equal(fake.n_open, 0);
	}
	assert_true(refused > 150);
}

static void a_new_manager_needs_a_type_and_a_mode(void **state)
{
	struct glk_driver *driver = fake_driver(FAKE_ALL);
	struct glk_manager *manager = NULL;

	(void)state;
	assert_int_equal(glk_manager_new(driver, 2, 0, &manager), -EINVAL);
	assert_int_equal(glk_manager_new(driver, -1, 0, &manager), -EINVAL);
	assert_int_equal(glk_manager_new(driver, 0, 3, &manager), -EINVAL);
	assert_int_equal(glk_manager_new(driver, 0, -1, &manager), -EINVAL);
	assert_null(manager);
	assert_int_equal(glk_manager_new(driver, GLK_OBJECT_START_DOMAIN,
					 GLK_MANAGER_MIGRATE, &manager),
			 0);
	fake_is(manager, "new");
	assert_string_equal(glk_manager_message(manager), "");
	glk_manager_free(manager);
	glk_manager_free(NULL);
}

static void a_driver_that_can_nothing_is_asked_for_nothing(void **state)
{
	struct glk_manager *manager = NULL;
	const struct glk_resource lease = { GLK_RESOURCE_LEASE, "/l", 0 };
	char *const *argv = NULL;
	const char *path = NULL;
	int argc = 0;

	(void)state;
	assert_int_equal(glk_manager_new(fake_driver(0), 0, GLK_MANAGER_ATTACH,
					 &manager),
			 -EOPNOTSUPP);
	assert_int_equal(glk_manager_new(fake_driver(0), 0, GLK_MANAGER_MIGRATE,
					 &manager),
			 -EOPNOTSUPP);
	assert_null(manager);
	manager = fake_manager(0, GLK_MANAGER_START);
	assert_int_equal(glk_manager_register(manager, &fake_disk, 1),
			 -EOPNOTSUPP);
	fake_message(manager, "driver 'fake' does not support disks");
	assert_int_equal(glk_manager_register(manager, &lease, 1), -EOPNOTSUPP);
	fake_message(manager, "driver 'fake' does not support leases");
	assert_int_equal(glk_manager_supervisor_path(manager, &path),
			 -EOPNOTSUPP);
	fake_message(manager, "driver 'fake' does not support a supervisor");
	assert_int_equal(glk_manager_supervisor_args(manager, &argv, &argc),
			 -EOPNOTSUPP);
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_int_equal(glk_manager_started(manager, FAKE_PID), 0);
	fake_says("open acquire() started(4711)");
	assert_int_equal(glk_manager_acquire_resources(manager, &fake_disk, 1),
			 -EOPNOTSUPP);
	fake_message(manager, "driver 'fake' does not support hotplug");
	assert_int_equal(glk_manager_release_resources(manager, &fake_disk, 1),
			 -EOPNOTSUPP);
	assert_int_equal(glk_manager_prepare_migrate(manager, "there"),
			 -EOPNOTSUPP);
	fake_message(manager, "driver 'fake' does not support migration");
	for (unsigned flags = 0; flags < 2; flags++) {
		assert_int_equal(glk_manager_complete_out(manager, flags),
				 -EOPNOTSUPP);
		assert_int_equal(glk_manager_complete_in(manager, flags),
				 -EOPNOTSUPP);
	}
	fake_is(manager, "running");
	fake_says("");
	glk_manager_free(manager);
}

static void disks_that_a_driver_ignores_are_not_passed_on(void **state)
{
	const struct glk_resource both[] = {
		{ GLK_RESOURCE_DISK, "/disk", 0 },
		{ GLK_RESOURCE_LEASE, "/s/k", 0 },
	};
	struct glk_manager *manager =
		fake_manager(GLK_IGNORES_DISKS | GLK_CAN_LEASES |
				     GLK_CAN_HOTPLUG,
			     GLK_MANAGER_START);

	(void)state;
	assert_int_equal(glk_manager_register(manager, both, 2), 0);
	assert_int_equal(glk_manager_acquire(manager), 0);
	fake_says("open acquire(/s/k:lease)");
	assert_int_equal(glk_manager_acquire_resources(manager, both, 1), 0);
	assert_int_equal(glk_manager_release_resources(manager, both, 1), 0);
	fake_says("");
	glk_manager_free(manager);
}

static void settings_reach_the_driver_as_they_were_set(void **state)
{
	struct glk_manager *manager =
		fake_manager(FAKE_ALL, GLK_MANAGER_MIGRATE);
	const struct glk_guest_config *config = &fake.guest.config;

	(void)state;
	fake_set(manager, "uuid", "7E57DA7A-0001-4000-8000-00000000000B");
	fake_set(manager, "name", "first");
	fake_set(manager, "name", "web 1");
	fake_set(manager, "id", "9223372036854775807");
	fake_set(manager, "pid", "2147483647");
	fake_set(manager, "epoch", "3");
	fake_set(manager, "lockspace", "/space");
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_string_equal(config->uuid,
			    "7e57da7a-0001-4000-8000-00000000000b");
	assert_string_equal(config->name, "web 1");
	assert_int_equal(config->id, INT64_MAX);
	assert_int_equal(config->pid, INT32_MAX);
	assert_int_equal(config->epoch, 3);
	assert_int_equal(config->holder, GLK_HOLDER_GUEST);
	assert_int_equal(config->flags, GLK_GUEST_INCOMING);
	assert_string_equal(fake.guest.lockspace, "/space");
	assert_int_equal(fake.guest.mode, GLK_MANAGER_MIGRATE);
	glk_manager_free(manager);
}

static void what_was_not_set_is_as_the_public_default(void **state)
{
	struct glk_manager *manager = fake_manager(FAKE_ALL, GLK_MANAGER_START);
	const struct glk_guest_config *config = &fake.guest.config;

	(void)state;
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_null(config->name);
	assert_int_equal(config->id, -1);
	assert_int_equal(config->pid, 0);
	assert_int_equal(config->epoch, 0);
	assert_int_equal(config->flags, 0);
	assert_null(fake.guest.lockspace);
	glk_manager_free(manager);
}

static void a_parameter_that_is_none_is_refused_and_changes_nothing(
	void **state)
{
	char name[CAPSULE_NAME_MAX + 2], space[CAPSULE_PATH_MAX];
	const struct {
		const char *key, *value;
	} cases[] = {
		{ "uuid", "" },
		{ "uuid", "7e57da7a" },
		{ "uuid", NULL },
		{ "name", "" },
		{ "name", "a\nb" },
		{ "name", name },
		{ "id", "" },
		{ "id", "-1" },
		{ "id", "+1" },
		{ "id", " 1" },
		{ "id", "1x" },
		{ "id", "9223372036854775808" },
		{ "pid", "0" },
		{ "pid", "2147483648" },
		{ "epoch", "x" },
		{ "lockspace", "" },
		{ "lockspace", space },
		{ "tag", "1" },
		{ "", "1" },
		{ NULL, "1" },
	};
	struct glk_manager *manager = fake_manager(FAKE_ALL, GLK_MANAGER_START);

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(space, 's', sizeof(space) - 1);
	space[sizeof(space) - 1] = '\0';
	fake_set(manager, "id", "5");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(glk_manager_set(manager, cases[i].key,
						 cases[i].value),
				 -EINVAL);
		fake_message(manager,
			     cases[i].key ? cases[i].key : "parameter");
	}
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_string_equal(fake.guest.config.uuid, FAKE_UUID);
	assert_null(fake.guest.config.name);
	assert_int_equal(fake.guest.config.id, 5);
	glk_manager_free(manager);
}

static void nothing_is_taken_for_a_guest_without_a_uuid(void **state)
{
	struct glk_driver *driver = fake_driver(FAKE_ALL);
	struct glk_manager *manager = NULL;
	char *const *argv = NULL;
	const char *path = NULL;
	pid_t pid = 0;
	int argc = 0;

	(void)state;
	assert_int_equal(glk_manager_new(driver, 0, GLK_MANAGER_START,
					 &manager),
			 0);
	assert_int_equal(glk_manager_acquire(manager), -EDESTADDRREQ);
	fake_message(manager, "uuid");
	assert_int_equal(glk_manager_supervisor_path(manager, &path),
			 -EDESTADDRREQ);
	assert_int_equal(glk_manager_supervisor_args(manager, &argv, &argc),
			 -EDESTADDRREQ);
	assert_int_equal(glk_manager_child(manager, &pid), -ENODATA);
	glk_manager_free(manager);
	assert_int_equal(glk_manager_new(driver, 0, GLK_MANAGER_ATTACH,
					 &manager),
			 0);
	assert_int_equal(glk_manager_acquire(manager), -EDESTADDRREQ);
	assert_int_equal(glk_manager_child(manager, &pid), -EDESTADDRREQ);
	fake_is(manager, "new");
	fake_says("");
	glk_manager_free(manager);
}

static void resources_are_copied_all_or_none(void **state)
{
	char longest[CAPSULE_PATH_MAX + 2], path[] = "/mine";
	const struct {
		struct glk_resource bad;
		int error;
	} cases[] = {
		{ { GLK_RESOURCE_DISK, "", 0 }, -EINVAL },
		{ { GLK_RESOURCE_DISK, NULL, 0 }, -EINVAL },
		{ { GLK_RESOURCE_DISK, "/x", GLK_DISK_LEASE }, -EINVAL },
		{ { GLK_RESOURCE_DISK, "/x", 8 }, -EINVAL },
		{ { 2, "/x", 0 }, -EINVAL },
		{ { -1, "/x", 0 }, -EINVAL },
		{ { GLK_RESOURCE_DISK, longest, 0 }, -ENAMETOOLONG },
	};
	struct glk_manager *manager = fake_manager(FAKE_ALL, GLK_MANAGER_START);
	struct glk_resource two[2] = { { GLK_RESOURCE_DISK, path, 0 } };

	(void)state;
	memset(longest, 'p', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		two[1] = cases[i].bad;
		assert_int_equal(glk_manager_register(manager, two, 2),
				 cases[i].error);
	}
	assert_int_equal(glk_manager_register(manager, NULL, 0), 0);
	two[1] = (struct glk_resource){ GLK_RESOURCE_LEASE, "/s/k",
					GLK_DISK_READONLY };
	assert_int_equal(glk_manager_register(manager, two, 2), 0);
	assert_int_equal(glk_manager_register(manager, two, 1), 0);
	strcpy(path, "/gone");
	assert_int_equal(glk_manager_acquire(manager), 0);
	fake_says("open acquire(/mine /s/k:lease:shared /mine)");
	glk_manager_free(manager);
}

static void a_refused_guest_may_have_other_settings_and_try_again(void **state)
{
	const struct glk_conflict *conflicts = NULL;
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_START, MANAGER_NEW);

	(void)state;
	fake.result[FAKE_ACQUIRE] = -EBUSY;
	fake.blames = true;
	assert_int_equal(glk_manager_acquire(manager), -EBUSY);
	assert_string_equal(glk_manager_message(manager), "fake -16");
	assert_int_equal(glk_manager_conflicts(manager, &conflicts), 1);
	assert_int_equal(conflicts[0].pid, 7);
	assert_string_equal(conflicts[0].exe, "/bin/other");
	fake_is(manager, "new");
	assert_int_equal(fake.n_open, 0);
	fake_set(manager, "id", "12");
	assert_int_equal(glk_manager_conflicts(manager, &conflicts), 0);
	fake.result[FAKE_ACQUIRE] = 0;
	fake.result[FAKE_OPEN] = -EINVAL;
	assert_int_equal(glk_manager_acquire(manager), -EINVAL);
	fake.result[FAKE_OPEN] = 0;
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_int_equal(fake.guest.config.id, 12);
	fake_is(manager, "held");
	assert_string_equal(glk_manager_message(manager), "");
	glk_manager_free(manager);
	assert_int_equal(fake.n_open, 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_call_in_the_wrong_state_fails_and_changes_nothing),
	cmocka_unit_test(a_new_manager_needs_a_type_and_a_mode),
	cmocka_unit_test(a_driver_that_can_nothing_is_asked_for_nothing),
	cmocka_unit_test(disks_that_a_driver_ignores_are_not_passed_on),
	cmocka_unit_test(settings_reach_the_driver_as_they_were_set),
	cmocka_unit_test(what_was_not_set_is_as_the_public_default),
	cmocka_unit_test(
		a_parameter_that_is_none_is_refused_and_changes_nothing),
	cmocka_unit_test(nothing_is_taken_for_a_guest_without_a_uuid),
	cmocka_unit_test(resources_are_copied_all_or_none),
	cmocka_unit_test(a_refused_guest_may_have_other_settings_and_try_again),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
