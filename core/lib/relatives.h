/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/take.h"

/**
 * relatives_look() - is a device of which blocks are shared with this one held?
 * @e:	a LOCK that went well, of a device; becomes TXN_BUSY if so, and the item
 *	gets a rival; or it fails
 *
 * Return: 0, or -ENOMEM.
 */
int relatives_look(struct take *take, struct txn_event *e);

/* Does the guest have it exclusively, or take it so in this transaction? */
bool relatives_is_ours(struct take *take, struct res_id id);
