/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/system/seed.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

#define MOMENT_MS 300
#define END_MS 30000
#define HERE "qemu+tcp://localhost/system"
#define ELSEWHERE "qemu+tls://elsewhere.example.org/system"

/* What a daemon has of its one guest. */
struct daemon {
	const struct seed_guest *guest;
	virLockManagerPluginPtr plugin;
	virLockManagerPtr manager;
	pid_t pid;
};

static int answer(const struct daemon *daemon, bool ok)
{
	return ok ? 1 : daemon->manager->error;
}

static int start(struct daemon *daemon)
{
	daemon->pid =
		seed_start(daemon->plugin, daemon->guest, &daemon->manager);
	return daemon->pid;
}

static int start_target(struct daemon *daemon)
{
	pid_t supervisor, child = -1;

	daemon->manager = seed_manager(daemon->plugin, daemon->guest,
				       VIR_LOCK_MANAGER_NEW_MIGRATE);
	seed_register(daemon->manager, &daemon->guest->disks);
	supervisor = seed_supervise(daemon->manager);
	if (!virLockManagerGetChild(daemon->manager, &child)) {
		kill(supervisor, SIGKILL);
		return daemon->manager->error;
	}
	MUST_EQUAL(child, supervisor);
	daemon->pid = child;
	return child;
}

/* On this one host two guests may have the uuid: the layer above knows which
   was this daemon's. */
static int find(struct daemon *daemon, pid_t known)
{
	daemon->manager = seed_manager(daemon->plugin, daemon->guest,
				       VIR_LOCK_MANAGER_NEW_ATTACH);
	MUST(virLockManagerSetParameter(daemon->manager, "pid", known));
	if (!virLockManagerGetChild(daemon->manager, &daemon->pid))
		return daemon->manager->error;
	return daemon->pid;
}

static int shut_down(struct daemon *daemon)
{
	int r = answer(daemon, virLockManagerShutdown(daemon->manager));

	virLockManagerFree(daemon->manager);
	daemon->manager = NULL;
	return r;
}

/* A daemon reaps those who are its children. */
static int end_guest(struct daemon *daemon)
{
	process_kill(daemon->pid);
	(void)!waitpid(daemon->pid, NULL, 0);
	return 1;
}

static int migrate(struct daemon *daemon, enum order order)
{
	virLockManagerPtr manager = daemon->manager;
	const unsigned cancel = VIR_LOCK_MANAGER_MIGRATE_CANCEL;

	switch (order) {
	case ORDER_PREPARE:
		return answer(daemon,
			      virLockManagerPrepareMigrate(manager, HERE));
	case ORDER_PREPARE_FAR:
		return answer(daemon,
			      virLockManagerPrepareMigrate(manager, ELSEWHERE));
	case ORDER_OUT:
		return answer(daemon,
			      virLockManagerCompleteMigrateOut(manager, 0));
	case ORDER_OUT_CANCEL:
		return answer(daemon, virLockManagerCompleteMigrateOut(manager,
								       cancel));
	case ORDER_IN:
		return answer(daemon,
			      virLockManagerCompleteMigrateIn(manager, 0));
	case ORDER_IN_CANCEL:
		return answer(daemon,
			      virLockManagerCompleteMigrateIn(manager, cancel));
	default:
		return -ENOSYS;
	}
}

static int obey(struct daemon *daemon, enum order order, struct peer *peer)
{
	switch (order) {
	case ORDER_START:
		return start(daemon);
	case ORDER_START_TARGET:
		return start_target(daemon);
	case ORDER_FIND:
		return find(daemon, (pid_t)channel_hear(&peer->orders));
	case ORDER_PAUSE:
		return answer(daemon, !kill(daemon->pid, SIGSTOP));
	case ORDER_RESUME:
		return answer(daemon, !kill(daemon->pid, SIGCONT));
	case ORDER_HURRY:
		glk_manager_set_timeout(daemon->manager->glk, MOMENT_MS);
		return 1;
	case ORDER_KILL:
		return end_guest(daemon);
	case ORDER_SHUTDOWN:
		return shut_down(daemon);
	default:
		return migrate(daemon, order);
	}
}

static int be_daemon(void *arg)
{
	struct peer *peer = arg;
	struct daemon daemon = { .guest = &peer->guest };
	int order;

	channel_reads(&peer->orders);
	daemon.plugin = seed_plugin("sync-manager");
	while ((order = channel_hear(&peer->orders)) != INT_MIN)
		channel_tell(&peer->answers, obey(&daemon, order, peer));
	virLockManagerFree(daemon.manager);
	virLockManagerPluginUnload(daemon.plugin);
	return 0;
}

struct peer *peer_new(const struct seed_guest *guest)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	MUST(peer != NULL);
	*peer = (struct peer){
		.guest = *guest,
		.orders = channel_new(),
		.answers = channel_new(),
	};
	peer->pid = process_start(be_daemon, peer);
	channel_reads(&peer->answers);
	return peer;
}

void peer_free(struct peer *peer)
{
	process_end(peer->pid);
	channel_free(&peer->orders);
	channel_free(&peer->answers);
	free(peer);
}

void peer_tell(struct peer *peer, enum order order)
{
	channel_tell(&peer->orders, (int)order);
	if (order == ORDER_FIND)
		channel_tell(&peer->orders, peer->guest_pid);
}

int peer_hear(struct peer *peer)
{
	int value = channel_hear(&peer->answers);

	MUST(value != INT_MIN);
	return value;
}

int peer_ask(struct peer *peer, enum order order)
{
	int value;

	peer_tell(peer, order);
	value = peer_hear(peer);
	if (value > 0 && (order == ORDER_START || order == ORDER_START_TARGET))
		peer->guest_pid = (pid_t)value;
	return value;
}

void peer_end_guest(struct peer *peer)
{
	uint64_t deadline = deadline_in_ms(END_MS);

	process_kill(peer->guest_pid);
	while (!process_is_gone(peer->guest_pid)) {
		MUST(clock_now() < deadline);
		usleep(1000);
	}
	peer->guest_pid = 0;
}
