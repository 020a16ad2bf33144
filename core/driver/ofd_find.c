/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/driver/ofd.h"

#include "core/base/util.h"
#include "core/driver/process.h"

#include <stdio.h>
#include <string.h>

/*
 * To find a guest that somebody else has started: the supervisor, by our tag,
 * or an earlier management process, by its uuid. All that is known of it comes
 * from the kernel. That its pid is not another process by now is made sure
 * below us: adoption pins the process with a pidfd, reads its start time, and
 * then takes the capsule out of that very process, or finds none.
 */

static const struct glk_lease_info *find_by_path(
	const struct glk_guest_info *info, const char *path)
{
	for (size_t i = 0; i < info->n_leases; i++)
		if (!strcmp(info->leases[i].path, path))
			return &info->leases[i];
	return NULL;
}

/* A device may be found by another of its nodes. */
static bool is_lease_of(const struct glk_lease_info *lease,
			const struct glk_disk_reach *disk)
{
	bool is_device = lease->type == GLK_LEASE_BLOCK;

	return is_device == (disk->type == GLK_LEASE_BLOCK) &&
	       lease->dev == disk->dev &&
	       (is_device || lease->ino == disk->ino);
}

/*
 * By name first, for which nobody is asked. Then by file, which may have other
 * names; one on a server that is dead costs the time limit.
 *
 * Return: whether there is one, or negative errno if that cannot be told.
 */
static int find_lease(const struct ofd *ofd, const struct glk_guest_info *info,
		      const struct glk_resource *resource,
		      const struct glk_lease_info **ret_lease)
{
	const struct glk_lease_info *lease = find_by_path(info, resource->path);
	const struct glk_disk_reach *disk = NULL;
	int r = 0;

	if (!lease)
		r = glk_disk_reach(ofd->context, resource->path, &disk);
	for (size_t i = 0; disk && !lease && i < info->n_leases; i++)
		if (is_lease_of(&info->leases[i], disk))
			lease = &info->leases[i];
	if (lease)
		*ret_lease = lease;
	return r == -ETIME || r == -ECANCELED || r == -ENOMEM ? r : !!lease;
}

static bool is_lost(const struct glk_lease_info *lease)
{
	return !lease->held && lease->role == GLK_ROLE_NONE;
}

/* The policy may be to take no lock for those that are only read. */
static bool is_skipped(const struct ofd *ofd,
		       const struct glk_resource *resource)
{
	const struct glk_policy *policy = glk_context_policy(ofd->context);

	return policy->flags & GLK_POLICY_SKIP_READONLY &&
	       resource->type == GLK_RESOURCE_DISK &&
	       resource->flags & GLK_DISK_READONLY;
}

/* Return: whether it has, or negative errno. */
static int has_all(const struct ofd *ofd, const struct glk_guest_info *info,
		   const struct glk_resource *resources, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct glk_lease_info *lease;
		int r;

		if (is_skipped(ofd, &resources[i]))
			continue;
		r = find_lease(ofd, info, &resources[i], &lease);
		if (r <= 0)
			return r;
		if (is_lost(lease))
			return false;
	}
	return true;
}

/* The supervisor, if it is known by pid, has ended before it was found. */
static int not_yet(const struct ofd *ofd)
{
	if (!ofd->config.pid || process_lives(ofd->config.pid))
		return -EAGAIN;
	return glk_context_explain(ofd->context, -ESRCH,
				   "the supervisor, process %d, has ended",
				   (int)ofd->config.pid);
}

int ofd_supervised(void *state, const struct glk_resource *resources, size_t n,
		   pid_t *ret_pid)
{
	struct ofd *ofd = state;
	const struct glk_guest_info *info = NULL;
	int r = 0;

	if (!ofd->guest)
		r = ofd_select_tagged(ofd);
	if (r)
		return r == -ESRCH ? not_yet(ofd) : r;
	r = glk_guest_info(ofd->guest, &info);
	if (r)
		return r;
	r = has_all(ofd, info, resources, n);
	if (r <= 0)
		return r ? r : -EAGAIN;
	*ret_pid = info->pid;
	ofd->list = fd_close(ofd->list);
	return 0;
}

/* On one host, both ends of a migration have this uuid. */
static int select_guest(struct ofd *ofd)
{
	struct glk_selection selection = { .who = ofd->config.uuid };
	struct glk_guest *guest = NULL;
	char pid[16];
	int r;

	r = glk_guest_select(ofd->context, &selection, &guest);
	if (r == -ENOTUNIQ && ofd->config.pid) {
		snprintf(pid, sizeof(pid), "%d", (int)ofd->config.pid);
		selection.who = pid;
		r = glk_guest_select(ofd->context, &selection, &guest);
	}
	if (r)
		return r;
	glk_guest_free(ofd->guest);
	ofd->guest = guest;
	return 0;
}

static int check_identity(struct ofd *ofd, const struct glk_guest_info *info)
{
	const struct glk_guest_config *want = &ofd->config;

	if (strcmp(info->uuid, want->uuid))
		return glk_context_explain(ofd->context, -ESRCH,
					   "process %d is guest %s",
					   (int)info->pid, info->uuid);
	if (want->pid && info->pid != want->pid)
		return glk_context_explain(ofd->context, -ESRCH,
					   "guest %s is process %d, not %d",
					   info->uuid, (int)info->pid,
					   (int)want->pid);
	if (want->epoch && info->epoch != want->epoch)
		return glk_context_explain(
			ofd->context, -ESTALE,
			"guest %s is of epoch %llu, not %llu", info->uuid,
			(unsigned long long)info->epoch,
			(unsigned long long)want->epoch);
	return 0;
}

/* Return: how many are lost, or -ENOMEM. */
static int look_at_leases(const struct glk_guest_info *info,
			  struct glk_driver_finding *finding)
{
	int lost = 0, r = 0;

	for (size_t i = 0; i < info->n_leases && !r; i++) {
		const struct glk_lease_info *lease = &info->leases[i];

		finding->roles |= 1U << lease->role;
		lost += is_lost(lease);
		if (is_lost(lease))
			r = finding->drift(finding, GLK_DRIFT_LOST,
					   lease->path);
		else if (!lease->same_file)
			r = finding->drift(finding, GLK_DRIFT_REPLACED,
					   lease->path);
	}
	return r ? r : lost;
}

/* Return: 0, or negative errno, with a message but for -ENOMEM. */
static int look_for_expected(const struct ofd *ofd,
			     const struct glk_guest_info *info,
			     struct glk_driver_finding *finding)
{
	const struct glk_lease_info *lease;
	int r = 0;

	for (size_t i = 0; i < finding->n_expected && r >= 0; i++) {
		if (is_skipped(ofd, &finding->expected[i]))
			continue;
		r = find_lease(ofd, info, &finding->expected[i], &lease);
		if (!r)
			r = finding->drift(finding, GLK_DRIFT_MISSING,
					   finding->expected[i].path);
	}
	return MIN(r, 0);
}

int ofd_attach(void *state, struct glk_driver_finding *finding)
{
	struct ofd *ofd = state;
	const struct glk_guest_info *info = NULL;
	int lost, r;

	r = select_guest(ofd);
	if (!r)
		r = glk_guest_info(ofd->guest, &info);
	if (!r)
		r = check_identity(ofd, info);
	if (r)
		return r;
	finding->pid = info->pid;
	lost = look_at_leases(info, finding);
	r = lost < 0 ? lost : look_for_expected(ofd, info, finding);
	if (r)
		return r == -ENOMEM ? ofd_no_memory(ofd) : r;
	if (lost)
		return glk_context_explain(
			ofd->context, -ENOLCK,
			"guest %s runs without %d of its locks", info->uuid,
			lost);
	return 0;
}
