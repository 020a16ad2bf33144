/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include "core/base/clock.h"
#include "core/cli/demo.h"
#include "core/cli/text.h"

#include <langinfo.h>
#include <string.h>

/*
 * The promise, step by step, on this machine. Guests are started, extended and
 * asked about by this very program in fresh processes, as a user would; whether
 * a disk is locked is asked of the kernel with F_OFD_SETLK, not of the library.
 */

#define MANY 500

struct stage {
	struct demo demo;
	struct demo_guest *web, *db, *many, *heir;
};

static int expect_held(struct demo *d, const char *image, bool held)
{
	bool is_held;

	if (demo_probe(d, image, &is_held) < 0)
		return -1;
	if (is_held == held)
		return 0;
	return demo_fail(d, "%s is %s, says the kernel", image,
			 is_held ? "locked" : "free");
}

/* Call @argv; it must exit with @status. @ret_out may be NULL. */
static int expect_exit(struct demo *d, int status, const char *const *argv,
		       char **ret_out)
{
	_cleanup_(freep) char *out = NULL;
	int r = demo_call(d, argv, &out);

	if (r < 0)
		return r;
	if (r != status)
		return demo_fail(d, "%s: exit code %d, not %d: %s", argv[1], r,
				 status, out);
	if (ret_out)
		*ret_out = TAKE_PTR(out);
	return 0;
}

static bool names(const char *text, const struct demo_guest *guest)
{
	char pid[24];

	snprintf(pid, sizeof(pid), "pid %d)", (int)guest->pid);
	return strstr(text, guest->name) && strstr(text, pid);
}

/* The refusal must name one of two guests by name and pid. Shows its first
   line. */
static int expect_refusal_by(struct demo *d, const struct demo_guest *guest,
			     const struct demo_guest *other,
			     const char *const *argv)
{
	_cleanup_(freep) char *out = NULL;

	if (expect_exit(d, STATUS_HELD, argv, &out) < 0)
		return -1;
	if (!names(out, guest) && !names(out, other))
		return demo_fail(d, "the holder is not named: %s", out);
	out[strcspn(out, "\n")] = '\0';
	snprintf(d->detail, sizeof(d->detail), "%s", out);
	return 0;
}

static int expect_refusal(struct demo *d, const struct demo_guest *guest,
			  const char *const *argv)
{
	return expect_refusal_by(d, guest, guest, argv);
}

static int step_start(struct stage *s)
{
	char path[PATH_MAX];

	if (demo_make_image(&s->demo, "root.img") < 0 ||
	    demo_make_image(&s->demo, "db.img") < 0 ||
	    demo_make_image(&s->demo, "data.img") < 0 ||
	    demo_start(&s->demo, "web", "--disk",
		       demo_path(&s->demo, "root.img", path), &s->web) < 0)
		return -1;
	snprintf(s->demo.detail, sizeof(s->demo.detail), "%s, pid %d",
		 s->web->name, (int)s->web->pid);
	return expect_held(&s->demo, "root.img", true);
}

static int step_refuse(struct stage *s)
{
	char path[PATH_MAX];
	const char *argv[] = {
		"guestlock", "run",    "--name",
		"thief",     "--disk", demo_path(&s->demo, "root.img", path),
		"--",	     "true",   NULL
	};

	return expect_refusal(&s->demo, s->web, argv);
}

static int step_second(struct stage *s)
{
	char path[PATH_MAX];

	if (demo_start(&s->demo, "db", "--disk",
		       demo_path(&s->demo, "db.img", path), &s->db) < 0)
		return -1;
	snprintf(s->demo.detail, sizeof(s->demo.detail), "%s, pid %d",
		 s->db->name, (int)s->db->pid);
	return expect_held(&s->demo, "db.img", true);
}

static int step_plug(struct stage *s)
{
	char path[PATH_MAX];
	const char *argv[] = { "guestlock", "attach-disk", s->web->name,
			       demo_path(&s->demo, "data.img", path), NULL };

	if (expect_held(&s->demo, "data.img", false) < 0 ||
	    expect_exit(&s->demo, STATUS_OK, argv, NULL) < 0)
		return -1;
	return expect_held(&s->demo, "data.img", true);
}

static int step_kill_launchers(struct stage *s)
{
	demo_kill_launcher(s->web);
	demo_kill_launcher(s->db);
	if (!demo_is_alive(s->web) || !demo_is_alive(s->db))
		return demo_fail(&s->demo, "a guest died, too");
	if (expect_held(&s->demo, "root.img", true) < 0 ||
	    expect_held(&s->demo, "data.img", true) < 0)
		return -1;
	return expect_held(&s->demo, "db.img", true);
}

/* What a fresh process sees of the guest, as JSON. */
static size_t count_held(const char *text)
{
	_cleanup_(json_decref_p) json_t *root = json_loads(text, 0, NULL);
	json_t *guest = json_array_get(json_object_get(root, "guests"), 0);
	json_t *leases = json_object_get(guest, "leases"), *lease;
	size_t i, held = 0;

	json_array_foreach(leases, i, lease) held +=
		json_is_true(json_object_get(lease, "held"));
	return held;
}

static int step_adopt(struct stage *s)
{
	char path[PATH_MAX];
	const char *ls[] = { "guestlock", "ls", "--json", s->web->name, NULL };
	const char *detach[] = { "guestlock", "detach-disk", s->web->name,
				 demo_path(&s->demo, "data.img", path), NULL };
	_cleanup_(freep) char *out = NULL;

	if (expect_exit(&s->demo, STATUS_OK, ls, &out) < 0)
		return -1;
	if (count_held(out) != 2)
		return demo_fail(&s->demo, "not 2 leases: %s", out);
	if (expect_exit(&s->demo, STATUS_OK, detach, NULL) < 0 ||
	    expect_held(&s->demo, "data.img", false) < 0)
		return -1;
	return expect_held(&s->demo, "root.img", true);
}

static int step_refuse_plug(struct stage *s)
{
	char path[PATH_MAX];
	const char *argv[] = { "guestlock", "attach-disk", s->db->name,
			       demo_path(&s->demo, "root.img", path), NULL };

	return expect_refusal(&s->demo, s->web, argv);
}

static int step_kill_guest(struct stage *s)
{
	if (demo_kill_guest(&s->demo, s->web) < 0)
		return -1;
	return expect_held(&s->demo, "root.img", false);
}

static int step_take_over(struct stage *s)
{
	char path[PATH_MAX];
	const char *argv[] = { "guestlock", "attach-disk", s->db->name,
			       demo_path(&s->demo, "root.img", path), NULL };

	if (expect_exit(&s->demo, STATUS_OK, argv, NULL) < 0)
		return -1;
	return expect_held(&s->demo, "root.img", true);
}

static int expect_many(struct stage *s, bool held)
{
	char name[32];

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "many%d.img", i);
		if (expect_held(&s->demo, name, held) < 0)
			return -1;
	}
	return 0;
}

static int write_list(struct stage *s, const char *list)
{
	char path[PATH_MAX], name[32];
	FILE *f = fopen(list, "we");
	int r = f ? 0 : demo_fail(&s->demo, "%s: %s", list, strerror(errno));

	for (int i = 0; i < MANY && r == 0; i++) {
		snprintf(name, sizeof(name), "many%d.img", i);
		r = demo_make_image(&s->demo, name);
		fprintf(f, "%s\n", demo_path(&s->demo, name, path));
	}
	if (f && fclose(f) && r == 0)
		r = demo_fail(&s->demo, "%s: %s", list, strerror(errno));
	return r;
}

static int step_many(struct stage *s)
{
	char list[PATH_MAX];
	uint64_t start;

	if (write_list(s, demo_path(&s->demo, "list", list)) < 0)
		return -1;
	start = clock_now();
	if (demo_start(&s->demo, "many", "--disks-from", list, &s->many) < 0)
		return -1;
	snprintf(s->demo.detail, sizeof(s->demo.detail),
		 "%.1f ms from fork to the running guest",
		 (double)(clock_now() - start) / NSEC_PER_MSEC);
	return expect_many(s, true);
}

/* In a hand-over either side may be named. */
static int expect_third_refused(struct stage *s)
{
	char path[PATH_MAX];
	const char *argv[] = {
		"guestlock", "run",    "--name",
		"thief",     "--disk", demo_path(&s->demo, "many7.img", path),
		"--",	     "true",   NULL
	};

	return expect_refusal_by(&s->demo, s->many, s->heir ? s->heir : s->many,
				 argv);
}

/* `guestlock migrate VERB NAME` must succeed; a third one gets nothing then. */
static int hand_over(struct stage *s, const char *verb,
		     const struct demo_guest *guest)
{
	const char *argv[] = { "guestlock", "migrate", verb,
			       guest->name, NULL,      NULL };

	if (!strcmp(verb, "prepare"))
		argv[4] = "localhost";
	if (expect_exit(&s->demo, STATUS_OK, argv, NULL) < 0)
		return -1;
	return expect_third_refused(s);
}

/* The two need not be on one host: all they have in common are the files. */
static int step_hand_over(struct stage *s)
{
	char list[PATH_MAX], from[PATH_MAX + 16];

	snprintf(from, sizeof(from), "--disks-from=%s",
		 demo_path(&s->demo, "list", list));
	if (hand_over(s, "prepare", s->many) < 0 ||
	    demo_start(&s->demo, "heir", "--incoming", from, &s->heir) < 0 ||
	    hand_over(s, "out", s->many) < 0 ||
	    hand_over(s, "in", s->heir) < 0 ||
	    demo_kill_guest(&s->demo, s->many) < 0 ||
	    expect_third_refused(s) < 0)
		return -1;
	return expect_many(s, true);
}

static int step_free_many(struct stage *s)
{
	if (demo_kill_guest(&s->demo, s->heir) < 0)
		return -1;
	return expect_many(s, false);
}

static const struct step {
	const char *title;
	int (*play)(struct stage *s);
} steps[] = {
	{ "a guest runs, and holds the lock of root.img", step_start },
	{ "a second guest that wants root.img is refused", step_refuse },
	{ "a second guest runs with db.img", step_second },
	{ "another process plugs data.img into the first guest", step_plug },
	{ "kill -9 of everything but the guests: all locks are held",
	  step_kill_launchers },
	{ "a new process finds the guest, and takes data.img out of it",
	  step_adopt },
	{ "root.img is still refused to the second guest", step_refuse_plug },
	{ "kill -9 of the first guest: root.img is free", step_kill_guest },
	{ "the second guest gets root.img", step_take_over },
	{ "a guest with 500 disks runs, and holds every lock", step_many },
	{ "it hands all 500 over to another process; a third gets none",
	  step_hand_over },
	{ "kill -9 of that: all 500 are free", step_free_many },
};

static void print_step(const struct demo *d, size_t i, bool ok)
{
	bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	const char *good = utf8 ? "\u2713" : "ok",
		   *bad = utf8 ? "\u2717" : "FAILED";

	printf("%2zu. %s %s\n", i + 1, ok ? good : bad, steps[i].title);
	if (ok ? *d->detail : !!d->why) {
		fputs("      ", stdout);
		text_put(stdout, ok ? d->detail : d->why, TEXT_MESSAGE);
		putchar('\n');
	}
	fflush(stdout);
}

static json_t *step_object(const struct demo *d, size_t i, bool ok)
{
	json_t *o = json_pack("{s:I,s:s,s:b}", "step", (json_int_t)i + 1,
			      "title", steps[i].title, "ok", ok);

	if (!o || json_set_bytes(o, "detail", ok ? d->detail : d->why)) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static bool play(struct cli *cli, struct stage *s, size_t i, json_t *list)
{
	bool ok;

	s->demo.detail[0] = '\0';
	ok = steps[i].play(s) == 0;
	if (cli->options.json)
		json_array_append_new(list, step_object(&s->demo, i, ok));
	else if (!ok || !cli->options.quiet)
		print_step(&s->demo, i, ok);
	return ok;
}

static int run(struct cli *cli)
{
	struct stage s = { .demo = { .nofile = cli->nofile } };
	json_t *list = json_array();
	bool ok = demo_open(&s.demo) == 0;

	if (!ok)
		cli_say(s.demo.why ? s.demo.why : "out of memory");
	for (size_t i = 0; i < ARRAY_SIZE(steps) && ok; i++)
		ok = play(cli, &s, i, list);
	demo_close(&s.demo);
	if (cli->options.json &&
	    cli_print_json(json_pack("{s:b,s:O}", "ok", ok, "steps", list)))
		ok = false;
	json_decref(list);
	return ok ? STATUS_OK : STATUS_DRIFT;
}

const struct verb verb_demo = {
	.syntax = {
		.name = "demo",
		.arguments = "[OPTION]...",
		.options = OPTION_JSON | OPTION_QUIET,
	},
	.summary = "Show on this machine what guestlock promises",
	.details = "With real files and processes in a temporary directory; "
		   "takes seconds, and leaves\nnothing. The exit code is 1 if "
		   "a step fails.",
	.no_context = true,
	.run = run,
};
