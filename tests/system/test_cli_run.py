#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlock run: what it takes, what COMMAND gets, and every bad input."""

import fcntl
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import unittest
import uuid

from cli import (Case, GUESTLOCK, HELD, INTERNAL, MISSING, OK, USAGE,
                 WAIT, becomes_free, lockable)


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
                          ("a,bogus", "only shared, readonly")):
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

    def test_what_is_no_disk_is_refused_and_not_touched(self):
        why = self.refused(USAGE, "--disk", self.good, "--disk", "/dev/null")
        self.assertIn("no regular file and no block device", why)
        self.assertTrue(lockable(self.good))


if __name__ == "__main__":
    unittest.main(verbosity=2)
