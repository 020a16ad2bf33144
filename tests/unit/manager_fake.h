/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/manager.h"
#include "tests/lib/test.h"

/*
 * A driver that does nothing but write down what it is called with, and answer
 * what it is told to. There is one, for one manager at a time.
 */
enum fake_call {
	FAKE_OPEN,
	FAKE_ACQUIRE,
	FAKE_INHERIT,
	FAKE_STARTED,
	FAKE_CHILD,
	FAKE_SUPERVISOR,
	FAKE_SUPERVISED,
	FAKE_ATTACH,
	FAKE_ADD,
	FAKE_REMOVE,
	FAKE_PREPARE,
	FAKE_OUT,
	FAKE_IN,
	FAKE_CANCEL,
	FAKE_SHUTDOWN,
	_FAKE_CALL_N,
};

#define FAKE_PID 4711
#define FAKE_UUID "7e57da7a-0001-4000-8000-00000000000a"
#define FAKE_ALL                                                               \
	(GLK_CAN_DISKS | GLK_CAN_LEASES | GLK_CAN_HOTPLUG | GLK_CAN_MIGRATE |  \
	 GLK_CAN_ATTACH | GLK_CAN_SUPERVISE)

struct fake {
	int result[_FAKE_CALL_N]; /* 0 or negative errno */
	unsigned again;		  /* so often -EAGAIN before that */
	bool blames;		  /* a refusal names a holder */
	unsigned roles;		  /* what attach() finds */
	struct glk_drift drift[4];
	size_t n_drift;
	size_t n_open;		       /* how many states are open now */
	char said[512];		       /* what was called, as text */
	struct glk_driver_guest guest; /* as it was at open() */
};

extern struct fake fake;

/* A driver with these abilities; answers 0 to everything. */
struct glk_driver *fake_driver(unsigned abilities);

/* Of that driver. */
struct glk_manager *fake_manager(unsigned abilities, int mode);

/* With a uuid and two disks, and in this state, if the mode has it. */
struct glk_manager *fake_manager_in(int mode, enum manager_state state);

extern const struct glk_resource fake_disk;

/* A setting that is accepted. */
void fake_set(struct glk_manager *manager, const char *key, const char *value);

/* It is in this state. */
void fake_is(const struct glk_manager *manager, const char *state);

/* Its message has this text in it. */
void fake_message(const struct glk_manager *manager, const char *text);

/* What was called since the last time is exactly this. */
void fake_says(const char *said);
