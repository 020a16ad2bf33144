/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/options.h"

#include "core/base/util.h"
#include "core/base/uuid.h"

#include <string.h>

int options_parse_decimal(const char *s, uint64_t max, uint64_t *ret)
{
	unsigned long long n;

	if (!*s || s[strspn(s, "0123456789")])
		return -EINVAL;
	errno = 0;
	n = strtoull(s, NULL, 10);
	if (errno || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

int options_set_id(struct options *options, const char *value)
{
	uint64_t id;

	if (options_parse_decimal(value, INT64_MAX, &id) < 0)
		return options_complain(options, -EINVAL, "--id ", value,
					" is not a number from 0 to 2^63 - 1");
	options->id = (int64_t)id;
	return 0;
}

int options_set_uuid(struct options *options, const char *value)
{
	struct uuid uuid;

	options->uuid = value;
	if (uuid_parse(value, &uuid) < 0)
		return options_complain(options, -EINVAL, "--uuid ", value,
					" is not a uuid");
	return 0;
}

int options_set_name(struct options *options, const char *value)
{
	options->name = value;
	return 0;
}

int options_set_epoch(struct options *options, const char *value)
{
	if (options_parse_decimal(value, UINT64_MAX, &options->epoch) < 0)
		return options_complain(options, -EINVAL, "--epoch ", value,
					" is not a number from 0 to 2^64 - 1");
	return 0;
}

int options_set_tag(struct options *options, const char *value)
{
	size_t len = strspn(value, "0123456789abcdefABCDEF");
	uint64_t tag;

	if (!len || len > 16 || value[len])
		return options_complain(options, -EINVAL, "--tag ", value,
					" is not 1 to 16 hexadecimal digits");
	tag = strtoull(value, NULL, 16);
	if (!tag)
		return options_complain(options, -EINVAL, "--tag is 0", NULL,
					"");
	/* One of them is of --args-from: then that is another guest's list. */
	if (options->tag && options->tag != tag)
		return options_complain(
			options, -EINVAL, "--tag ", value,
			" is not the one that was given before");
	options->tag = tag;
	return 0;
}

int options_set_side(struct options *options, const char *value)
{
	if (!strcmp(value, "source"))
		options->side = SIDE_SOURCE;
	else if (!strcmp(value, "destination"))
		options->side = SIDE_DESTINATION;
	else
		return options_complain(options, -EINVAL, "--side ", value,
					" is not source or destination");
	return 0;
}

int options_set_timeout(struct options *options, const char *value)
{
	uint64_t seconds;

	if (options_parse_decimal(value, UINT32_MAX / 1000, &seconds) < 0)
		return options_complain(options, -EINVAL, "--timeout ", value,
					" is not a number of seconds from 0 to "
					"4294967");
	options->timeout = (int64_t)seconds;
	return 0;
}

static int set_once(struct options *options, const char **field,
		    const char *value, const char *twice)
{
	if (*field)
		return options_complain(options, -EINVAL, twice, NULL, "");
	*field = value;
	return 0;
}

int options_set_disks_from(struct options *options, const char *value)
{
	return set_once(options, &options->disks_from, value,
			"--disks-from is given twice");
}

int options_set_lockspace(struct options *options, const char *value)
{
	if (!*value)
		return options_complain(options, -EINVAL,
					"--lockspace is empty", NULL, "");
	return set_once(options, &options->lockspace, value,
			"--lockspace is given twice");
}

int options_add_disk(struct options *options, const char *spec)
{
	_cleanup_(freep) char *after = NULL;
	const char *why;
	int r = disks_add_spec(&options->disks, spec, &why);

	if (r != -EINVAL)
		return r;
	if (asprintf(&after, ": %s", why) < 0)
		return -ENOMEM;
	return options_complain(options, r, "disk ", spec, after);
}
