/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/sm.h"

#include "core/base/err.h"

#include <errno.h>

void sm_init(struct sm *sm, const struct sm_state *states, uint8_t n_states,
	     uint8_t initial)
{
	*sm = (struct sm){
		.states = states,
		.n_states = n_states,
		.state = initial,
	};
}

bool sm_may(const struct sm *sm, uint8_t to)
{
	return to < sm->n_states &&
	       (sm->states[sm->state].next & UINT32_C(1) << to);
}

int sm_move(struct sm *sm, uint8_t to)
{
	BUG_RETURN(!sm_may(sm, to), -ENOTRECOVERABLE);
	sm->state = to;
	return 0;
}

const char *sm_name(const struct sm *sm)
{
	return sm->states[sm->state].name;
}
