/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/doctor.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

static struct doctor_facts healthy(void)
{
	return (struct doctor_facts){
		.host = { .engine = "uring",
			  .engine_reason = "",
			  .ring_flags = "defer-taskrun",
			  .completion = "msg-ring",
			  .getlk_unlck = 1,
			  .memfd_noexec = 1,
			  .udiag = 1,
			  .pidfd_getfd = 1 },
		.kernel_major = 6,
		.kernel_minor = 18,
		.capabilities = UINT64_MAX,
		.nofile = { 1024, 524288 },
		.io_uring_disabled = 0,
		.ptrace_scope = -1,
		.wmem_max = 212992,
		.hidepid = 0,
	};
}

static const struct finding *judge(const struct doctor_facts *facts,
				   const char *topic)
{
	static struct findings all;

	doctor_judge(facts, &all);
	for (size_t i = 0; i < all.n; i++) {
		if (!strcmp(all.items[i].topic, topic))
			return &all.items[i];
	}
	return NULL;
}

static void expect(const struct doctor_facts *facts, const char *topic,
		   enum finding_state want, const char *mend)
{
	const struct finding *f = judge(facts, topic);

	assert_non_null(f);
	if (f->state != want)
		fail_msg("%s is %s: %s", topic, finding_state_name(f->state),
			 f->text);
	if (want == FINDING_OK) {
		assert_null(f->mend);
		return;
	}
	assert_non_null(f->mend);
	if (!strstr(f->mend, mend))
		fail_msg("%s: mend is \"%s\"", topic, f->mend);
}

static void a_healthy_host_has_nothing_to_mend(void **state)
{
	struct doctor_facts f = healthy();
	struct findings all;

	(void)state;
	doctor_judge(&f, &all);
	assert_true(all.n >= 9);
	for (size_t i = 0; i < all.n; i++) {
		assert_int_equal(all.items[i].state, FINDING_OK);
		assert_null(all.items[i].mend);
		assert_true(all.items[i].text[0] != '\0');
	}
	assert_true(doctor_usable(&all));
}

static void an_old_kernel_is_not_usable(void **state)
{
	struct doctor_facts f = healthy();

	(void)state;
	f.kernel_major = 5, f.kernel_minor = 14;
	expect(&f, "kernel", FINDING_OK, NULL);
	f.kernel_minor = 13;
	expect(&f, "kernel", FINDING_MISSING, "5.14");
	f.kernel_major = 4, f.kernel_minor = 18;
	expect(&f, "kernel", FINDING_MISSING, "5.14");
}

static void without_io_uring_the_reason_decides_what_to_do(void **state)
{
	struct doctor_facts f = healthy();

	(void)state;
	f.host.engine = "syscall";
	f.host.engine_reason = "io_uring_setup: Operation not permitted";
	expect(&f, "engine", FINDING_DEGRADED, "seccomp");
	f.io_uring_disabled = 2;
	expect(&f, "engine", FINDING_DEGRADED, "kernel.io_uring_disabled=0");
	f.io_uring_disabled = 1;
	expect(&f, "engine", FINDING_DEGRADED, "kernel.io_uring_group");
	f.disabled = "uring";
	expect(&f, "engine", FINDING_DEGRADED, "GUESTLOCK_DISABLE");
	f.engine_wish = "syscall";
	expect(&f, "engine", FINDING_DEGRADED, "GUESTLOCK_ENGINE");
	assert_non_null(strstr(judge(&f, "engine")->text, "not permitted"));
}

static void old_kernels_degrade_and_stay_usable(void **state)
{
	struct doctor_facts f = healthy();
	struct findings all;

	(void)state;
	f.host.getlk_unlck = f.host.memfd_noexec = f.host.udiag = 0;
	expect(&f, "lock query", FINDING_DEGRADED, "6.6");
	expect(&f, "identity", FINDING_DEGRADED, "6.3");
	expect(&f, "discovery", FINDING_DEGRADED, "unix_diag");
	doctor_judge(&f, &all);
	assert_true(doctor_usable(&all));
}

static void without_pidfd_getfd_no_guest_can_be_found(void **state)
{
	struct doctor_facts f = healthy();
	struct findings all;

	(void)state;
	f.host.pidfd_getfd = 0;
	expect(&f, "adoption", FINDING_MISSING, "pidfd_getfd");
	doctor_judge(&f, &all);
	assert_false(doctor_usable(&all));
}

static void yama_binds_users_first_and_root_at_last(void **state)
{
	struct doctor_facts f = healthy();

	(void)state;
	for (f.ptrace_scope = 0; f.ptrace_scope < 3; f.ptrace_scope++)
		expect(&f, "adoption", FINDING_OK, NULL);
	expect(&f, "adoption", FINDING_MISSING, "below 3");
	f.capabilities = 0;
	f.ptrace_scope = 0;
	expect(&f, "adoption", FINDING_OK, NULL);
	f.ptrace_scope = 1;
	expect(&f, "adoption", FINDING_DEGRADED, "ptrace_scope=0");
	f.ptrace_scope = 2;
	expect(&f, "adoption", FINDING_MISSING, "ptrace_scope=0");
}

static void limits_count_for_those_whom_they_bind(void **state)
{
	struct doctor_facts f = healthy();

	(void)state;
	f.nofile = (struct rlimit){ 1024, 1024 };
	expect(&f, "descriptors", FINDING_DEGRADED, "RLIMIT_NOFILE");
	expect(&f, "parked locks", FINDING_OK, NULL);
	f.capabilities = 0;
	expect(&f, "parked locks", FINDING_DEGRADED, "RLIMIT_NOFILE");
	f.nofile.rlim_max = 4096;
	expect(&f, "parked locks", FINDING_OK, NULL);
	assert_non_null(strstr(judge(&f, "parked locks")->text, "4096"));
	f.capabilities = UINT64_C(1) << CAP_SYS_RESOURCE;
	assert_non_null(strstr(judge(&f, "parked locks")->text, "no limit"));
}

static void a_hidden_proc_hides_holders_from_users(void **state)
{
	struct doctor_facts f = healthy();

	(void)state;
	f.hidepid = 2;
	expect(&f, "/proc", FINDING_OK, NULL);
	f.capabilities = 0;
	expect(&f, "/proc", FINDING_DEGRADED, "gid=");
	f.hidepid = -1;
	expect(&f, "/proc", FINDING_MISSING, "mount proc");
}

static void a_small_send_buffer_is_said(void **state)
{
	struct doctor_facts f = healthy();

	(void)state;
	f.wmem_max = 4608;
	expect(&f, "send buffer", FINDING_OK, NULL);
	f.capabilities = 0;
	expect(&f, "send buffer", FINDING_DEGRADED, "wmem_max");
	f.wmem_max = -1;
	expect(&f, "send buffer", FINDING_OK, NULL);
}

static void switches_in_the_environment_are_said(void **state)
{
	struct doctor_facts f = healthy();

	(void)state;
	assert_null(judge(&f, "environment"));
	f.disabled = "getlk-unlck";
	expect(&f, "environment", FINDING_DEGRADED, "unset");
	f.stranger = "bogus";
	expect(&f, "environment", FINDING_DEGRADED, "correct");
	assert_non_null(strstr(judge(&f, "environment")->text, "bogus"));
}

static void hidepid_is_read_from_the_mount_that_is_seen(void **state)
{
	static const char root[] = "22 1 8:1 / / rw - ext4 /dev/sda rw\n";
	char text[600];

	(void)state;
#define PROC(_options) "23 22 0:21 / /proc rw - proc proc rw" _options "\n"
	assert_int_equal(doctor_parse_hidepid(root), -1);
	assert_int_equal(doctor_parse_hidepid(""), -1);
	assert_int_equal(doctor_parse_hidepid(PROC("")), 0);
	assert_int_equal(doctor_parse_hidepid(PROC(",hidepid=2")), 2);
	assert_int_equal(doctor_parse_hidepid(PROC(",hidepid=invisible")), 2);
	assert_int_equal(doctor_parse_hidepid(PROC(",hidepid=noaccess")), 1);
	assert_int_equal(doctor_parse_hidepid(PROC(",hidepid=ptraceable")), 4);
	snprintf(text, sizeof(text), "%s%s%s", PROC(",hidepid=1"), root,
		 PROC(""));
	assert_int_equal(doctor_parse_hidepid(text), 0);
	assert_int_equal(doctor_parse_hidepid("23 22 0:21 / /mnt rw - proc "
					      "proc rw,hidepid=2\n"),
			 -1);
}

static void capabilities_are_read_from_status(void **state)
{
	(void)state;
	assert_true(doctor_parse_capabilities(
			    "Name:\tx\nCapEff:\t000001ffffffffff\nX:\t1\n") ==
		    UINT64_C(0x1ffffffffff));
	assert_true(doctor_parse_capabilities("Name:\tx\n") == 0);
}

static void this_host_can_be_looked_at(void **state)
{
	struct doctor_facts f = healthy();

	(void)state;
	f.kernel_major = 0;
	doctor_look(&f);
	assert_true(f.kernel_major >= 5);
	assert_int_equal(f.uid, geteuid());
	assert_true(f.hidepid >= 0);
	assert_true(f.wmem_max != 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_healthy_host_has_nothing_to_mend),
	cmocka_unit_test(an_old_kernel_is_not_usable),
	cmocka_unit_test(without_io_uring_the_reason_decides_what_to_do),
	cmocka_unit_test(old_kernels_degrade_and_stay_usable),
	cmocka_unit_test(without_pidfd_getfd_no_guest_can_be_found),
	cmocka_unit_test(yama_binds_users_first_and_root_at_last),
	cmocka_unit_test(limits_count_for_those_whom_they_bind),
	cmocka_unit_test(a_hidden_proc_hides_holders_from_users),
	cmocka_unit_test(a_small_send_buffer_is_said),
	cmocka_unit_test(switches_in_the_environment_are_said),
	cmocka_unit_test(hidepid_is_read_from_the_mount_that_is_seen),
	cmocka_unit_test(capabilities_are_read_from_status),
	cmocka_unit_test(this_host_can_be_looked_at),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
