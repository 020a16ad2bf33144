/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * A state machine as a table: for each state its name and the states that may
 * follow, as a bit mask. The owner draws the machine above its enum.
 */
struct sm_state {
	const char *name;
	uint32_t next; /* bit i: state i may follow */
};

struct sm {
	const struct sm_state *states;
	uint8_t n_states;
	uint8_t state;
};

void sm_init(struct sm *sm, const struct sm_state *states, uint8_t n_states,
	     uint8_t initial);

bool sm_may(const struct sm *sm, uint8_t to);

/*
 * Move. A move that the table forbids is our bug: nothing changes then.
 * Return: 0 or -ENOTRECOVERABLE (see core/base/err.h).
 */
int sm_move(struct sm *sm, uint8_t to);

const char *sm_name(const struct sm *sm);
