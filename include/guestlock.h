/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GUESTLOCK_H
#define GUESTLOCK_H

/*
 * libguestlock: no two guests ever write to the same disk.
 *
 * The process that wants a disk locks it itself, with an OFD lock on the image,
 * or on the node and the lock file of a block device, and parks the lock
 * descriptors in a capsule: a socket that the guest process inherits. The locks
 * then live exactly as long as the guest. There is no daemon and no state file:
 * any privileged process can find a running guest from the kernel alone, and
 * list, extend or release what it holds.
 *
 * READ THIS FIRST
 *
 * - close(2). An OFD lock belongs to the open file description, not to the
 *   process: closing another descriptor of the same image does not drop it,
 *   unlike a POSIX lock. (fcntl_locking(2), "Open file description locks")
 * - fork(2). A child inherits every descriptor. A child that has inherited a
 *   guest's capsule keeps its leases alive, even when the guest is gone. All
 *   descriptors of this library are close-on-exec; glk_guest_inherit() is how
 *   one of them, on purpose, is not.
 * - exec with closed descriptors. A guest that closes inherited descriptors
 *   when it starts (closefrom(3), Python's subprocess, some sandboxes) closes
 *   its capsule and loses its leases at once. Let it keep that one descriptor.
 * - Network file systems. A lock reaches as far as the file system carries it;
 *   every lease has a scope that says how far. On NFS a partition can lose a
 *   lock without a word until the next I/O. A lock is not fencing: it cannot
 *   stop a host that has been cut off from writing.
 * - Other programs. Locks bind those who ask. byte 0 is what virtlockd uses, so
 *   both exclude each other; QEMU's own image locks use other bytes and work
 *   beside ours; a program that takes no locks is not stopped.
 *
 * BLOCK DEVICES. A device is one disk by whatever node, link or bind mount it
 * is named, and another one when its number is used again: it is known by
 * number and disk sequence number. What excludes is a lock file of that name,
 * MAJOR:MINOR-DISKSEQ, in the host lock directory: /run/guestlock unless built
 * otherwise, or $GUESTLOCK_HOST_DIR. All processes of a host must share it: a
 * container that locks devices needs it mounted. Root makes it when it is not
 * there; a lock file belongs to whom the node belongs to, and stays when it is
 * released, until another device has the number. If the directory is deleted,
 * leases on devices are found in their guests. The node is locked as well, for
 * virtlockd.
 *
 * A disk and its partitions, and devices that are built on each other, such as
 * a logical volume on its disk, have the same blocks, and exclude each other as
 * one disk would. Two that come at the same instant may both be refused. One
 * guest may have both. It is sysfs (/sys) that tells; where that is not, or a
 * device is put on another only afterwards, this is not seen. Two ways to one
 * SCSI disk are two devices, unless multipath has made one of them, which
 * excludes both, or a lock directory is named for their WWID (glk_policy).
 *
 * THREADS. A context, and every guest and list from it, belongs to one thread
 * at a time. Different contexts in different threads are independent.
 * glk_context_cancel() alone may be called from any thread. (A second change of
 * a guest that begins before the first has ended gets -EINPROGRESS.)
 *
 * FORK. Create and use a context on one side of a fork only.
 *
 * ERRORS. Every int call returns 0 or a negative errno; outputs are then
 * untouched. glk_context_message() has the sentence that names the thing. When
 * a lock is held by somebody else the call returns -EBUSY, nothing is taken,
 * and glk_context_conflicts() lists every disk that was refused and its holder.
 * Beside the errors that are named below, every call with a context or a guest
 * may return -ENOMEM, -ECANCELED (see glk_context_cancel()), and
 * -ENOTRECOVERABLE, which is a bug of this library.
 *
 * WAITS. No call waits longer than the context's time limit, 10 s unless
 * glk_context_set_timeout() says otherwise. A refusal does not wait at all,
 * except up to 300 ms for a holder that is just dying; or as long as
 * glk_policy.wait_ms says, besides.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct glk_context;
struct glk_guest;

/* How a disk is locked. Exclusive is the default. */
enum glk_disk_flags {
	GLK_DISK_SHARED = 1 << 0,   /* excludes exclusive, not other shared */
	GLK_DISK_READONLY = 1 << 1, /* the guest only reads: locked as shared */
	/*
	 * The path is a lease file, LOCKSPACE/KEY as virtlockd has it, and no
	 * disk: it is made if it is not there, with mode 0600, and removed by
	 * glk_guest_detach(), unless others hold it too or a server keeps it.
	 * The directory must exist; KEY itself must not be a link.
	 */
	GLK_DISK_LEASE = 1 << 2,
	/*
	 * A block device is opened with O_EXCL (open(2)), too, as mounting it
	 * or making a volume of it does: the kernel then refuses those, and a
	 * second claim, for as long as the guest holds it. The kernel has one
	 * claim for a disk and its partitions; and none is handed over, so
	 * the destination of a migration on the same host cannot claim what
	 * its source has claimed. -EINVAL for what is no block device.
	 * -EEXIST for one that the guest holds without a claim.
	 */
	GLK_DISK_CLAIM = 1 << 3,
};

enum glk_lease_type {
	GLK_LEASE_FILE = 1,  /* a regular image file */
	GLK_LEASE_BLOCK = 2, /* a block device */
	GLK_LEASE_KEY = 3,   /* a lease file */
};

enum glk_lease_mode {
	GLK_MODE_EXCLUSIVE = 0,
	GLK_MODE_SHARED = 1,
};

/* How far a lease reaches. Read from the file system, never assumed. */
enum glk_scope {
	GLK_SCOPE_NODE = 1,    /* whoever goes through this mount: the same data
				  can be had by other ways, as on an overlay */
	GLK_SCOPE_HOST = 2,    /* every process of this host */
	GLK_SCOPE_SERVER = 3,  /* every client of the file server */
	GLK_SCOPE_CLUSTER = 4, /* every node of the cluster */
};

/*
 * What a guest is to a disk while a migration hands it over. The kernel's locks
 * say so and nothing else does, so it outlives every manager.
 *
 *   source        OWNER <--> PREPARED <--> LEFT
 *   destination   INCOMING --> ARRIVED --> OWNER
 */
enum glk_role {
	GLK_ROLE_NONE = 0,
	GLK_ROLE_OWNER = 1,    /* may use the disk; so nearly always */
	GLK_ROLE_PREPARED = 2, /* may use it; a destination may claim it */
	GLK_ROLE_LEFT = 3,     /* uses it no more, and may come back */
	GLK_ROLE_INCOMING = 4, /* has claimed it, and does not use it yet */
	GLK_ROLE_ARRIVED = 5,  /* may use it; the source has not ended yet */
};

/* Who keeps a guest's leases alive. */
enum glk_holder {
	GLK_HOLDER_GUEST = 0,  /* a guest process that inherits the capsule */
	GLK_HOLDER_SELF = 1,   /* this process, a VMM that links the library */
	GLK_HOLDER_KEEPER = 2, /* a process of guestlock's own */
};

/**
 * struct glk_guest_config - who a new guest is
 * @uuid:	36 characters, or NULL for a random one
 * @name:	at most 255 bytes without control characters, or NULL
 * @id:		the management system's number, or -1
 * @holder:	enum glk_holder; GUEST or SELF
 * @pid:	process that will hold the capsule, 0 for the calling one. A
 *		hint: a guest that moves is found anyway, with one look at
 *		/proc.
 * @flags:	enum glk_guest_flags
 * @epoch:	how many hosts or processes the guest has been handed on to
 *		before: for telling its incarnations apart
 * @tag:	a number to find this very guest by, see glk_guest_select(), or
 *		0 for a random one
 * @reserved:	zero
 *
 * Since: 0.1
 */
struct glk_guest_config {
	const char *uuid;
	const char *name;
	int64_t id;
	int holder;
	pid_t pid;
	unsigned flags;
	uint64_t epoch;
	uint64_t tag;
	uint64_t reserved[4];
};

enum glk_guest_flags {
	/*
	 * The guest is the destination of a migration: glk_guest_acquire()
	 * claims its disks, and glk_guest_in() makes them its own. Until then
	 * it must not write. Shared leases are taken at once.
	 */
	GLK_GUEST_INCOMING = 1 << 0,
};

#define GLK_GUEST_CONFIG_INIT                                                  \
	{                                                                      \
		NULL, NULL, -1, 0, 0, 0, 0, 0,                                 \
		{                                                              \
			0, 0, 0, 0                                             \
		}                                                              \
	}

/* Since: 0.1 */
struct glk_disk {
	const char *path;
	unsigned flags; /* enum glk_disk_flags */
};

/* What the kernel says of a lease's lock. It cannot tell on FUSE, if the server
   keeps the locks, unless nobody at all has the lock. Since: 0.1 */
enum glk_held {
	GLK_HELD_UNKNOWN = -1, /* it may be held, and nobody can verify it */
	GLK_HELD_NO = 0,
	GLK_HELD_YES = 1,
};

/* Since: 0.1 */
struct glk_lease_info {
	const char *path; /* where the locked file is now, if that can be known,
			     else as recorded. May hold any byte but NUL. */
	int type;	  /* enum glk_lease_type */
	int mode;	  /* enum glk_lease_mode */
	int scope;	  /* enum glk_scope */
	int held;	  /* enum glk_held */
	int role;	  /* enum glk_role */
	int same_file;	  /* 1 if the path still names the locked file */
	uint64_t dev, ino; /* of the file; of a block device its number, as
			      stat(2) st_rdev, and disk sequence number */
	uint64_t since;	   /* CLOCK_REALTIME, ns */
	int unlinked;	   /* 1 if a lock file that stands for it (struct
			   glk_policy) was removed: who makes that file anew
			   is not excluded by it */
};

/* Since: 0.1 */
struct glk_guest_info {
	const char *uuid;
	const char *name; /* "" if none, or if the capsule's identity is gone */
	int64_t id;	  /* -1 if none */
	pid_t pid;	  /* of the process that holds the capsule */
	int holder;	  /* enum glk_holder */
	uid_t uid;	  /* user that made the capsule */
	uint64_t epoch;	  /* as in glk_guest_config */
	uint64_t tag;	  /* likewise; of what it was made with, if not 0 */
	uint64_t started; /* of that process; CLOCK_REALTIME, ns */
	const struct glk_lease_info *leases;
	size_t n_leases;
	size_t n_garbled; /* records that made no sense, by a hostile guest */
	int error;	  /* negative errno if its leases cannot be read, else
			     0; leases is empty then */
};

enum glk_conflict_kind {
	GLK_CONFLICT_UNKNOWN = 0, /* nobody that we may see holds it */
	GLK_CONFLICT_GUEST = 1,	  /* a guest of guestlock's */
	GLK_CONFLICT_PROCESS = 2, /* a process, through its own lock */
	GLK_CONFLICT_HOST = 3,	  /* another host, by what a file says */
	GLK_CONFLICT_KERNEL = 4,  /* the kernel: a mount, a volume */
};

/* One refused disk and who has it. Fields that are not known are "" or 0. */
struct glk_conflict {
	const char *path; /* as given to us */
	int mode;	  /* the mode that was wanted */
	int kind;	  /* enum glk_conflict_kind */
	const char *uuid;
	const char *name;
	pid_t pid;
	const char *exe;
	uint64_t since;	  /* of the lease, or of the process; REALTIME, ns */
	const char *host; /* that it is on, if that is another one */
	const char *how;  /* what it does with the disk, if it does not hold a
			     lock on just this, as "holds its partition sda1" or
			     "has it open" */
};

/**
 * glk_context_new() - open the library
 * @ret_context:	to be freed with glk_context_free()
 *
 * Starts no thread and takes nothing. Needs no privilege.
 *
 * Return: 0, -EINVAL for a GUESTLOCK_ENGINE that is no engine, -EOPNOTSUPP if
 * it demands io_uring and this host has none, -ENOMEM, or another negative
 * errno of io_uring_setup(2). Since: 0.1
 */
int glk_context_new(struct glk_context **ret_context);

/* Free guests and lists first. Releases no lease. NULL is fine. Since: 0.1 */
void glk_context_free(struct glk_context *context);

/**
 * glk_context_set_timeout() - bound every later call on this context
 * @ms:	milliseconds; 0 means that nothing may wait
 *
 * With 0, the host is searched all the same for leases on a device that has no
 * lock file, or one that was made anew: half a second at most.
 *
 * Since: 0.1
 */
void glk_context_set_timeout(struct glk_context *context, unsigned ms);

/* What to do if somebody has a disk open without a lock. */
enum glk_open_policy {
	GLK_OPEN_IGNORE = 0,
	GLK_OPEN_WARN = 1,   /* take it; glk_context_conflicts() names them */
	GLK_OPEN_REFUSE = 2, /* -EBUSY */
};

enum glk_policy_flags {
	/* GLK_DISK_READONLY takes no lock at all, as libvirt does. */
	GLK_POLICY_SKIP_READONLY = 1 << 0,
};

/**
 * struct glk_policy - how later calls on a context take disks
 * @require_scope:	enum glk_scope: the least that a lease may have, or
 *			-EXDEV; 0 for any
 * @exclusive_open:	enum glk_open_policy, for exclusive leases
 * @flags:		enum glk_policy_flags
 * @wait_ms:		how long to wait for disks that others hold. Beside the
 *			time limit of glk_context_set_timeout(), which holds for
 *			all else. See below.
 * @lock_dir:		beside the disk itself, lock a file of this directory,
 *			whose name is the SHA-256 of the path; or NULL
 * @lvm_lock_dir:	likewise for logical volumes, by their UUID
 * @scsi_lock_dir:	likewise for SCSI disks, by their WWID
 * @reserved:		zero
 *
 * Who has a disk open is asked of the kernel, by a lease (F_SETLEASE) or
 * O_EXCL, and looked for in /proc and /sys; GLK_OPEN_REFUSE refuses a disk,
 * too, of which nobody can say that it is not open, since there are processes
 * that we may not look into. Of a device, the openers of its partitions, and of
 * all other devices that have blocks of it, are openers, but for readers of
 * what it is built on. Of another host's openers nothing is known. The guest's
 * own processes may have it open, the calling one, and the source of a
 * migration. Whoever opens the disk later is not seen.
 *
 * A QEMU that was started without guestlock refuses its images by the locks
 * that it has on them, whatever the policy is; as a shared disk only if it
 * writes and does not share that.
 *
 * The directories and names are virtlockd's (file_lockspace_dir and its like),
 * on a file system that the hosts share: so a disk that they see by other ways
 * than a shared file system is locked for all of them. As for virtlockd, a
 * logical volume or SCSI disk is locked in its own kind of directory if that is
 * set, else in @lock_dir. They must exist.
 *
 * WAITING. Nobody waits for a disk with another one in his hands that comes
 * later in the order of all disks, so calls that want each other's disks do not
 * wait for each other; but a guest that attaches a disk keeps those that it has
 * from before, and two of them may wait for each other until their time is
 * over. It is not fair: who waited longest is not served first, and whoever
 * asks at the right moment is served before all who wait. A lock is had as soon
 * as its holder lets go. A shared disk that is being handed over, and a disk
 * that a destination of a migration may not claim yet, are tried every 50 ms
 * instead, as are locks of some kinds of disk, and where no thread can be had.
 * When the time is over, the call is refused as without waiting.
 *
 * Since: 0.1
 */
struct glk_policy {
	int require_scope;
	int exclusive_open;
	unsigned flags;
	unsigned wait_ms;
	const char *lock_dir, *lvm_lock_dir, *scsi_lock_dir;
	uint64_t reserved[4];
};

/**
 * glk_context_set_policy() - how later calls on this context take disks
 * @policy:	copied; NULL for the default, which is all zero
 *
 * Those that release disks want the same directories: that is how they know
 * which lock files to remove.
 *
 * Return: 0; -EINVAL for what is no such value, or for an empty directory name;
 * -ENAMETOOLONG; or -ENOMEM. Since: 0.1
 */
int glk_context_set_policy(struct glk_context *context,
			   const struct glk_policy *policy);

/* As it was set; valid until it is set again. Since: 0.1 */
const struct glk_policy *glk_context_policy(const struct glk_context *context);

/* What is to be known of a wait; see glk_context_on_wait(). */
typedef void glk_wait_fn(void *arg, const struct glk_conflict *conflict);

/**
 * glk_context_on_wait() - be told what later calls on this context wait for
 * @fn:		called by the thread of the call, once it has waited for a disk
 *		for a while, with each holder that can be found, or with one of
 *		GLK_CONFLICT_UNKNOWN. It must not call anything with the context
 *		but glk_context_cancel(). NULL for none.
 * @arg:	passed to @fn
 *
 * For a message: a disk that is free within 0.2 s is not told of. Since: 0.1
 */
void glk_context_on_wait(struct glk_context *context, glk_wait_fn *fn,
			 void *arg);

/* Make the running, or else the next, call return -ECANCELED. Since: 0.1 */
void glk_context_cancel(struct glk_context *context);

/* The last failure, as one line that names the thing. Never NULL; valid until
   the next call on the context. Paths in it are escaped. Since: 0.1 */
const char *glk_context_message(const struct glk_context *context);

/**
 * glk_context_conflicts() - every disk that the last call was refused
 * @ret_conflicts:	valid until the next call on the context
 *
 * Return: how many; 0 unless the last call returned -EBUSY, or took disks that
 * others have open (GLK_OPEN_WARN). Since: 0.1
 */
size_t glk_context_conflicts(const struct glk_context *context,
			     const struct glk_conflict **ret_conflicts);

/**
 * glk_guest_new() - describe a guest that is about to start
 * @config:	copied
 * @ret_guest:	to be freed with glk_guest_free()
 *
 * Takes nothing yet. Return: 0 or -EINVAL (the message says which field).
 * Since: 0.1
 */
int glk_guest_new(struct glk_context *context,
		  const struct glk_guest_config *config,
		  struct glk_guest **ret_guest);

/**
 * glk_guest_free() - forget about a guest
 *
 * Memory and our own descriptors only. Leases of a running guest stay. Leases
 * of a guest that has not been handed to a process yet, or that this process
 * itself holds (GLK_HOLDER_SELF), have nobody else to live in, and end.
 * NULL is fine. Since: 0.1
 */
void glk_guest_free(struct glk_guest *guest);

/**
 * glk_guest_add() - name disks that glk_guest_acquire() shall lock
 * @disks:	copied
 *
 * Only before glk_guest_acquire(). Nothing is opened yet.
 *
 * Return: 0; -EINVAL for unknown flags or an empty path; -ENAMETOOLONG for a
 * path of more than 4095 bytes; -EALREADY after glk_guest_acquire(). On failure
 * none of @disks is added. Since: 0.1
 */
int glk_guest_add(struct glk_guest *guest, const struct glk_disk *disks,
		  size_t n);

/**
 * glk_guest_acquire() - lock everything that was added, and park it
 *
 * All or nothing. A disk that is named twice, by whatever path, is one lease;
 * twice in different modes is -EEXIST. After success the leases live in the
 * capsule, which only this process has until it is handed on. After a failure
 * the guest is as before, and the call may be tried again.
 *
 * Return: 0; -EBUSY with conflicts; -ENOENT, -EACCES, -ELOOP, -ENAMETOOLONG,
 * -EROFS … of open(2), of a lock file too; -EISDIR for a directory; -EOPNOTSUPP
 * for what is neither a regular file nor a block device, or for a file system
 * without locks; -EINVAL for a claim of a file; another errno of fcntl(2),
 * such as -ENOLCK; -EEXIST; -ESTALE if a file is replaced again and again while
 * it is locked, or a device's lock file is deleted meanwhile; -EXDEV if a lease
 * would not have the scope that the policy requires; -EMFILE; -ETOOMANYREFS if
 * RLIMIT_NOFILE bounds an unprivileged user's parked descriptors; -ENOSPC if
 * they do not fit a capsule; -EADDRINUSE if the tag was not new for the uuid;
 * -ETIME; -EALREADY. Since: 0.1
 */
int glk_guest_acquire(struct glk_guest *guest);

/**
 * glk_guest_fd() - the capsule's descriptor, for the guest process to inherit
 *
 * Close-on-exec; stays owned by @guest. Pass it by fork and exec (see
 * glk_guest_inherit()) under the same number if possible, or by SCM_RIGHTS.
 *
 * Leaves the context's message alone, as glk_guest_inherit() does.
 *
 * Return: a descriptor, or -ENODATA before glk_guest_acquire() and after
 * glk_guest_handed_over(). Since: 0.1
 */
int glk_guest_fd(const struct glk_guest *guest);

/**
 * glk_guest_inherit() - let the next exec of this process keep the capsule
 *
 * For the process that is to become the guest: between fork and exec, or before
 * an exec without fork. Async-signal-safe.
 *
 * Return: 0, -ENODATA as above, or negative errno. Since: 0.1
 */
int glk_guest_inherit(struct glk_guest *guest);

/**
 * glk_guest_handed_over() - the guest process has the capsule now
 *
 * Closes our own copy, so that the leases live as long as the guest and not as
 * long as we do. Call it in the parent after the guest process was made.
 * The guest can still be extended through @guest.
 *
 * Return: 0; -ENODATA as above; -EOPNOTSUPP for GLK_HOLDER_SELF, which has
 * nobody to hand it to. Since: 0.1
 */
int glk_guest_handed_over(struct glk_guest *guest);

/**
 * glk_guest_adopt() - open a running guest
 * @selector:	uuid, name, or pid
 * @ret_guest:	to be freed with glk_guest_free()
 *
 * From the kernel alone: no file is read but /proc. Only guests whose capsule
 * was made by root or by our own user are adopted, since anybody can claim any
 * uuid or name.
 *
 * Return: 0; -ESRCH if there is no such guest; -ENOTUNIQ if a name or pid fits
 * several; -EPERM if we may not look into it; -EINVAL if @selector is empty;
 * -ETIME; -EMFILE. Since: 0.1
 */
int glk_guest_adopt(struct glk_context *context, const char *selector,
		    struct glk_guest **ret_guest);

/**
 * glk_guest_attach() - lock more disks for a guest that has been acquired
 * @disks:	all or nothing
 *
 * Idempotent: a disk that the guest holds in this mode already is fine.
 * Earlier leases are never touched, whatever happens.
 *
 * Return: as glk_guest_add() and glk_guest_acquire(); -ENODATA before
 * glk_guest_acquire(); -ESRCH if the guest is gone; -ENOSPC if its capsule is
 * full or blocked; -EBADMSG if the guest has tampered with it. Since: 0.1
 */
int glk_guest_attach(struct glk_guest *guest, const struct glk_disk *disks,
		     size_t n);

/**
 * glk_guest_detach() - release disks of a guest
 * @paths:	as they are named now, or as they were when they were locked
 * @ret_released:	how many leases were released, or NULL
 *
 * If a path names a disk of the guest's now, that one is meant; else those that
 * were locked under this path, wherever they are now.
 * Idempotent: releasing what is not held is fine, and counts 0.
 *
 * Return: 0, -ENODATA before glk_guest_acquire(), -ESRCH, -EINVAL for an empty
 * path, -ETIME, -EMFILE, or another negative errno; leases that were released
 * by then stay released. Since: 0.1
 */
int glk_guest_detach(struct glk_guest *guest, const char *const *paths,
		     size_t n, size_t *ret_released);

/**
 * glk_guest_info() - who a guest is and what it holds, read from the kernel now
 * @ret_info:	owned by @guest, valid until its next call
 *
 * Return: 0, -ENODATA before glk_guest_acquire(), -ESRCH, -ETIME, -EMFILE, or
 * another negative errno. Since: 0.1
 */
int glk_guest_info(struct glk_guest *guest,
		   const struct glk_guest_info **ret_info);

/**
 * struct glk_selection - which of several guests
 * @who:	uuid, name, or pid
 * @roles:	if @who fits several: only those with a lease in one of these
 *		roles, a bit 1 << enum glk_role for each; 0 for any
 * @tag:	the one that was made with this tag, 0 for any
 * @reserved:	zero
 *
 * On one host, source and destination of a migration have one uuid.
 * Since: 0.1
 */
struct glk_selection {
	const char *who;
	unsigned roles;
	uint64_t tag;
	uint64_t reserved[4];
};

/* glk_guest_adopt() with more to choose by. Return: as that. Since: 0.1 */
int glk_guest_select(struct glk_context *context,
		     const struct glk_selection *selection,
		     struct glk_guest **ret_guest);

/*
 * MIGRATION of a guest, in this order; each call may be repeated, by any
 * process that may open the guest, and also after a crash. Of one guest, one
 * call goes on at a time, and others wait for it: -ETIME. (-EBADMSG if the
 * guest has tampered with its capsule, so that nobody can.)
 *
 *   source                       destination
 *   glk_guest_prepare()
 *                                glk_guest_acquire(), GLK_GUEST_INCOMING
 *   ... the memory is copied; the source's processors stop ...
 *   glk_guest_out()
 *                                glk_guest_in()
 *   ... the source's process is ended ...
 *
 * Nobody else gets a disk at any moment, as long as one of the two processes
 * lives. Until glk_guest_in() has returned 0, either side may
 * glk_guest_cancel(): the source then owns its disks as before. The two sides
 * need nothing in common but the file system that the disks are on.
 */

/**
 * glk_guest_prepare() - let a destination claim this guest's disks
 * @destination:	host name or URI, for the check below
 *
 * The guest goes on using its disks. All or nothing.
 *
 * Return: 0; -ENODATA before glk_guest_acquire(); -EXDEV if @destination is
 * another host and the lock of a disk does not reach beyond this one (the
 * message names the disk); -EINVAL for an empty @destination; -EBUSY if the
 * disks are another guest's by now (GLK_ROLE_LEFT, and the destination has
 * arrived), or if the source that the guest came from has not ended yet;
 * -EINPROGRESS if it has not arrived itself; -ENOLCK if a lock is gone that
 * nobody has released (attach the disk anew, or detach it); -EOPNOTSUPP
 * if a file system does not tell whose a lock is; -ESRCH; -ETIME; or another
 * negative errno. Since: 0.1
 */
int glk_guest_prepare(struct glk_guest *guest, const char *destination);

/**
 * glk_guest_out() - the source uses its disks no more
 *
 * Call it when the guest's processors have stopped for good.
 *
 * Return: 0, also if it had left before; -ENODATA if it was not prepared;
 * -ENOTCONN if nobody has claimed all of its disks; -ESRCH; -ETIME; or another
 * negative errno, and then the guest still owns its disks. Since: 0.1
 */
int glk_guest_out(struct glk_guest *guest);

/**
 * glk_guest_in() - the destination uses its disks from now on
 *
 * Waits for the source to leave or to end, up to the context's time limit.
 *
 * Return: 0, also if it had arrived before, or owns its disks for another
 * reason; -ENODATA for a source that was prepared; -ETIME if the source has not
 * left, and then all is as before; -ENOLCK if a claim is gone; -ESRCH; or
 * another negative errno. Since: 0.1
 */
int glk_guest_in(struct glk_guest *guest);

/**
 * glk_guest_cancel() - undo this side's half of a migration
 *
 * A source owns its disks again. A destination lets go of them; its process
 * holds nothing then. A guest that takes part in no migration is left alone.
 *
 * Return: 0; -EBUSY for a source whose destination has arrived; -EALREADY for a
 * destination that has arrived and whose source has not ended; -ENODATA before
 * glk_guest_acquire(); -ESRCH; -ETIME; or another negative errno. Since: 0.1
 */
int glk_guest_cancel(struct glk_guest *guest);

/**
 * glk_guest_wait() - wait until a guest has ended and all it held is free
 *
 * Up to the context's time limit. Ends nothing.
 *
 * Return: 0; -ETIME if its process still lives; -EBUSY with conflicts if that
 * is gone, but something is still held, as by a child that inherited the
 * capsule; -ENODATA before glk_guest_acquire(); -EOPNOTSUPP for
 * GLK_HOLDER_SELF; or another negative errno. Since: 0.1
 */
int glk_guest_wait(struct glk_guest *guest);

struct glk_guest_list;

enum glk_list_flags {
	GLK_LIST_TRUSTED = 1 << 0, /* only root's guests and our own user's */
};

/**
 * glk_guest_list_new() - every guest of this host, from the kernel
 * @flags:	enum glk_list_flags
 * @ret_list:	to be freed with glk_guest_list_free()
 *
 * Guests of this network namespace. Those that we may not look into are left
 * out, see glk_guest_list_denied().
 *
 * Return: 0, -EINVAL for unknown flags, -ETIME, -EMFILE, or a negative errno of
 * a kernel that cannot be asked for its sockets. Since: 0.1
 */
int glk_guest_list_new(struct glk_context *context, unsigned flags,
		       struct glk_guest_list **ret_list);

/* NULL is fine. Since: 0.1 */
void glk_guest_list_free(struct glk_guest_list *list);

/* Since: 0.1 */
size_t glk_guest_list_count(const struct glk_guest_list *list);

/* By name, then by uuid. Valid as long as the list; NULL beyond its end.
   Since: 0.1 */
const struct glk_guest_info *glk_guest_list_get(
	const struct glk_guest_list *list, size_t i);

/* How many capsules belong to processes that we may not look into.
   Since: 0.1 */
size_t glk_guest_list_denied(const struct glk_guest_list *list);

/**
 * glk_disk_holders() - who holds a disk
 * @path:		an image file or block device
 * @ret_holders:	as conflicts; valid until the next call on the context
 * @ret_n:		0 if nobody
 *
 * Opens the file for reading and takes no lock. Every holder that can be found
 * is named, several if it is shared; mode is the mode that it is held in. If it
 * is held, and none can be found, one of GLK_CONFLICT_UNKNOWN stands for all.
 * With lock directories set (struct glk_policy), those are named, too, who hold
 * just its lock file: a virtlockd, or another host by what it wrote there. Who
 * holds another device that has blocks of this one is named, too, and how says
 * which.
 *
 * Return: 0; -EISDIR; -EOPNOTSUPP for what is neither, which is not opened
 * then; -ETIME; or as open(2). Since: 0.1
 */
int glk_disk_holders(struct glk_context *context, const char *path,
		     const struct glk_conflict **ret_holders, size_t *ret_n);

/* What this host can do, for `guestlock doctor`. Strings are static. */
struct glk_host_info {
	const char *engine;	   /* "uring" or "syscall" */
	const char *engine_reason; /* why not uring, or "" */
	const char *ring_flags;
	const char *completion;
	int lock_opcode;
	int getlk_unlck; /* F_OFD_GETLK answers F_UNLCK; else fdinfo is read */
	int memfd_noexec;
	int udiag; /* sock_diag for AF_UNIX works */
	int pidfd_getfd;
	uint64_t reserved[8];
};

/* Probe this host. Return: 0. Since: 0.1 */
int glk_host_describe(struct glk_context *context,
		      struct glk_host_info *ret_info);

/* The scope that a lease on @path would have; nothing is opened. @ret_fs_name
   is valid until the next call of this on the context. Return: 0, -ETIME, or as
   open(2). Since: 0.1 */
int glk_disk_scope(struct glk_context *context, const char *path,
		   int *ret_scope, const char **ret_fs_name);

/**
 * struct glk_disk_reach - how far a lease on a disk would reach, and why
 * @scope:	enum glk_scope
 * @fs:		type of its file system
 * @mount:	where that is mounted, or "" if this cannot be known
 * @option:	the mount option that keeps its locks on this host, or NULL
 * @upper:	of a file of an overlay: the file of the upper layer that it is;
 *		NULL if it has not been copied up, or cannot be seen from here
 * @lower:	likewise the first of its files in the lower layers
 * @twin:	of NFS: where this host has mounted the same once more, without
 *		binding it; or NULL
 * @type:	enum glk_lease_type of a lease on it
 * @dev, @ino:	what the lease would be of, as in struct glk_lease_info
 * @reserved:	zero
 *
 * A lock on the file of a layer is not a lock on the overlay's file, and the
 * other way round: neither excludes the other. Nor, as long as the server has
 * delegated the file, do locks through two mounts of one NFS client. Since: 0.1
 */
struct glk_disk_reach {
	int scope;
	const char *fs, *mount, *option;
	const char *upper, *lower, *twin;
	int type;
	uint64_t dev, ino;
	uint64_t reserved[4];
};

/**
 * glk_disk_reach() - how far a lease on @path would reach, and why
 * @ret_reach:	valid until the next glk_disk_reach() on the context
 *
 * Nothing is opened. Return: 0; -EISDIR; -EOPNOTSUPP for what is neither a file
 * nor a block device; -ENOENT and others of open(2); or -ETIME. Since: 0.1
 */
int glk_disk_reach(struct glk_context *context, const char *path,
		   const struct glk_disk_reach **ret_reach);

/* "0.1.0". Static. Since: 0.1 */
const char *glk_version(void);

#ifdef __cplusplus
}
#endif

#include <guestlock/manager.h>

#endif
