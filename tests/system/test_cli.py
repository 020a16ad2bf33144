#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guestlock command, end to end: every verb, every exit code.

GUESTLOCK_COMMAND names the program, GUESTLOCK_COMPLETION the bash completion. Whether a
disk is locked is asked of the kernel here, never of the command.
"""

import ctypes
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

GUESTLOCK = os.environ["GUESTLOCK_COMMAND"]
COMPLETION = os.environ["GUESTLOCK_COMPLETION"]
ROOT = os.geteuid() == 0
NOBODY = 65534
WAIT = 60
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
OK, DRIFT, USAGE, MISSING, INTERNAL, HELD, DENIED = 0, 1, 64, 66, 70, 75, 77

libc = ctypes.CDLL(None, use_errno=True)


def flock(kind):
    """struct flock for byte 0."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1, 0)


def lockable(path, kind=fcntl.F_WRLCK):
    """May a stranger lock byte 0? Leaves no lock."""
    flags = os.O_RDONLY if kind == fcntl.F_RDLCK else os.O_RDWR
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, flock(kind))
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


def becomes_free(path):
    end = time.monotonic() + WAIT
    while not lockable(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def peek_capsule(pid):
    """Descriptors that are parked in a guest, as any tracer can see them."""
    pidfd = os.pidfd_open(pid)
    found = []
    try:
        for name in os.listdir("/proc/%d/fd" % pid):
            if not os.readlink("/proc/%d/fd/%s" % (pid, name)
                               ).startswith("socket:"):
                continue
            fd = libc.syscall(438, pidfd, int(name), 0)  # pidfd_getfd
            with socket.socket(fileno=fd) as sock:
                sock.setsockopt(socket.SOL_SOCKET, 42, 0)  # SO_PEEK_OFF
                found += peek_all(sock)
                sock.setsockopt(socket.SOL_SOCKET, 42, -1)
    finally:
        os.close(pidfd)
    return found


def peek_all(sock):
    found = []
    while True:
        try:
            data, anc, _, _ = sock.recvmsg(
                1 << 20, 16384, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        if not data:
            return found
        for level, kind, payload in anc:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found += struct.unpack("%di" % (len(payload) // 4), payload)


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        base = os.environ.get("GUESTLOCK_TEST_DIR", "/var/tmp")
        self.dir = tempfile.mkdtemp(prefix="guestlock-cli-", dir=base)
        os.chmod(self.dir, 0o755)
        self.addCleanup(shutil.rmtree, self.dir)
        self.n = 0

    def path(self, name):
        if isinstance(name, bytes):
            return os.path.join(os.fsencode(self.dir), name)
        return os.path.join(self.dir, name)

    def image(self, name="disk.img", content=b"guest data"):
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def name(self, tag="web"):
        """A guest's name that no other test run has."""
        self.n += 1
        return "cli-%s-%d-%d" % (tag, os.getpid(), self.n)

    def guestlock(self, *args, **kw):
        kw.setdefault("timeout", WAIT)
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("cwd", self.dir)
        result = subprocess.run([GUESTLOCK, *args], capture_output=True, **kw)
        result.out = result.stdout.decode("utf-8", "surrogateescape")
        result.err = result.stderr.decode("utf-8", "surrogateescape")
        return result

    def expect(self, code, *args, **kw):
        result = self.guestlock(*args, **kw)
        if result.returncode != code:
            self.fail("%r: exit code %d, not %d\n%s%s" % (
                args, result.returncode, code, result.out, result.err))
        return result

    def ask(self, code, *args, **kw):
        """As expect(), for --json: what it printed."""
        result = self.expect(code, *args, "--json", **kw)
        self.assertEqual(result.out.count("\n"), 1, result.out)
        return json.loads(result.out)

    def start(self, *options, **kw):
        """A guest that runs; its pid is that of the process started here."""
        guest = subprocess.Popen(
            [GUESTLOCK, "run", *options, "--",
             "sh", "-c", "echo $$; exec sleep 600"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=self.dir,
            **kw)
        self.addCleanup(self.end, guest)
        line = guest.stdout.readline()
        self.assertEqual(line, b"%d\n" % guest.pid)
        return guest

    @staticmethod
    def end(guest):
        guest.kill()
        guest.wait(WAIT)
        guest.stdout.close()

    def refused(self, code, *args, **kw):
        """`run` that must fail: COMMAND must not have run. Its stderr."""
        mark = self.path("command-ran")
        result = self.expect(code, "run", *args, "--", "touch", mark, **kw)
        self.assertFalse(os.path.exists(mark), "COMMAND ran")
        self.assertEqual(result.out, "")
        return result.err

    def leases(self, guest):
        (found,) = self.ask(OK, "ls", str(guest.pid))["guests"]
        return found["leases"]

    def paths(self, guest):
        return sorted(lease["path"] for lease in self.leases(guest))


class Run(Case):
    def test_the_disk_is_held_as_long_as_the_command_runs(self):
        disk = self.image()
        guest = self.start("--disk", disk)
        self.assertFalse(lockable(disk))
        self.assertFalse(lockable(disk, fcntl.F_RDLCK))
        guest.kill()
        guest.wait(WAIT)
        self.assertTrue(becomes_free(disk))

    def test_the_exit_code_is_the_commands(self):
        disk = self.image()
        for code in (0, 1, 7, 64, 75, 255):
            self.expect(code, "run", "--disk", disk, "--",
                        "sh", "-c", "exit %d" % code)
        self.assertTrue(becomes_free(disk))

    def test_a_signal_that_ends_the_command_is_passed_on(self):
        disk = self.image()
        result = self.guestlock("run", "--disk", disk, "--",
                                "sh", "-c", "kill -TERM $$")
        self.assertEqual(result.returncode, -signal.SIGTERM)
        self.assertTrue(becomes_free(disk))

    def test_no_process_stays_beside_the_guest(self):
        guest = self.start("--disk", self.image())
        exe = os.readlink("/proc/%d/exe" % guest.pid)
        self.assertNotIn("guestlock", os.path.basename(exe))
        with open("/proc/%d/task/%d/children" % (guest.pid, guest.pid)) as f:
            self.assertEqual(f.read().strip(), "")

    def test_the_command_begins_without_dashes_too(self):
        result = self.expect(OK, "run", "--disk", self.image(),
                             "echo", "--disk", "-q", "--")
        self.assertEqual(result.out, "--disk -q --\n")

    def test_a_guest_without_disks_runs(self):
        guest = self.start("--name", self.name())
        self.assertEqual(self.leases(guest), [])

    def test_the_command_sees_the_limits_that_the_user_set(self):
        def limit():
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (123, hard))

        result = self.expect(OK, "run", "--disk", self.image(), "--",
                             "sh", "-c", "ulimit -Sn", preexec_fn=limit)
        self.assertEqual(result.out, "123\n")

    def test_more_disks_than_the_soft_limit_are_fine(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (32, 4096))

        disks = [self.image("d%d" % i) for i in range(200)]
        with open(self.path("list"), "w") as f:
            f.write("\n".join(disks))
        guest = self.start("--disks-from", self.path("list"),
                           preexec_fn=limit)
        for disk in disks:
            self.assertFalse(lockable(disk))
        self.assertEqual(self.paths(guest), sorted(disks))

    def test_the_command_has_one_descriptor_more_than_the_caller(self):
        result = self.expect(
            OK, "run", "--disk", self.image(), "--disk", self.image("b"),
            "--", sys.executable, "-c",
            "import os\n"
            "for f in sorted(map(int, os.listdir('/proc/self/fd'))):\n"
            "  try: print(f, os.readlink('/proc/self/fd/%d' % f))\n"
            "  except OSError: pass\n")
        lines = [l.split() for l in result.out.splitlines()]
        self.assertEqual([l[0] for l in lines[:3]], ["0", "1", "2"])
        self.assertEqual(len(lines), 4, result.out)
        self.assertRegex(lines[3][1], r"^socket:")

    def test_the_command_has_the_callers_signal_mask(self):
        def block():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

        def mask(**kw):
            out = self.expect(OK, "run", "--disk", self.image(), "--",
                              "grep", "^Sig[BI]", "/proc/self/status",
                              **kw).out
            return re.findall(r"([0-9a-f]{16})", out)

        with open("/proc/self/status") as f:
            own = re.findall(r"^SigBlk:\s+(\w+)", f.read(), re.M)[0]
        self.assertEqual(mask()[0], own)
        bit = 1 << signal.SIGUSR1 - 1
        self.assertEqual(int(mask(preexec_fn=block)[0], 16),
                         int(own, 16) | bit)
        self.assertEqual(int(mask()[1], 16) & 1 << signal.SIGPIPE - 1, 0)

    def test_closed_standard_descriptors_never_become_a_disk(self):
        disk = self.image(content=b"precious")
        holder = self.start("--disk", disk)

        def close():
            os.closerange(0, 3)

        for _ in range(2):
            done = subprocess.run(
                [GUESTLOCK, "run", "--disk", disk, "--", "true"],
                preexec_fn=close, timeout=WAIT, close_fds=False)
            self.assertEqual(done.returncode, HELD)
            with open(disk, "rb") as f:
                self.assertEqual(f.read(), b"precious")
        self.end(holder)
        self.assertTrue(becomes_free(disk))
        out = self.path("fds")
        subprocess.run(
            [GUESTLOCK, "run", "--disk", disk, "--", "sh", "-c",
             "exec 9>%s; for i in 0 1 2; do "
             "[ ! -e /proc/$$/fd/$i ] || echo $i >&9; done; echo end >&9"
             % out], preexec_fn=close, timeout=WAIT)
        with open(out) as f:
            self.assertEqual(f.read(), "end\n")

    def test_a_missing_command_is_127_and_leaves_nothing_locked(self):
        disk = self.image()
        result = self.expect(127, "run", "--disk", disk, "--", "no-such-cmd")
        self.assertEqual(result.err, "guestlock: no-such-cmd: "
                         "No such file or directory\n")
        self.assertTrue(becomes_free(disk))

    def test_a_command_that_cannot_run_is_126(self):
        disk = self.image()
        text = self.image("text", b"no program")
        os.chmod(text, 0o600)
        result = self.expect(126, "run", "--disk", disk, "--", text)
        self.assertEqual(result.err,
                         "guestlock: %s: Permission denied\n" % text)
        self.expect(126, "run", "--disk", disk, "--", self.dir)
        self.assertTrue(becomes_free(disk))

    def test_a_failed_exec_is_said_in_json_too(self):
        answer = json.loads(self.expect(
            127, "run", "--json", "--", "no\ncmd").out)
        self.assertEqual(answer["error"], "not-found")
        self.assertIn("no\\x0acmd", answer["message"])

    def test_identity_is_what_was_given(self):
        name, id_ = self.name(), str(uuid.uuid4())
        guest = self.start("--name", name, "--uuid", id_, "--id", "42")
        (found,) = self.ask(OK, "ls", id_)["guests"]
        self.assertEqual((found["name"], found["uuid"], found["id"],
                          found["pid"], found["holder"]),
                         (name, id_, 42, guest.pid, "guest"))


class Lists(Case):
    def names(self):
        return [b"plain", b" trimmed? ", b"c,omma", b"#hash", b"tab\t",
                b"\xff\xfe", b"back\\slash", b"-dash", b"gr\xc3\xb6\xc3\x9f"]

    def hold(self, data, *options, disks):
        with open(self.path("list"), "wb") as f:
            f.write(data)
        guest = self.start("--disks-from", self.path("list"), *options)
        for disk in disks:
            self.assertFalse(lockable(disk), disk)
        self.assertEqual(len(self.leases(guest)), len(disks))
        self.end(guest)
        for disk in disks:
            self.assertTrue(becomes_free(disk), disk)

    def test_lines_are_paths_byte_for_byte(self):
        disks = [self.image(n) for n in self.names()]
        self.hold(b"\n".join(disks) + b"\n", disks=disks)
        self.hold(b"\n".join(disks), disks=disks)

    def test_nul_separated_paths_may_hold_newlines(self):
        disks = [self.image(n) for n in [*self.names(), b"new\nline"]]
        self.hold(b"\0".join(disks) + b"\0", "-0", disks=disks)
        self.hold(b"\0".join(disks), "--null", disks=disks)

    def test_relative_paths_are_relative_to_the_caller(self):
        disk = self.image("rel")
        self.hold(b"rel\n", disks=[disk])

    def test_a_list_may_come_from_stdin(self):
        disk = self.image()
        result = subprocess.run(
            [GUESTLOCK, "run", "--disks-from", "-", "--", GUESTLOCK,
             "who", disk], input=os.fsencode(disk) + b"\n",
            capture_output=True, timeout=WAIT)
        self.assertEqual(result.returncode, OK, result.stderr)
        self.assertIn(b"held exclusively by guest", result.stdout)

    def test_bad_lists_are_refused_by_line_and_lock_nothing(self):
        disk = self.image()
        bad = os.fsencode(disk)
        for data, options, why in (
                (b"%s\n\n" % bad, (), "line 2 is empty"),
                (b"\n%s\n" % bad, (), "line 1 is empty"),
                (b"%s\0\0" % bad, ("-0",), "path 2 is empty"),
                (b"%s\0" % bad, (), "line 1 holds a NUL byte"),
                (b"", (), "names no disk")):
            with open(self.path("list"), "wb") as f:
                f.write(data)
            err = self.refused(USAGE, "--disks-from", self.path("list"),
                               *options)
            self.assertIn(why, err)
            self.assertTrue(lockable(disk))

    def test_a_list_that_cannot_be_read_is_refused(self):
        self.assertIn("No such file", self.refused(
            MISSING, "--disks-from", self.path("none")))
        self.assertIn("Is a directory", self.refused(
            USAGE, "--disks-from", self.dir))

    def test_a_comma_in_disk_is_doubled(self):
        disk, other = self.image("a,b.img"), self.image("c,shared")
        guest = self.start("--disk", self.path("a,,b.img") + ",shared",
                           "--disk", self.path("c,,shared"))
        modes = {l["path"]: l["mode"] for l in self.leases(guest)}
        self.assertEqual(modes, {disk: "shared", other: "exclusive"})


class BadInput(Case):
    """Whatever is wrong with one disk, none of the others stays locked."""

    def setUp(self):
        super().setUp()
        self.good = self.image("good")
        self.last = self.image("last")

    def refuse(self, code, path, *whys):
        spec = path.replace(",", ",,")
        err = self.refused(code, "--disk", self.good, "--disk", spec,
                           "--disk", self.last)
        for why in whys:
            self.assertIn(why, err)
        self.assertTrue(lockable(self.good), "good is locked")
        self.assertTrue(lockable(self.last), "last is locked")
        answer = json.loads(self.expect(
            code, "run", "--json", "--disk", self.good, "--disk", spec,
            "true").out)
        self.assertEqual(set(answer), {"error", "message"})
        guest = self.start("--disk", self.good)
        self.expect(code, "attach-disk", str(guest.pid), self.last, spec)
        self.assertTrue(lockable(self.last), "attach locked last")
        self.assertEqual(self.paths(guest), [self.good])
        self.end(guest)
        return answer["error"]

    def test_a_missing_path(self):
        self.assertEqual(self.refuse(MISSING, self.path("none"), "none",
                                     "No such file"), "not-found")

    def test_a_path_through_a_file(self):
        self.refuse(MISSING, self.good + "/x", "Not a directory")

    def test_a_directory(self):
        self.assertEqual(self.refuse(USAGE, self.dir, self.dir),
                         "unsupported")

    def test_a_fifo_does_not_hang(self):
        os.mkfifo(self.path("fifo"))
        self.assertEqual(self.refuse(USAGE, self.path("fifo"), "fifo"),
                         "unsupported")

    def test_a_socket(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(self.path("sock"))
            self.refuse(USAGE, self.path("sock"), "sock")

    def test_a_character_device(self):
        self.assertEqual(self.refuse(USAGE, "/dev/null", "/dev/null"),
                         "unsupported")

    def test_a_dangling_link_and_a_loop_of_links(self):
        os.symlink("nowhere", self.path("dangling"))
        os.symlink("loop", self.path("loop"))
        self.refuse(MISSING, self.path("dangling"), "dangling")
        self.refuse(MISSING, self.path("loop"), "loop")

    def test_a_name_of_256_bytes_and_a_path_of_4096(self):
        self.refuse(MISSING, self.path("n" * 256))
        self.refuse(MISSING, "/" + "n/" * 2047 + "n")
        self.refuse(MISSING, "/" * 5000)

    def test_a_long_path_that_is_right_is_fine(self):
        path = self.dir
        while len(path) < 4095 - 250:
            path = os.path.join(path, "d" * 200)
        os.makedirs(path)
        disk = self.image(os.path.join(path, "x" * (4094 - len(path))))
        self.assertEqual(len(disk), 4095)
        guest = self.start("--disk", disk)
        self.assertFalse(lockable(disk))
        self.assertEqual(self.paths(guest), [disk])

    def test_a_hostile_name_cannot_write_to_the_terminal(self):
        path = self.path("new\nline\x1b[2J\u202e")
        err = self.refused(MISSING, "--disk", path)
        self.assertEqual(err.count("\n"), 1)
        self.assertNotIn("\x1b", err)
        self.assertNotIn("\u202e", err)
        self.assertIn("new\\x0aline\\x1b[2J", err)

    def test_bad_disk_options(self):
        for spec, why in (("", "empty"), ("a,", "comma"), (",shared", "empty"),
                          ("a,bogus", "only shared and readonly")):
            self.assertIn(why, self.refused(USAGE, "--disk", spec))

    def test_one_disk_in_two_modes(self):
        hard = self.path("hard")
        os.link(self.good, hard)
        for other in (self.good, hard):
            err = self.refused(USAGE, "--disk", self.good, "--disk",
                               other + ",shared")
            self.assertIn(os.path.basename(other), err)
            self.assertTrue(lockable(self.good))

    def test_one_disk_named_many_times_is_one_lease(self):
        os.link(self.good, self.path("hard"))
        os.symlink(self.good, self.path("soft"))
        guest = self.start("--disk", self.good, "--disk", self.path("hard"),
                           "--disk", self.path("soft"), "--disk", self.good)
        self.assertEqual(len(self.leases(guest)), 1)
        self.assertFalse(lockable(self.good))

    def test_exhausted_descriptors_lock_nothing(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

        disks = [self.image("d%d" % i) for i in range(64)]
        args = [a for d in disks for a in ("--disk", d)]
        err = self.refused(INTERNAL, *args, preexec_fn=limit)
        self.assertIn("Too many open files", err)
        for disk in disks:
            self.assertTrue(becomes_free(disk))

    def test_what_is_not_in_this_version_is_refused(self):
        for option in (("--wait", "1"), ("--lease", "k"),
                       ("--lockspace", self.dir)):
            err = self.refused(USAGE, "--disk", self.good, *option)
            self.assertEqual(err, "guestlock: %s is not in this version\n"
                             % option[0])
            self.assertTrue(lockable(self.good))

    def test_bad_identities(self):
        for option, why in ((("--uuid", "x"), "uuid"), (("--id", "x"), "--id"),
                            (("--name", "a\nb"), "control characters"),
                            (("--name", "n" * 256), "255")):
            self.assertIn(why, self.refused(USAGE, "--disk", self.good,
                                            *option))
            self.assertTrue(lockable(self.good))

    def test_bad_options(self):
        self.assertIn("'--bogus'", self.refused(USAGE, "--bogus"))
        self.expect(USAGE, "run", "--disk", self.good)
        self.expect(USAGE, "run", "--disk")
        self.expect(USAGE, "ls", "a", "b")
        self.expect(USAGE, "who")
        self.expect(USAGE, "attach-disk")
        self.expect(USAGE, "attach-disk", "web")
        self.expect(USAGE, "detach-disk", "web")
        self.expect(USAGE, "ls", "--disk", "x")
        self.expect(USAGE, "run", "-0", "true")
        self.assertEqual(self.ask(USAGE, "ls", "a", "b")["error"], "usage")

    @unittest.skipUnless(ROOT, "needs root to make a block node")
    def test_a_block_device_is_refused_and_not_touched(self):
        node = self.path("node")
        os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(7, 0))
        self.refused(USAGE, "--disk", self.good, "--disk", node)
        self.assertTrue(lockable(self.good))


class Refusals(Case):
    def test_the_holder_is_named(self):
        name, disk = self.name(), self.image()
        guest = self.start("--name", name, "--disk", disk)
        err = self.refused(HELD, "--disk", disk)
        self.assertRegex(err, r"^guestlock: %s: held by guest '%s' \(uuid %s, "
                         r"pid %d\) since %sZ\n$" % (
                             re.escape(disk), name, UUID, guest.pid, ISO))

    def test_every_conflict_is_named(self):
        disks = [self.image("d%d" % i) for i in range(6)]
        one, two = self.name(), self.name()
        self.start("--name", one, "--disk", disks[1])
        self.start("--name", two, "--disk", disks[3], "--disk", disks[4])
        err = self.refused(HELD, *[a for d in disks for a in ("--disk", d)])
        self.assertEqual(len(err.splitlines()), 3)
        for disk, name in ((1, one), (3, two), (4, two)):
            self.assertRegex(err, r"d%d: held by guest '%s'" % (disk, name))
        for i in (0, 2, 5):
            self.assertTrue(lockable(disks[i]))

    def test_json_has_the_fields_of_the_contract(self):
        name, disk = self.name(), self.image()
        guest = self.start("--name", name, "--disk", disk)
        answer = json.loads(self.expect(
            HELD, "run", "--json", "--disk", disk, "true").out)
        self.assertEqual(set(answer), {"error", "conflicts"})
        self.assertEqual(answer["error"], "held")
        (conflict,) = answer["conflicts"]
        holder = conflict.pop("holder")
        self.assertEqual(conflict, {"path": disk, "mode": "exclusive"})
        self.assertRegex(holder.pop("uuid"), UUID)
        self.assertRegex(holder.pop("since"), ISO + r"\.\d{3}Z$")
        self.assertIn("sleep", os.path.basename(holder.pop("exe")) + "sleep")
        self.assertEqual(holder, {"kind": "guest", "name": name,
                                  "pid": guest.pid})

    def foreign(self, command, disk):
        """Another program's lock on byte 0: `command` is fcntl's."""
        code = ("import fcntl,os,struct,sys,time\n"
                "fd=os.open(sys.argv[1],os.O_RDWR)\n"
                "fcntl.fcntl(fd,%d,struct.pack('hhqqi4x',1,0,0,1,0))\n"
                "print('held',flush=True);time.sleep(600)\n" % command)
        holder = subprocess.Popen([sys.executable, "-c", code, disk],
                                  stdout=subprocess.PIPE)
        self.addCleanup(self.end, holder)
        self.assertEqual(holder.stdout.readline(), b"held\n")
        return holder

    def test_a_foreign_ofd_lock_is_traced_to_its_process(self):
        disk = self.image()
        holder = self.foreign(fcntl.F_OFD_SETLK, disk)
        exe = os.readlink("/proc/%d/exe" % holder.pid)
        err = self.refused(HELD, "--disk", disk)
        self.assertIn("%s: held by process %d (%s)" % (disk, holder.pid, exe),
                      err)

    def test_a_foreign_posix_lock_is_traced_to_its_process(self):
        disk = self.image()
        holder = self.foreign(fcntl.F_SETLK, disk)
        err = self.refused(HELD, "--disk", disk)
        self.assertIn("held by process %d (" % holder.pid, err)
        answer = json.loads(self.expect(
            HELD, "run", "--json", "--disk", disk, "true").out)
        found = answer["conflicts"][0]["holder"]
        self.assertEqual((found["kind"], found["pid"], found["uuid"]),
                         ("process", holder.pid, None))

    def test_shared_excludes_exclusive_only(self):
        disk = self.image()
        self.start("--disk", disk + ",shared")
        self.start("--disk", disk + ",readonly")
        self.assertTrue(lockable(disk, fcntl.F_RDLCK))
        self.assertFalse(lockable(disk))
        self.refused(HELD, "--disk", disk)

    def test_who_wants_to_share_learns_that_the_lock_is_exclusive(self):
        disk = self.image()
        self.start("--disk", disk)
        self.assertIn("held exclusively by guest", self.refused(
            HELD, "--disk", disk + ",shared"))

    def test_links_do_not_get_around_a_lock(self):
        disk = self.image()
        os.link(disk, self.path("hard"))
        os.symlink(disk, self.path("soft"))
        self.start("--disk", disk)
        self.refused(HELD, "--disk", self.path("hard"))
        self.refused(HELD, "--disk", self.path("soft"))


class Hotplug(Case):
    def setUp(self):
        super().setUp()
        self.first, self.second = self.image("first"), self.image("second")
        self.vm, self.uuid = self.name(), str(uuid.uuid4())
        self.guest = self.start("--name", self.vm, "--uuid", self.uuid,
                                "--disk", self.first)

    def selectors(self):
        return self.vm, self.uuid, self.uuid.upper(), str(self.guest.pid)

    def test_a_guest_is_found_by_name_uuid_and_pid(self):
        for selector in self.selectors():
            self.expect(OK, "attach-disk", selector, self.second)
            self.assertFalse(lockable(self.second))
            self.expect(OK, "detach-disk", selector, self.second)
            self.assertTrue(lockable(self.second))
            self.assertFalse(lockable(self.first))

    def test_a_plugged_disk_lives_and_dies_with_the_guest(self):
        self.expect(OK, "attach-disk", self.vm, self.second)
        self.assertEqual(self.paths(self.guest), [self.first, self.second])
        self.end(self.guest)
        self.assertTrue(becomes_free(self.first))
        self.assertTrue(becomes_free(self.second))

    def test_plugging_twice_is_one_lease(self):
        for _ in range(3):
            result = self.expect(OK, "attach-disk", self.vm, self.second)
            self.assertEqual((result.out, result.err), ("", ""))
        self.expect(OK, "attach-disk", self.vm, self.first)
        self.assertEqual(self.paths(self.guest), [self.first, self.second])
        self.expect(OK, "detach-disk", self.vm, self.second)
        self.assertTrue(lockable(self.second))

    def test_all_or_nothing(self):
        other = self.image("other")
        self.start("--disk", other)
        err = self.expect(HELD, "attach-disk", self.vm, self.second, other).err
        self.assertIn("other: held by guest", err)
        self.assertTrue(lockable(self.second))
        self.assertFalse(lockable(self.first))
        self.assertEqual(self.paths(self.guest), [self.first])

    def test_the_other_mode_is_an_error_and_changes_nothing(self):
        err = self.expect(USAGE, "attach-disk", self.vm,
                          self.first + ",shared").err
        self.assertIn("first", err)
        self.assertEqual(self.leases(self.guest)[0]["mode"], "exclusive")
        self.assertEqual(self.ask(USAGE, "attach-disk", self.vm,
                                  self.first + ",shared")["error"],
                         "other-mode")

    def test_disks_come_from_a_list_too(self):
        disks = [self.image("d%d" % i) for i in range(300)]
        with open(self.path("list"), "w") as f:
            f.write("\0".join(disks))
        self.expect(OK, "attach-disk", self.vm, "--disks-from",
                    self.path("list"), "-0", self.second)
        self.assertEqual(len(self.leases(self.guest)), 302)
        answer = self.ask(OK, "detach-disk", self.vm, "--disks-from",
                          self.path("list"), "-0")
        self.assertEqual(answer, {"released": 300})
        for disk in disks:
            self.assertTrue(lockable(disk))
        self.assertFalse(lockable(self.second))

    def test_releasing_what_is_not_held_is_fine_and_said(self):
        result = self.expect(OK, "detach-disk", self.vm, self.second)
        self.assertEqual(result.err, "guestlock: %s: not held by this guest\n"
                         % self.second)
        result = self.expect(OK, "detach-disk", self.vm, self.second,
                             self.path("gone"), self.first)
        self.assertEqual(result.err, "guestlock: 2 of 3 disks were not held "
                         "by this guest\n")
        self.assertTrue(lockable(self.first))
        result = self.expect(OK, "detach-disk", "-q", self.vm, self.second)
        self.assertEqual((result.out, result.err), ("", ""))
        self.assertEqual(self.ask(OK, "detach-disk", "-q", self.vm,
                                  self.second), {"released": 0})

    def test_another_guests_disk_is_not_released(self):
        other = self.image("other")
        self.start("--disk", other)
        self.expect(OK, "detach-disk", self.vm, other)
        self.assertFalse(lockable(other))

    def test_a_disk_is_released_by_any_of_its_names(self):
        os.link(self.first, self.path("hard"))
        self.expect(OK, "detach-disk", self.vm, self.path("hard"))
        self.assertTrue(lockable(self.first))

    def test_a_path_to_release_has_no_options(self):
        odd = self.image("a,shared")
        self.expect(OK, "attach-disk", self.vm, self.path("a,,shared"))
        self.assertFalse(lockable(odd))
        self.expect(OK, "detach-disk", self.vm, odd)
        self.assertTrue(lockable(odd))
        self.expect(USAGE, "detach-disk", self.vm, "")

    def test_a_missing_guest_is_66(self):
        for selector in ("cli-nobody", str(uuid.uuid4()), "1", "999999999"):
            for verb in ("attach-disk", "detach-disk"):
                self.assertIn(selector, self.expect(
                    MISSING, verb, selector, self.second).err)
        self.assertEqual(self.ask(MISSING, "attach-disk", "cli-nobody",
                                  self.second)["error"], "no-such-guest")
        self.assertTrue(lockable(self.second))

    def test_a_dead_guest_is_66(self):
        self.end(self.guest)
        self.expect(MISSING, "attach-disk", self.uuid, self.second)
        self.assertTrue(lockable(self.second))

    def test_a_name_that_two_guests_have_is_refused(self):
        self.start("--name", self.vm)
        err = self.expect(USAGE, "attach-disk", self.vm, self.second).err
        self.assertIn(self.vm, err)
        self.assertTrue(lockable(self.second))
        self.expect(OK, "attach-disk", self.uuid, self.second)

    def test_a_plugged_disk_is_refused_to_others(self):
        self.expect(OK, "attach-disk", self.vm, self.second + ",shared")
        self.assertIn("'%s'" % self.vm,
                      self.refused(HELD, "--disk", self.second))


class Ls(Case):
    def test_json_has_the_fields_of_the_contract(self):
        name, disk = self.name(), self.image()
        guest = self.start("--name", name, "--disk", disk)
        listed = [g for g in self.ask(OK, "ls")["guests"]
                  if g["pid"] == guest.pid]
        self.assertEqual(listed, self.ask(OK, "ls", name)["guests"])
        (found,) = listed
        self.assertRegex(found.pop("uuid"), UUID)
        self.assertRegex(found.pop("started"), ISO + r"\.\d{3}Z$")
        (lease,) = found.pop("leases")
        self.assertEqual(found, {"name": name, "id": None, "pid": guest.pid,
                                 "holder": "guest", "uid": os.geteuid()})
        self.assertRegex(lease.pop("since"), ISO + r"\.\d{3}Z$")
        self.assertIn(lease.pop("scope"), ("host", "server", "cluster"))
        self.assertEqual(lease, {"path": disk, "type": "file",
                                 "mode": "exclusive", "held": True,
                                 "same_file": True})

    def test_the_table_has_a_line_for_each_guest(self):
        name = self.name()
        guest = self.start("--name", name, "--disk", self.image("a"),
                           "--disk", self.image("b"))
        lines = self.expect(OK, "ls").out.splitlines()
        self.assertEqual(lines[0].split(), ["UUID", "PID", "UID", "STARTED",
                                            "LEASES", "NAME"])
        (row,) = [l.split() for l in lines if l.endswith(" " + name)]
        self.assertRegex(row[0], UUID)
        self.assertEqual(row[1:3], [str(guest.pid), str(os.geteuid())])
        self.assertEqual(row[4:], ["2", name])

    def test_one_guest_is_shown_with_its_leases(self):
        disk, shared = self.image("d"), self.image("s")
        guest = self.start("--id", "5", "--disk", disk, "--disk",
                           shared + ",shared")
        out = self.expect(OK, "ls", str(guest.pid)).out
        self.assertRegex(out, r"(?m)^pid +%d$" % guest.pid)
        self.assertRegex(out, r"(?m)^id +5$")
        self.assertRegex(out, r"(?m)^name +-$")
        self.assertRegex(out, r"(?m)^exclusive +\w+ +yes +%sZ +%s$" % (
            ISO, re.escape(disk)))
        self.assertRegex(out, r"(?m)^shared +\w+ +yes +%sZ +%s$" % (
            ISO, re.escape(shared)))

    def test_a_path_that_is_not_utf8_survives_json(self):
        disk = self.image(b"\xff\xfe,gr\xc3\xb6\xc3\x9f e")
        guest = self.start("--disk", disk.replace(b",", b",,"))
        (lease,) = self.leases(guest)
        self.assertIn("\ufffd\ufffd,gr\u00f6\u00df e", lease["path"])
        raw = re.sub(rb"%([0-9A-F]{2})",
                     lambda m: bytes([int(m.group(1), 16)]),
                     lease["path_bytes"].encode())
        self.assertEqual(raw, disk)
        out = self.expect(OK, "ls", str(guest.pid),
                          env=dict(os.environ, LC_ALL="C.UTF-8")).out
        self.assertIn("\\xff\\xfe,gr\u00f6\u00df e", out)

    def test_hostile_names_are_escaped(self):
        disk = self.image(b"d\n\x1b[31m")
        guest = self.start("--name", "\u202eevil\u2028" + self.name(),
                           "--disk", disk)
        for args in (("ls",), ("ls", str(guest.pid)), ("who", disk)):
            out = self.expect(OK, *args).out
            for bad in ("\x1b", "\u202e", "\u2028"):
                self.assertNotIn(bad, out)
        self.assertIn("\\x0a\\x1b[31m",
                      self.expect(OK, "ls", str(guest.pid)).out)
        for args in (("ls", "--json"), ("who", "--json", disk)):
            result = self.expect(OK, *args)
            self.assertTrue(result.out.isascii())

    def test_a_dead_guest_is_gone(self):
        guest = self.start("--disk", self.image())
        pid = guest.pid
        self.end(guest)
        self.assertNotIn(pid, [g["pid"] for g in
                               self.ask(OK, "ls")["guests"]])
        self.expect(MISSING, "ls", str(pid))

    def test_a_renamed_disk_is_shown_where_it_is(self):
        disk = self.image("old")
        guest = self.start("--disk", disk)
        os.rename(disk, self.path("new"))
        (lease,) = self.leases(guest)
        self.assertEqual(lease["path"], self.path("new"))
        self.assertTrue(lease["held"])

    def test_a_missing_guest_is_66(self):
        self.assertIn("cli-nobody", self.expect(MISSING, "ls",
                                                "cli-nobody").err)

    def test_a_full_disk_under_stdout_is_an_error(self):
        with open("/dev/full", "w") as full:
            for args in (("ls",), ("ls", "--json"), ("--version",)):
                result = subprocess.run([GUESTLOCK, *args], stdout=full,
                                        stderr=subprocess.PIPE, timeout=WAIT)
                self.assertEqual(result.returncode, INTERNAL, args)
                self.assertIn(b"No space left", result.stderr)


class Who(Case):
    def test_a_free_disk_is_free(self):
        disk = self.image()
        self.assertEqual(self.expect(OK, "who", disk).out, disk + ": free\n")
        self.assertEqual(self.ask(OK, "who", disk),
                         {"disks": [{"path": disk, "holders": []}]})
        self.expect(OK, "who", "-q", disk)

    def test_a_held_disk_names_its_holder(self):
        disk, name = self.image(), self.name()
        guest = self.start("--name", name, "--disk", disk)
        self.assertRegex(
            self.expect(OK, "who", disk).out,
            r"^%s: held exclusively by guest '%s' \(uuid %s, pid %d\) since "
            r"%sZ\n$" % (re.escape(disk), name, UUID, guest.pid, ISO))
        (answer,) = self.ask(OK, "who", disk)["disks"]
        (holder,) = answer["holders"]
        self.assertEqual((holder["kind"], holder["name"], holder["pid"],
                          holder["mode"]),
                         ("guest", name, guest.pid, "exclusive"))
        result = self.expect(HELD, "who", "-q", disk)
        self.assertEqual((result.out, result.err), ("", ""))

    def test_every_holder_of_a_shared_disk_is_named(self):
        disk = self.image()
        pids = {self.start("--disk", disk + ",shared").pid for _ in range(3)}
        lines = self.expect(OK, "who", disk).out.splitlines()
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertIn(": held shared by guest", line)
        (answer,) = self.ask(OK, "who", disk)["disks"]
        self.assertEqual({h["pid"] for h in answer["holders"]}, pids)
        self.assertEqual({h["mode"] for h in answer["holders"]}, {"shared"})

    def test_several_disks_are_answered_in_order(self):
        a, b = self.image("a"), self.image("b")
        self.start("--disk", b)
        lines = self.expect(OK, "who", a, b).out.splitlines()
        self.assertEqual(lines[0], a + ": free")
        self.assertTrue(lines[1].startswith(b + ": held"))

    def test_a_missing_disk_is_66_and_the_others_are_answered(self):
        a, none = self.image("a"), self.path("none")
        result = self.expect(MISSING, "who", none, a)
        self.assertEqual(result.out, a + ": free\n")
        self.assertIn("none", result.err)
        answers = self.ask(MISSING, "who", none, a)["disks"]
        self.assertEqual(answers[0], {"path": none, "holders": [],
                                      "error": "not-found"})
        self.start("--disk", a)
        self.expect(MISSING, "who", "-q", a, none)

    def test_asking_takes_no_lock_and_disturbs_none(self):
        disk = self.image()
        self.start("--disk", disk)
        for _ in range(3):
            self.expect(OK, "who", disk)
        self.assertFalse(lockable(disk))


class Check(Case):
    def test_a_guest_that_is_well_passes(self):
        guest = self.start("--disk", self.image("a"), "--disk",
                           self.image("b") + ",shared")
        self.assertEqual(self.expect(OK, "check", str(guest.pid)).out,
                         "guests 1, leases 2, problems 0\n")
        answer = self.ask(OK, "check", str(guest.pid))
        self.assertTrue(answer["ok"])
        (found,) = answer["guests"]
        self.assertEqual((found["pid"], found["checked"], found["drift"]),
                         (guest.pid, 2, []))
        self.assertEqual(self.expect(OK, "check", "-q", str(guest.pid)).out,
                         "")

    def test_a_lost_lock_is_found(self):
        disk = self.image()
        guest = self.start("--disk", disk, "--disk", self.image("other"))
        for fd in peek_capsule(guest.pid):
            if os.path.samestat(os.fstat(fd), os.stat(disk)):
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, flock(fcntl.F_UNLCK))
            os.close(fd)
        self.assertTrue(lockable(disk))
        out = self.expect(DRIFT, "check", str(guest.pid)).out
        self.assertIn("%s: lost\n" % disk, out)
        self.assertIn("problems 1", out)
        answer = self.ask(DRIFT, "check", str(guest.pid))
        self.assertFalse(answer["ok"])
        self.assertEqual(answer["guests"][0]["drift"],
                         [{"path": disk, "mode": "exclusive",
                           "problem": "lost"}])
        self.assertIn("lost", self.expect(OK, "ls").out)

    def test_a_replaced_disk_is_found(self):
        disk = self.image()
        guest = self.start("--disk", disk)
        os.rename(self.image("new"), disk)
        out = self.expect(DRIFT, "check", str(guest.pid)).out
        self.assertIn(": replaced\n", out)
        answer = self.ask(DRIFT, "check", str(guest.pid))
        self.assertEqual(answer["guests"][0]["drift"][0]["problem"],
                         "replaced")

    def test_a_missing_guest_is_66(self):
        self.expect(MISSING, "check", "cli-nobody")

    def test_all_guests_are_checked(self):
        pids = [self.start("--disk", self.image("d%d" % i)).pid
                for i in range(3)]
        result = self.guestlock("check", "--json")
        found = {g["pid"]: g for g in json.loads(result.out)["guests"]}
        for pid in pids:
            self.assertEqual(found[pid]["drift"], [])


class Doctor(Case):
    TOPICS = {"kernel", "engine", "lock query", "identity", "discovery",
              "adoption", "descriptors", "parked locks", "send buffer",
              "/proc"}

    def test_this_host_is_usable(self):
        answer = self.ask(OK, "doctor")
        self.assertTrue(answer["usable"])
        topics = {f["topic"] for f in answer["findings"]}
        self.assertEqual(topics - {"environment"}, self.TOPICS)
        for finding in answer["findings"]:
            self.assertEqual(set(finding), {"topic", "state", "text", "mend"})
            self.assertIn(finding["state"], ("ok", "degraded", "missing"))
            self.assertEqual(finding["mend"] is None,
                             finding["state"] == "ok")
        out = self.expect(OK, "doctor").out
        for topic in self.TOPICS:
            self.assertIn("  %s  " % topic, out + " ")

    def test_a_path_has_a_file_system_and_a_scope(self):
        disk = self.image()
        (found,) = self.ask(OK, "doctor", disk)["disks"]
        self.assertEqual(found["path"], disk)
        self.assertIn(found["scope"], ("host", "server", "cluster"))
        self.assertTrue(found["fs"])
        self.assertIn("%s: %s, scope %s" % (disk, found["fs"],
                                            found["scope"]),
                      self.expect(OK, "doctor", disk).out)

    def test_a_missing_path_is_66(self):
        self.assertIn("none", self.expect(MISSING, "doctor",
                                          self.path("none")).err)
        (found,) = self.ask(MISSING, "doctor", self.path("none"))["disks"]
        self.assertEqual(found["error"], "not-found")

    def test_a_chosen_engine_is_said(self):
        answer = self.ask(OK, "doctor",
                          env=dict(os.environ, GUESTLOCK_ENGINE="syscall"))
        (engine,) = [f for f in answer["findings"] if f["topic"] == "engine"]
        self.assertEqual((engine["state"], engine["mend"]),
                         ("degraded", "unset GUESTLOCK_ENGINE"))

    def test_an_unknown_engine_is_a_usage_error(self):
        self.assertIn("GUESTLOCK_ENGINE", self.expect(
            USAGE, "doctor",
            env=dict(os.environ, GUESTLOCK_ENGINE="bogus")).err)

    def test_an_unknown_feature_is_said(self):
        self.assertIn("bogus", self.expect(
            OK, "doctor", env=dict(os.environ,
                                   GUESTLOCK_DISABLE="bogus")).out)

    def test_a_fallback_is_said(self):
        answer = self.ask(OK, "doctor", env=dict(
            os.environ, GUESTLOCK_DISABLE="getlk-unlck"))
        states = {f["topic"]: f["state"] for f in answer["findings"]}
        self.assertEqual(states["lock query"], "degraded")
        self.assertEqual(states["environment"], "degraded")


class Demo(Case):
    def demo(self, code, *args, **kw):
        kw["env"] = dict(os.environ, TMPDIR=self.dir, **kw.get("env", {}))
        result = self.expect(code, "demo", *args, **kw)
        self.assert_clean()
        return result

    def assert_clean(self):
        self.assertEqual(os.listdir(self.dir), [])
        names = [g["name"] or "" for g in self.ask(OK, "ls")["guests"]]
        self.assertEqual([n for n in names if n in self.started()], [])

    def started(self):
        return set()

    def test_the_promise_is_kept_here(self):
        out = self.demo(OK, env={"LC_ALL": "C.UTF-8"}).out
        self.assertEqual(re.findall(r"(?m)^ ?(\d+)\. (\S)", out),
                         [(str(i + 1), "\u2713") for i in range(11)])
        self.assertIn("held by guest 'demo-web-", out)
        self.assertRegex(out, r"\d ms from fork to the running guest")

    def test_a_plain_terminal_gets_plain_marks(self):
        out = self.demo(OK, env={"LC_ALL": "C"}).out
        self.assertEqual(out.count(". ok "), 11)
        self.assertTrue(out.isascii())

    def test_json_has_every_step(self):
        answer = json.loads(self.demo(OK, "--json").out)
        self.assertTrue(answer["ok"])
        self.assertEqual([s["step"] for s in answer["steps"]],
                         list(range(1, 12)))

    def test_a_failed_step_is_exit_1_and_cleans_up(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        out = self.demo(DRIFT, preexec_fn=limit,
                        env={"LC_ALL": "C"}).out
        self.assertIn("10. FAILED", out)
        self.assertIn("Too many open files", out)

    def test_an_interrupted_demo_cleans_up(self):
        demo = subprocess.Popen(
            [GUESTLOCK, "demo"], stdout=subprocess.PIPE,
            env=dict(os.environ, TMPDIR=self.dir))
        first = demo.stdout.readline()
        self.assertIn(b" 1. ", first)
        demo.terminate()
        out = demo.stdout.read()
        demo.stdout.close()
        self.assertEqual(demo.wait(WAIT), DRIFT, out)
        self.assertIn(b"interrupted", out)
        self.assert_clean()
        mine = "-%d" % demo.pid
        self.assertEqual([g for g in self.ask(OK, "ls")["guests"]
                          if (g["name"] or "").endswith(mine)], [])

    def test_a_reader_that_goes_away_leaves_nothing(self):
        demo = subprocess.Popen(
            [GUESTLOCK, "demo"], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, TMPDIR=self.dir))
        demo.stdout.close()
        demo.wait(WAIT)
        self.assertEqual(os.listdir(self.dir), [])


class Help(Case):
    VERBS = ("run", "attach-disk", "detach-disk", "ls", "who", "check",
             "doctor", "demo")

    def test_the_version_is_told(self):
        self.assertRegex(self.expect(OK, "--version").out,
                         r"^guestlock \d+\.\d+\.\d+\n$")

    def test_help_lists_the_verbs(self):
        out = self.expect(OK, "--help").out
        for verb in self.VERBS:
            self.assertRegex(out, r"(?m)^  %s +\S" % verb)

    def test_every_verb_has_help(self):
        for verb in self.VERBS:
            out = self.expect(OK, verb, "--help").out
            self.assertTrue(out.startswith("usage: guestlock %s " % verb), out)
            for line in out.splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_no_verb_or_a_wrong_one_is_a_usage_error(self):
        self.assertIn("usage:", self.expect(USAGE).err)
        self.assertIn("unknown verb 'x\\x0a'", self.expect(USAGE, "x\n").err)


class Completion(Case):
    def complete(self, *words):
        """What bash offers for the last of @words."""
        script = (". %s; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); "
                  "_guestlock; printf '%%s\\n' \"${COMPREPLY[@]}\"" %
                  COMPLETION)
        env = dict(os.environ, PATH=os.path.dirname(GUESTLOCK) + ":" +
                   os.environ["PATH"])
        result = subprocess.run(
            ["bash", "-c", script, "bash", "guestlock", *words],
            capture_output=True, timeout=WAIT, cwd=self.dir, env=env)
        self.assertEqual(result.stderr, b"")
        return result.stdout.decode().split("\n")[:-1]

    def test_verbs_and_options_are_offered(self):
        self.assertEqual(self.complete("d"), ["detach-disk", "doctor", "demo"])
        self.assertIn("--disks-from", self.complete("run", "--d"))
        self.assertNotIn("--disk", self.complete("ls", "--"))

    def test_guests_are_offered_by_name_and_uuid(self):
        name = self.name()
        self.start("--name", name)
        for verb in ("ls", "check", "attach-disk", "detach-disk"):
            self.assertEqual(self.complete(verb, name), [name])

    def test_disks_are_offered(self):
        self.image("disk-a.img")
        for words in (("who", "disk-"), ("run", "--disk", "disk-"),
                      ("attach-disk", "web", "disk-")):
            self.assertEqual(self.complete(*words), ["disk-a.img"])

    def test_a_guests_name_is_never_executed_nor_offered(self):
        mark = self.path("executed")
        self.start("--name", "cli$(touch %s)" % mark)
        self.start("--name", "cli`touch %s`" % mark)
        offered = self.complete("ls", "cli")
        self.assertFalse(os.path.exists(mark))
        self.assertEqual([o for o in offered if "touch" in o], [])


@unittest.skipUnless(ROOT, "needs root to become another user")
class OtherUser(Case):
    """What a user without privileges gets."""

    @classmethod
    def setUpClass(cls):
        # The build directory may be closed to others.
        cls.bin = tempfile.mkdtemp(prefix="guestlock-bin-", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.bin)
        os.chmod(cls.bin, 0o755)
        cls.program = shutil.copy(GUESTLOCK, cls.bin)
        out = subprocess.run(["ldd", GUESTLOCK], capture_output=True,
                             text=True, check=True).stdout
        (library,) = re.findall(r"libguestlock\S+ => (\S+)", out)
        shutil.copy(library, os.path.join(cls.bin, "libguestlock.so.0"))

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o777)
        self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": [],
                     "env": dict(os.environ, LD_LIBRARY_PATH=self.bin)}

    def image(self, name="disk.img", owner=NOBODY):
        path = super().image(name)
        os.chown(path, owner, owner)
        os.chmod(path, 0o600)
        return path

    def own(self, code, *args):
        global GUESTLOCK
        root, GUESTLOCK = GUESTLOCK, self.program
        try:
            return self.expect(code, *args, **self.user)
        finally:
            GUESTLOCK = root

    def start_own(self, *options):
        global GUESTLOCK
        root, GUESTLOCK = GUESTLOCK, self.program
        try:
            return self.start(*options, **self.user)
        finally:
            GUESTLOCK = root

    def test_a_user_locks_and_plugs_his_own_disks(self):
        disk, more = self.image(), self.image("more")
        name = self.name()
        guest = self.start_own("--name", name, "--disk", disk)
        self.assertFalse(lockable(disk))
        self.own(OK, "attach-disk", name, more)
        self.assertFalse(lockable(more))
        found = json.loads(self.own(OK, "ls", "--json", name).out)
        self.assertEqual(len(found["guests"][0]["leases"]), 2)
        self.assertEqual(found["guests"][0]["uid"], NOBODY)
        self.own(OK, "detach-disk", str(guest.pid), disk)
        self.assertTrue(lockable(disk))

    def test_a_disk_that_he_may_not_open_is_77(self):
        mine, roots = self.image(), self.image("roots", owner=0)
        result = self.own(DENIED, "run", "--disk", mine, "--disk", roots,
                          "true")
        self.assertIn("roots", result.err)
        self.assertIn("Permission denied", result.err)
        self.assertTrue(lockable(mine))
        self.assertTrue(lockable(roots))

    def test_a_guest_of_roots_is_not_his_to_change(self):
        name, mine = self.name(), self.image()
        guest = self.start("--name", name)
        result = self.own(DENIED, "attach-disk", str(guest.pid), mine)
        self.assertTrue(lockable(mine))
        self.assertTrue(result.err.startswith("guestlock: "))

    def test_guests_of_others_are_counted_not_shown(self):
        guest = self.start("--disk", self.image("r", owner=0))
        result = self.own(OK, "ls", "--json")
        answer = json.loads(result.out)
        self.assertNotIn(guest.pid, [g["pid"] for g in answer["guests"]])
        self.assertGreaterEqual(answer["denied"], 1)
        self.assertIn("may not look into", result.err)
        self.assertEqual(self.own(OK, "ls", "--json", "--quiet").err, "")

    def test_root_does_not_take_a_users_word_for_a_name(self):
        name, disk = self.name(), self.image()
        mine = self.start_own("--name", name, "--disk", disk)
        err = self.refused(HELD, "--disk", disk)
        self.assertNotIn("'%s'" % name, self.expect(
            MISSING, "attach-disk", name, self.image("x")).out)
        if os.geteuid() != NOBODY:
            self.assertIn("process %d (" % mine.pid, err)

    def test_the_limit_of_parked_locks_is_clear_and_takes_nothing(self):
        """In flight a user may have as many as his RLIMIT_NOFILE."""
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

        disks = [self.image("d%d" % i) for i in range(200)]
        args = [("--disk", d) for d in disks]
        self.user["preexec_fn"] = limit
        guests = [self.start_own(*sum(args[i:i + 50], ()))
                  for i in (0, 50, 100)]
        result = self.own(INTERNAL, "run", *sum(args[150:], ()), "true")
        self.assertIn("RLIMIT_NOFILE", result.err)
        for disk in disks[150:]:
            self.assertTrue(becomes_free(disk))
        for disk in disks[:150]:
            self.assertFalse(lockable(disk))
        self.end(guests[0])
        self.own(OK, "run", *sum(args[150:], ()), "true")


if __name__ == "__main__":
    unittest.main(verbosity=1)
