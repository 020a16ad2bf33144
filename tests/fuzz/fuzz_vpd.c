/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a SCSI disk may say of itself: pages one after the other, each with its
 * length in two bytes before it.
 */
#include "core/base/util.h"
#include "core/lib/vpd.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INVARIANT(_x)                                                          \
	do {                                                                   \
		if (!(_x))                                                     \
			abort();                                               \
	} while (0)

static void take_page(const uint8_t **data, size_t *size, struct vpd_page *page)
{
	size_t n;

	page->size = 0;
	if (*size < 2)
		return;
	n = MIN((size_t)((*data)[0] << 8 | (*data)[1]), *size - 2);
	page->size = MIN(n, sizeof(page->data));
	memcpy(page->data, *data + 2, page->size);
	*data += 2 + n;
	*size -= 2 + n;
}

/* It becomes the name of a file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vpd *vpd = malloc(sizeof(*vpd));
	char *wwid = malloc(WWID_SIZE);

	memset(vpd, 0xa5, sizeof(*vpd));
	take_page(&data, &size, &vpd->inquiry);
	take_page(&data, &size, &vpd->list);
	take_page(&data, &size, &vpd->serial);
	take_page(&data, &size, &vpd->ids);
	if (!vpd_wwid(vpd, wwid)) {
		INVARIANT(strchr("0123S", wwid[0]) && wwid[0]);
		INVARIANT(strnlen(wwid, WWID_SIZE) < WWID_SIZE);
		INVARIANT(!strpbrk(wwid, "/ \t\n"));
	}
	free(wwid);
	free(vpd);
	return 0;
}
