/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct text_block;

/* Copies of many strings that are forgotten together. All zero is none. */
struct texts {
	struct text_block *last;
};

/* Return: a copy, valid until texts_done(); or NULL for lack of memory. */
char *texts_add(struct texts *texts, const char *s);

void texts_done(struct texts *texts);
