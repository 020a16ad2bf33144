/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/texts.h"

#include "core/base/util.h"

#include <string.h>

/*
 * Each block is as large as all before it together, up to a size at which one
 * more allocation is nothing, and of which little can be left over. One apiece,
 * and freeing it, costs 40 ns a disk.
 */

#define FIRST_SIZE 224 /* with the head, of a size that malloc(3) has at hand */
#define MAX_SIZE 8192

struct text_block {
	struct text_block *before;
	size_t used, size;
	char text[];
};

static struct text_block *add_block(struct texts *texts, size_t least)
{
	size_t size =
		texts->last ? MIN(2 * texts->last->size, MAX_SIZE) : FIRST_SIZE;
	struct text_block *block;

	size = MAX(size, least);
	block = malloc(sizeof(*block) + size);
	if (!block)
		return NULL;
	*block = (struct text_block){ .before = texts->last, .size = size };
	texts->last = block;
	return block;
}

char *texts_add(struct texts *texts, const char *s)
{
	struct text_block *block = texts->last;
	size_t size = strlen(s) + 1;
	char *copy;

	if (!block || block->size - block->used < size)
		block = add_block(texts, size);
	if (!block)
		return NULL;
	copy = memcpy(block->text + block->used, s, size);
	block->used += size;
	return copy;
}

void texts_done(struct texts *texts)
{
	while (texts->last) {
		struct text_block *block = texts->last;

		texts->last = block->before;
		free(block);
	}
}
