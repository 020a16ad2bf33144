/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lib.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "include/guestlock/driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int set_host_dir(struct glk_context *context)
{
	const char *dir = secure_getenv("GUESTLOCK_HOST_DIR");

	context->host_dir = path_absolute(dir && *dir ? dir : HOST_LOCK_DIR);
	return context->host_dir ? 0 : -ENOMEM;
}

GLK_EXPORT int glk_context_new(struct glk_context **ret_context)
{
	struct glk_context *context = calloc(1, sizeof(*context));
	int r;

	if (!context)
		return -ENOMEM;
	context->timeout_ms = TIMEOUT_DEFAULT_MS;
	context->sysfs = "/sys";
	r = set_host_dir(context);
	if (r == 0)
		r = engine_new(NULL, &context->engine);
	if (r == 0)
		r = mounts_new(NULL, &context->mounts);
	if (r < 0) {
		glk_context_free(context);
		return r;
	}
	*ret_context = context;
	return 0;
}

GLK_EXPORT void glk_context_free(struct glk_context *context)
{
	if (!context)
		return;
	conflict_clear(&context->conflicts);
	conflict_clear(&context->holders);
	free(context->message);
	free(context->scratch);
	free(context->host_dir);
	policy_done(&context->policy);
	reach_done(&context->reach);
	engine_free(context->engine);
	mounts_free(context->mounts);
	free(context);
}

GLK_EXPORT void glk_context_set_timeout(struct glk_context *context,
					unsigned ms)
{
	context->timeout_ms = ms;
}

GLK_EXPORT void glk_context_on_wait(struct glk_context *context,
				    glk_wait_fn *fn, void *arg)
{
	context->on_wait = fn;
	context->on_wait_arg = arg;
}

GLK_EXPORT void glk_context_cancel(struct glk_context *context)
{
	engine_cancel(context->engine);
}

GLK_EXPORT const char *glk_context_message(const struct glk_context *context)
{
	return context->message ? context->message : "";
}

GLK_EXPORT size_t
glk_context_conflicts(const struct glk_context *context,
		      const struct glk_conflict **ret_conflicts)
{
	*ret_conflicts = context->conflicts.items;
	return context->conflicts.n;
}

int context_begin(struct glk_context *context)
{
	mounts_expire(context->mounts);
	context->deadline = deadline_in_ms(context->timeout_ms);
	return context_begin_quick(context);
}

int context_begin_quick(struct glk_context *context)
{
	free(context->message);
	context->message = NULL;
	conflict_clear(&context->conflicts);
	conflict_clear(&context->holders);
	if (engine_take_cancel(context->engine))
		return context_fail(context, -ECANCELED, "cancelled");
	return 0;
}

void *context_scratch(struct glk_context *context, size_t n, size_t size,
		      size_t more)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) ||
	    __builtin_add_overflow(bytes, more, &bytes))
		return NULL;
	if (bytes > context->scratch_size) {
		free(context->scratch);
		context->scratch = malloc(bytes);
		context->scratch_size = context->scratch ? bytes : 0;
	}
	return context->scratch;
}

/* The arguments may be of the message that it replaces. */
static _printf_(2, 0) void set_message(struct glk_context *context,
				       const char *format, va_list args)
{
	char *text = NULL;

	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	free(context->message);
	context->message = text;
}

int context_fail(struct glk_context *context, int error, const char *format,
		 ...)
{
	va_list args;

	va_start(args, format);
	set_message(context, format, args);
	va_end(args);
	return error;
}

GLK_EXPORT int glk_context_explain(struct glk_context *context, int error,
				   const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set_message(context, format, args);
	va_end(args);
	return error;
}

GLK_EXPORT int glk_context_blame(struct glk_context *context,
				 const struct glk_conflict *conflict)
{
	return conflict_add(&context->conflicts, conflict);
}

int context_no_memory(struct glk_context *context)
{
	return context_fail(context, -ENOMEM, "out of memory");
}

static int errno_of(int e)
{
	switch (e) {
	case CAPSULE_E_GONE:
		return -ESRCH;
	case CAPSULE_E_FORGED:
		return -EBADMSG;
	case CAPSULE_E_DENIED:
		return -EPERM;
	case CAPSULE_E_BUSY:
		return -ETIME;
	case CAPSULE_E_FULL:
		return -ENOSPC;
	case CAPSULE_E_INFLIGHT:
		return -ETOOMANYREFS;
	case CAPSULE_E_NOFILE:
		return -EMFILE;
	default:
		return e < 0 ? e : -ENOTRECOVERABLE;
	}
}

int context_capsule_fail(struct glk_context *context, int e, const char *what)
{
	int error = errno_of(e);

	return context_fail(context, error, "%s: %s", what,
			    e > 0 ? capsule_strerror(e) : strerror(-error));
}

#define QUOTED_MAX 4600

const char *quoted(const char *s)
{
	static _Thread_local char ring[4][QUOTED_MAX];
	static _Thread_local unsigned next;
	char *buf = ring[next++ % ARRAY_SIZE(ring)];
	size_t at = 0;

	for (; *s && at < QUOTED_MAX - 8; s++) {
		unsigned char c = (unsigned char)*s;

		if (c >= 0x20 && c < 0x7f && c != '\\')
			buf[at++] = (char)c;
		else
			at += (size_t)sprintf(buf + at, "\\x%02x", c);
	}
	strcpy(buf + at, *s ? "..." : "");
	return buf;
}
