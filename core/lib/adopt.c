/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/look.h"

#include "core/base/util.h"

#include <string.h>

/*
 * From a selector to a guest. A uuid stands in the capsule's name, which only
 * its maker could write; a pid and a name are known only after adoption, so
 * all candidates are adopted and compared. Two that fit are an error: to
 * attach a disk to the wrong guest would hand it a writable descriptor.
 */

struct selector {
	const char *text;
	struct uuid uuid;
	bool is_uuid;
	pid_t pid; /* 0: not a number */
};

static void parse_selector(const char *text, struct selector *sel)
{
	char *end;
	long n;

	*sel = (struct selector){ .text = text };
	sel->is_uuid = uuid_parse(text, &sel->uuid) == 0;
	errno = 0;
	n = strtol(text, &end, 10);
	if (text[0] >= '1' && text[0] <= '9' && !*end && !errno &&
	    n <= INT32_MAX)
		sel->pid = (pid_t)n;
}

static bool fits(const struct selector *sel, const struct capsule *capsule,
		 bool by_pid)
{
	if (sel->is_uuid)
		return true;
	if (by_pid)
		return capsule_keeper(capsule)->pid == sel->pid;
	return !strcmp(capsule_identity(capsule)->name, sel->text);
}

struct candidates {
	struct capsule *one;
	size_t n;
	int error; /* the last reason why one could not be adopted */
};

/* A pid wins over a guest whose name happens to be that number. */
static void consider(const struct selector *sel, struct capsule *capsule,
		     bool by_pid, struct candidates *c)
{
	if (!fits(sel, capsule, by_pid)) {
		capsule_free(capsule);
		return;
	}
	c->n++;
	capsule_free(c->one);
	c->one = capsule;
}

static int search(struct glk_context *context, const struct selector *sel,
		  bool by_pid, struct candidates *c)
{
	struct capsule_adopt_config config = {};
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	size_t n = 0;
	int r;

	r = look_discover(context, sel->is_uuid ? &sel->uuid : NULL, &entries,
			  &n);
	for (size_t i = 0; i < n && !r; i++) {
		struct capsule *capsule = NULL;
		int e;

		if (i && look_is_late(context))
			return -ETIME;
		config.deadline =
			n == 1 ? context->deadline : look_deadline(context);
		e = capsule_adopt(&entries[i], &config, &capsule);
		if (!e)
			consider(sel, capsule, by_pid, c);
		else if (e != CAPSULE_E_GONE && e != CAPSULE_E_FORGED)
			c->error = e;
	}
	return r;
}

static int find(struct glk_context *context, const char *text,
		struct capsule **ret_capsule)
{
	struct candidates c = {};
	struct selector sel;
	int r;

	parse_selector(text, &sel);
	r = search(context, &sel, sel.pid != 0, &c);
	if (!r && !c.n && sel.pid)
		r = search(context, &sel, false, &c);
	if (!r && c.n > 1)
		r = context_fail(context, -ENOTUNIQ,
				 "%zu guests are called '%s': use the %s", c.n,
				 quoted(text), sel.is_uuid ? "pid" : "uuid");
	else if (!r && !c.n && c.error)
		r = context_capsule_fail(context, c.error,
					 "cannot look into the guest");
	else if (!r && !c.n)
		r = context_fail(context, -ESRCH, "no guest '%s' is running",
				 quoted(text));
	else if (r)
		r = context_capsule_fail(context, r, "cannot look for guests");
	if (r) {
		capsule_free(c.one);
		return r;
	}
	*ret_capsule = c.one;
	return 0;
}

GLK_EXPORT int glk_guest_adopt(struct glk_context *context,
			       const char *selector,
			       struct glk_guest **ret_guest)
{
	struct capsule *capsule = NULL;
	struct glk_guest *guest;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	if (!selector || !*selector)
		return context_fail(context, -EINVAL, "no guest is named");
	r = find(context, selector, &capsule);
	if (r)
		return r;
	guest = calloc(1, sizeof(*guest));
	if (!guest) {
		capsule_free(capsule);
		return context_no_memory(context);
	}
	guest->context = context;
	guest->who = *capsule_identity(capsule);
	guest->capsule = capsule;
	guest_init(&guest->sm, false);
	r = guest_move(&guest->sm, GUEST_EVENT_ADOPT);
	if (r) {
		glk_guest_free(guest);
		return r;
	}
	*ret_guest = guest;
	return 0;
}
