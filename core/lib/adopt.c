/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/look.h"

#include "core/base/util.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * From a selector to a guest. A uuid and a tag stand in the capsule's name,
 * which only its maker could write; a pid and a name are known only after
 * adoption, so all candidates are adopted and compared. Two that fit are an
 * error: to attach a disk to the wrong guest would hand it a writable
 * descriptor.
 *
 * But source and destination of a migration on one host have one uuid, and one
 * name. So of several that fit, all of them are read, and those that are not in
 * a wanted role are left out. Of one alone the role is not asked: whoever wants
 * the source of a migration that nobody has begun means this guest.
 */

#define ROLES_ALL ((1U << _ROLE_N) - 1)

static_assert(GLK_ROLE_NONE == (int)ROLE_NONE &&
		      GLK_ROLE_OWNER == (int)ROLE_OWNER &&
		      GLK_ROLE_PREPARED == (int)ROLE_PREPARED &&
		      GLK_ROLE_LEFT == (int)ROLE_LEFT &&
		      GLK_ROLE_INCOMING == (int)ROLE_INCOMING &&
		      GLK_ROLE_ARRIVED == (int)ROLE_ARRIVED,
	      "the public numbers");

struct selector {
	const char *text;
	struct uuid uuid;
	bool is_uuid;
	pid_t pid; /* 0: not a number */
	unsigned roles;
	uint64_t tag;
};

static void parse_selection(const struct glk_selection *selection,
			    struct selector *sel)
{
	const char *text = selection->who;
	char *end;
	long n;

	*sel = (struct selector){ .text = text,
				  .roles = selection->roles,
				  .tag = selection->tag };
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
	struct candidate {
		struct capsule *capsule;
		bool in_role;
	} * v;
	size_t n;
	int error; /* the last reason why one could not be looked into */
};

static void candidates_done(struct candidates *c)
{
	for (size_t i = 0; i < c->n; i++)
		capsule_free(c->v[i].capsule);
	free(c->v);
}

/* A pid wins over a guest whose name happens to be that number. */
static int search(struct glk_context *context, const struct selector *sel,
		  bool by_pid, struct candidates *c)
{
	struct capsule_adopt_config config = {};
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	uint64_t missed = 0;
	size_t n = 0;
	int r;

	r = look_discover(sel->is_uuid ? &sel->uuid : NULL, context->deadline,
			  &entries, &n);
	if (r)
		return r;
	freep(&c->v);
	c->v = calloc(n + 1, sizeof(*c->v));
	if (!c->v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct capsule *capsule = NULL;
		int e;

		if (sel->tag && entries[i].nonce != sel->tag)
			continue;
		if (i && !entries[i].missed && look_is_late(context))
			return -ETIME;
		config.deadline =
			n == 1 ? context->deadline
			       : look_deadline_of(context, &entries[i],
						  &missed);
		e = capsule_adopt(&entries[i], &config, &capsule);
		if (!e && fits(sel, capsule, by_pid))
			c->v[c->n++].capsule = TAKE_PTR(capsule);
		else if (e && e != CAPSULE_E_GONE && e != CAPSULE_E_FORGED)
			c->error = e;
		capsule_free(capsule);
	}
	return 0;
}

/* Return: 0, or as capsule_list(). */
static int find_role(struct glk_context *context, struct candidate *candidate,
		     unsigned roles)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	int r = capsule_list(candidate->capsule, look_deadline(context),
			     &contents);

	for (size_t i = 0; !r && i < contents.n_leases; i++)
		if (roles & 1U << contents.leases[i].role)
			candidate->in_role = true;
	capsule_contents_done(&contents);
	return r;
}

/* Who has gone meanwhile fits no more; who cannot be read is in no role. */
static int read_roles(struct glk_context *context, unsigned roles,
		      struct candidates *c)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < c->n; i++) {
		int e = 0;

		if (!r && look_is_late(context))
			r = -ETIME;
		if (!r)
			e = find_role(context, &c->v[i], roles);
		if (e && e != CAPSULE_E_GONE)
			c->error = e;
		if (e == CAPSULE_E_GONE)
			capsule_free(c->v[i].capsule);
		else
			c->v[n++] = c->v[i];
	}
	c->n = n;
	return r;
}

static int keep_roles(struct glk_context *context, unsigned roles,
		      struct candidates *c)
{
	size_t n = 0;
	int r = read_roles(context, roles, c);

	if (r || c->n < 2)
		return r;
	for (size_t i = 0; i < c->n; i++) {
		if (c->v[i].in_role)
			c->v[n++] = c->v[i];
		else
			capsule_free(c->v[i].capsule);
	}
	c->n = n;
	return 0;
}

/* Of two sides of a migration, the uuid tells no more than the name does. */
static bool one_uuid(const struct candidates *c)
{
	const struct uuid *uuid = &capsule_identity(c->v[0].capsule)->uuid;

	for (size_t i = 1; i < c->n; i++)
		if (memcmp(&capsule_identity(c->v[i].capsule)->uuid, uuid,
			   sizeof(*uuid)))
			return false;
	return true;
}

static int report_none(struct glk_context *context, const struct selector *sel,
		       const struct candidates *c)
{
	char tag[48] = "";

	if (c->error)
		return context_capsule_fail(context, c->error,
					    "cannot look into the guest");
	if (sel->tag)
		snprintf(tag, sizeof(tag), " with tag %" PRIx64, sel->tag);
	return context_fail(context, -ESRCH, "no guest '%s'%s%s is running",
			    quoted(sel->text), tag,
			    sel->roles ? " in such a role" : "");
}

static int find(struct glk_context *context, const struct selector *sel,
		struct capsule **ret_capsule)
{
	_cleanup_(candidates_done) struct candidates c = {};
	int r;

	r = search(context, sel, sel->pid != 0, &c);
	if (!r && !c.n && sel->pid)
		r = search(context, sel, false, &c);
	if (!r && c.n > 1 && sel->roles)
		r = keep_roles(context, sel->roles, &c);
	if (r)
		return context_capsule_fail(context, r,
					    "cannot look for guests");
	if (c.n > 1)
		return context_fail(context, -ENOTUNIQ,
				    "%zu guests are called '%s': use the %s",
				    c.n, quoted(sel->text),
				    one_uuid(&c) ? "pid" : "uuid");
	if (!c.n)
		return report_none(context, sel, &c);
	*ret_capsule = TAKE_PTR(c.v[0].capsule);
	return 0;
}

static int check_selection(struct glk_context *context,
			   const struct glk_selection *selection)
{
	if (!selection->who || !*selection->who)
		return context_fail(context, -EINVAL, "no guest is named");
	if (selection->roles & ~ROLES_ALL)
		return context_fail(context, -EINVAL, "unknown roles 0x%x",
				    selection->roles);
	for (size_t i = 0; i < ARRAY_SIZE(selection->reserved); i++)
		if (selection->reserved[i])
			return context_fail(context, -EINVAL,
					    "reserved fields are not zero");
	return 0;
}

/* Takes over @capsule, whatever happens. */
static int make_guest(struct glk_context *context, struct capsule *capsule,
		      struct glk_guest **ret_guest)
{
	struct glk_guest *guest = calloc(1, sizeof(*guest));
	int r;

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

GLK_EXPORT int glk_guest_select(struct glk_context *context,
				const struct glk_selection *selection,
				struct glk_guest **ret_guest)
{
	struct capsule *capsule = NULL;
	struct selector sel;
	int r;

	r = context_begin(context);
	if (!r)
		r = check_selection(context, selection);
	if (r)
		return r;
	parse_selection(selection, &sel);
	r = find(context, &sel, &capsule);
	return r ? r : make_guest(context, capsule, ret_guest);
}

GLK_EXPORT int glk_guest_adopt(struct glk_context *context,
			       const char *selector,
			       struct glk_guest **ret_guest)
{
	const struct glk_selection selection = { .who = selector };

	return glk_guest_select(context, &selection, ret_guest);
}
