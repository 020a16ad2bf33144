/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/items.h"
#include "core/lease/txn_states.h"

#define TXN_REOPENS 8

/* Internal to core/lease. */
struct txn {
	struct txn_config config;
	struct sm phase;
	struct items items;
	struct txn_act *acts; /* what is asked now; room for all items and 1 */
	size_t n_acts;
	enum txn_do asked; /* PAUSE, REST, PARK, which concern no single item */
	uint32_t asked_seen;
	uint32_t step; /* mark of the events of one step */
	uint32_t paused_ms, delay_ms;
	unsigned reopens;
	/* Of waiting. */
	uint32_t first; /* the item that is waited for, or UINT32_MAX */
	bool rest;	/* it has no lock that can be waited for */
	bool late;	/* wait no more */
	int error;
};

/* Do the events answer all that is asked, each once, with sense? */
bool answers_fit(struct txn *txn, const struct txn_event *events, size_t n);

/* Move what the event concerns; it must have been found to fit. */
void answer_take(struct txn *txn, const struct txn_event *event);
