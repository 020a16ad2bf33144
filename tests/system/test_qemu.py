#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real guest: QEMU under `guestlock run`, with its own image locks on.

test_qemu.py GUESTLOCK

The guest boots from the first of its disks, a sector that says so and halts.
No operating system is needed: SCSI disks go as soon as QEMU is told to.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

# Out of sight of every other test's guests, if we may have that.
CLONE_NEWNET = 0x40000000
ctypes.CDLL(None).unshare(CLONE_NEWNET)

GUESTLOCK = os.path.abspath(sys.argv.pop(1))
QEMU = shutil.which("qemu-system-x86_64")
SECONDS = 60
N_DISKS = 64
# The first that works.
ACCELERATORS = [word for name in
                os.environ.get("GUESTLOCK_TEST_ACCEL", "kvm,tcg").split(",")
                for word in ("-accel", name)]
SIZE = 4 << 20

# mov al, GREETING; out 0xe9, al; cli; hlt; jmp hlt
GREETING = b"G"
BOOT_SECTOR = (b"\xb0" + GREETING + b"\xe6\xe9\xfa\xf4\xeb\xfd").ljust(
    510, b"\0") + b"\x55\xaa"


def until(what, ready):
    """Wait for @ready() to be true; the answer is returned."""
    end = time.monotonic() + SECONDS
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError("still not so: " + what)
        time.sleep(0.01)


def conflicts(path, kind, start, length=1):
    """Would a lock of this kind and range be refused? Takes nothing."""
    with open(path, "r+b") as f:
        wish = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
        answer = fcntl.fcntl(f, fcntl.F_OFD_GETLK, wish)
        return struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK


def held(path):
    return conflicts(path, fcntl.F_RDLCK, 0)


def guestlock(*args, code=0):
    """Run a verb. Return: its output as JSON, what it said on stderr."""
    done = subprocess.run([GUESTLOCK, *args], text=True, timeout=SECONDS,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    assert done.returncode == code, (args, done.returncode, done.stderr)
    return json.loads(done.stdout) if "--json" in args else None, done.stderr


class Monitor:
    """QEMU's QMP socket."""

    def __init__(self, path):
        self.socket = until("QMP listens at " + path, lambda: self.dial(path))
        self.socket.settimeout(SECONDS)
        self.file = self.socket.makefile("rw")
        self.events = []
        assert "QMP" in self.read()
        self.ask("qmp_capabilities")

    @staticmethod
    def dial(path):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
        except OSError:
            s.close()
            return None
        return s

    def read(self):
        return json.loads(self.file.readline())

    def ask(self, command, **arguments):
        self.file.write(json.dumps({"execute": command,
                                    "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = self.read()
            if "event" not in answer:
                assert "return" in answer, (command, answer)
                return answer["return"]
            self.events.append(answer)

    def await_event(self, name, **data):
        while True:
            for event in self.events:
                if event["event"] == name and \
                        data.items() <= event["data"].items():
                    self.events.remove(event)
                    return
            self.events.append(self.read())

    def close(self):
        self.file.close()
        self.socket.close()


def file_node(path, i):
    return {"driver": "file", "filename": path, "node-name": "f%s" % i,
            "locking": "on"}


def format_node(path, i):
    return {"driver": "qcow2" if path.endswith(".qcow2") else "raw",
            "file": "f%s" % i, "node-name": "d%s" % i}


def device(i, **more):
    return {"driver": "scsi-hd", "bus": "scsi.0", "drive": "d%s" % i,
            "id": "disk%s" % i, **more}


def qemu(disks, qmp, debug, *more):
    """QEMU's command line. JSON, since a path may have commas."""
    argv = [QEMU, *ACCELERATORS, "-nodefaults", "-no-user-config",
            "-display", "none", "-m", "64",
            "-qmp", "unix:%s,server=on,wait=off" % qmp,
            "-debugcon", "file:" + debug,
            "-device", "virtio-scsi-pci,id=scsi"]
    for i, path in enumerate(disks):
        argv += ["-blockdev", json.dumps(file_node(path, i)),
                 "-blockdev", json.dumps(format_node(path, i)),
                 "-device", json.dumps(device(i, **({"bootindex": 0}
                                                    if i == 0 else {})))]
    return argv + list(more)


def doubled(path):
    return path.replace(",", ",,")


class Guests(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(
            prefix="guestlock-qemu.",
            dir=os.environ.get("GUESTLOCK_TEST_DIR", "/var/tmp"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.template = self.path("template")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2",
                        self.template, str(SIZE)], check=True,
                       timeout=SECONDS)

    def path(self, name):
        return os.path.join(self.folder, name)

    def image(self, name):
        path = self.path(name)
        if name.endswith(".qcow2"):
            shutil.copyfile(self.template, path)
        else:
            with open(path, "wb") as f:
                f.write(BOOT_SECTOR)
                f.truncate(SIZE)
        return path

    def images(self, prefix, n):
        """Half of them raw; the second one's name has a comma."""
        return [self.image("%s%s%d.%s" % (prefix, "," if i == 1 else "-", i,
                                          "qcow2" if i % 2 else "raw"))
                for i in range(n)]

    def start(self, name, disks, *more, from_file=False, uuid=None,
              incoming=False):
        """QEMU under `guestlock run`; not waited for."""
        run = [GUESTLOCK, "run", "--name", name]
        run += ["--uuid", uuid] if uuid else []
        run += ["--incoming"] if incoming else []
        if from_file:
            with open(self.path(name + ".list"), "wb") as f:
                f.write(b"".join(os.fsencode(p) + b"\0" for p in disks))
            run += ["--disks-from", f.name, "-0"]
        else:
            for path in disks:
                run += ["--disk", doubled(path)]
        process = subprocess.Popen(
            [*run, "--", *qemu(disks, self.path(name + ".qmp"),
                               self.path(name + ".debug"), *more)],
            text=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.communicate(timeout=SECONDS)

    def monitor(self, name):
        monitor = Monitor(self.path(name + ".qmp"))
        self.addCleanup(monitor.close)
        return monitor

    def booted(self, name):
        def said():
            try:
                with open(self.path(name + ".debug"), "rb") as f:
                    return GREETING in f.read()
            except FileNotFoundError:
                return False
        until("the guest boots", said)

    def listed(self, name):
        answer, _ = guestlock("ls", "--json", name)
        self.assertEqual(len(answer["guests"]), 1)
        guest = answer["guests"][0]
        self.assertEqual(guest["name"], name)
        self.assertTrue(all(lease["held"] for lease in guest["leases"]))
        return guest

    def assert_holds(self, name, pid, disks):
        guest = self.listed(name)
        self.assertEqual(guest["pid"], pid)
        self.assertEqual(sorted(lease["path"] for lease in guest["leases"]),
                         sorted(disks))
        for path in disks:
            self.assertTrue(held(path), path)

    def assert_becomes_free(self, disks):
        for path in disks:
            until(path + " is free", lambda p=path: not held(p))

    def assert_qemu_locks(self, path):
        """Its own locks: on its bytes, and seen by its tools."""
        self.assertTrue(conflicts(path, fcntl.F_WRLCK, 100, 200))
        done = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 512",
                               path], text=True, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, timeout=SECONDS)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('Failed to get "write" lock', done.stderr)

    def plug(self, monitor, path, i):
        monitor.ask("blockdev-add", **file_node(path, i))
        monitor.ask("blockdev-add", **format_node(path, i))
        monitor.ask("device_add", **device(i))

    def unplug(self, monitor, i):
        monitor.ask("device_del", id="disk%s" % i)
        monitor.await_event("DEVICE_DELETED", device="disk%s" % i)
        monitor.ask("blockdev-del", **{"node-name": "d%s" % i})
        monitor.ask("blockdev-del", **{"node-name": "f%s" % i})

    def test_a_guest_with_64_disks_has_them_plugged_in_and_out(self):
        name = "qemu-%d-big" % os.getpid()
        disks = self.images("big", N_DISKS)
        more = self.images("more", 4)
        process = self.start(name, disks)
        monitor = self.monitor(name)
        print("accelerator:", "kvm" if monitor.ask("query-kvm")["enabled"]
              else "tcg")
        self.booted(name)
        self.assert_holds(name, process.pid, disks)
        for path in disks[:2] + disks[-2:]:
            self.assert_qemu_locks(path)

        for i, path in enumerate(more):
            guestlock("attach-disk", name, doubled(path))
            self.assertTrue(held(path))
            self.plug(monitor, path, N_DISKS + i)
            self.assert_qemu_locks(path)
        self.assert_holds(name, process.pid, disks + more)

        gone = [0, 1, N_DISKS, N_DISKS + 1]
        for i in gone:
            path = (disks + more)[i]
            self.unplug(monitor, i)
            self.assertTrue(held(path))
            self.assertFalse(conflicts(path, fcntl.F_WRLCK, 100, 200))
            guestlock("detach-disk", name, path)
            self.assertFalse(held(path))
        left = [p for i, p in enumerate(disks + more) if i not in gone]
        self.assert_holds(name, process.pid, left)
        self.assertEqual(len(monitor.ask("query-block")), len(left))
        self.assertEqual(monitor.ask("query-status")["status"], "running")

        process.kill()
        self.assert_becomes_free(left)
        guestlock("ls", name, code=66)

    def test_a_second_guest_is_refused_and_told_by_whom(self):
        name = "qemu-%d-first" % os.getpid()
        disks = self.images("first", 4)
        process = self.start(name, disks, from_file=True)
        self.booted(name)
        other = self.images("second", 2)
        alias = self.path("alias.raw")
        os.link(disks[2], alias)

        second = self.start("qemu-%d-second" % os.getpid(),
                            [*other, alias])
        _, said = second.communicate(timeout=SECONDS)
        self.assertEqual(second.returncode, 75, said)
        self.assertIn(name, said)
        self.assertIn(str(process.pid), said)
        self.assertIn(alias, said)
        self.assertFalse(os.path.exists(
            self.path("qemu-%d-second.qmp" % os.getpid())))
        self.assertFalse(any(held(path) for path in other))
        self.assert_holds(name, process.pid, disks)

        # A guest that ends by itself leaves nothing behind, and the
        # refused one can start.
        self.monitor(name).ask("quit")
        self.assertEqual(process.wait(SECONDS), 0)
        self.assert_becomes_free(disks)
        second = self.start("qemu-%d-third" % os.getpid(), [*other, alias])
        self.monitor("qemu-%d-third" % os.getpid())
        self.assert_holds("qemu-%d-third" % os.getpid(), second.pid,
                          [*other, alias])

    def test_a_daemon_is_found_where_it_went(self):
        name = "qemu-%d-daemon" % os.getpid()
        disks = self.images("daemon", 6)
        pidfile = self.path("pid")
        process = self.start(name, disks, "-daemonize", "-pidfile", pidfile)
        _, said = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 0, said)
        with open(pidfile) as f:
            pid = int(f.read())
        self.addCleanup(self.kill_stray, pid)
        self.assertNotEqual(pid, process.pid)
        self.assert_holds(name, pid, disks)
        self.booted(name)

        path = self.image("late.qcow2")
        guestlock("attach-disk", str(pid), path)
        monitor = self.monitor(name)
        self.plug(monitor, path, "late")
        self.assert_holds(name, pid, disks + [path])
        self.unplug(monitor, "late")
        guestlock("detach-disk", name, path)
        self.assertFalse(held(path))
        self.assert_holds(name, pid, disks)

        os.kill(pid, signal.SIGKILL)
        self.assert_becomes_free(disks)
        guestlock("ls", name, code=66)

    def by_hand(self, name, path, *more, readonly=False):
        """A QEMU that nobody has told of guestlock."""
        node = dict(file_node(path, "x"), **{"read-only": readonly})
        process = subprocess.Popen(
            [QEMU, *ACCELERATORS, "-nodefaults", "-no-user-config",
             "-display", "none", "-m", "64", "-S",
             "-qmp", "unix:%s,server=on,wait=off" % self.path(name + ".qmp"),
             "-device", "virtio-scsi-pci,id=scsi",
             "-blockdev", json.dumps(node),
             "-device", json.dumps(dict(device("x"), drive="fx")), *more],
            stdin=subprocess.DEVNULL)
        self.addCleanup(self.end, process)
        self.monitor(name)
        return process

    def locked_bytes(self, path):
        return [b for b in list(range(100, 105)) + list(range(200, 205))
                if conflicts(path, fcntl.F_WRLCK, b)]

    def test_qemu_locks_the_bytes_that_we_look_at(self):
        path = self.image("facts.raw")
        qemu = self.by_hand("writer", path)
        self.assertEqual(self.locked_bytes(path), [100, 101, 201])
        self.end(qemu)
        qemu = self.by_hand("reader", path, readonly=True)
        self.assertEqual(self.locked_bytes(path), [100, 201])
        self.end(qemu)
        self.assertEqual(self.locked_bytes(path), [])
        for flags, expected in (((), [100, 101]), (("-r",), [100])):
            tool = subprocess.Popen(["qemu-io", *flags, "-f", "raw", path],
                                    stdin=subprocess.PIPE,
                                    stdout=subprocess.DEVNULL)
            self.addCleanup(self.end, tool)
            until("qemu-io has it open", lambda e=expected:
                  self.locked_bytes(path) == e)
            tool.communicate(timeout=SECONDS)

    def test_a_qemu_that_was_started_by_hand_is_found(self):
        path = self.image("byhand.raw")
        qemu = self.by_hand("byhand", path)
        run = ("run", "--disk", path)
        answer, said = guestlock(*run, "--json", "--", "true", code=75)
        (conflict,) = answer["conflicts"]
        holder = conflict["holder"]
        self.assertEqual((holder["kind"], holder["pid"], holder["how"]),
                         ("process", qemu.pid, "has it open as a QEMU image"))
        self.assertEqual(holder["exe"], os.path.realpath(QEMU))
        self.assertIn("process %d (" % qemu.pid, said)
        guestlock("run", "--disk", path + ",shared", "--", "true", code=75)
        self.assertFalse(held(path))
        answer, _ = guestlock("who", "--json", path)
        (holder,) = answer["disks"][0]["holders"]
        self.assertEqual(holder["pid"], qemu.pid)

        # Dying is not holding.
        qemu.kill()
        guestlock(*run, "--", "true")

    def test_a_qemu_that_only_reads_refuses_who_wants_to_write(self):
        path = self.image("golden.raw")
        self.by_hand("golden", path, readonly=True)
        guestlock("run", "--disk", path + ",shared", "--", "true")
        guestlock("run", "--disk", path, "--", "true", code=75)

    def test_the_guests_own_qemu_is_not_in_the_way(self):
        name = "qemu-%d-own" % os.getpid()
        disks, late = self.images("own", 1), self.image("late.raw")
        self.start(name, disks)
        monitor = self.monitor(name)
        self.booted(name)
        self.plug(monitor, late, "late")
        self.assert_qemu_locks(late)
        guestlock("run", "--disk", late, "--", "true", code=75)
        guestlock("attach-disk", name, late)
        guestlock("attach-disk", "--exclusive-open=require", name, late)
        self.assertTrue(held(late))
        self.unplug(monitor, "late")
        guestlock("detach-disk", name, late)
        guestlock("attach-disk", "--exclusive-open=require", name, late)

    def test_the_source_of_a_migration_is_not_in_the_way(self):
        name = "qemu-%d-move" % os.getpid()
        uuid = "7f3c9a52-0d3e-4d0b-9d51-%012x" % os.getpid()
        disks = self.images("move", 2)
        source = self.start(name, disks, uuid=uuid)
        self.booted(name)
        guestlock("migrate", "prepare", str(source.pid), "localhost")
        there = name + "-there"
        destination = self.start(there, disks, "-incoming", "defer",
                                 uuid=uuid, incoming=True)
        self.monitor(there)
        self.assertIsNone(destination.poll())
        answer, _ = guestlock("ls", "--json", str(destination.pid))
        self.assertEqual(len(answer["guests"][0]["leases"]), 2)

    def tools(self, raw, qcow2):
        """What users do with a running guest's images. Return: for each, its
        exit code and complaint."""
        overlay = self.path("overlay.qcow2")
        read = ["-c", "read 0 512"]
        write = ["-c", "write 1M 512"]
        said = {}
        for command in (
                ["qemu-img", "info", qcow2], ["qemu-img", "info", "-U", qcow2],
                ["qemu-img", "info", raw], ["qemu-img", "check", qcow2],
                ["qemu-img", "create", "-q", "-f", "qcow2", "-b", qcow2, "-F",
                 "qcow2", overlay],
                ["qemu-img", "info", "--backing-chain", overlay],
                ["qemu-img", "snapshot", "-l", qcow2],
                ["qemu-img", "resize", "-q", "-f", "raw", raw, "+1M"],
                ["qemu-io", "-r", "-f", "qcow2", *read, qcow2],
                ["qemu-io", "-r", "-U", "-f", "qcow2", *read, qcow2],
                ["qemu-io", "-r", "-f", "raw", *read, raw],
                ["qemu-io", "-f", "raw", *write, raw],
                ["qemu-io", "-f", "qcow2", *write, qcow2]):
            done = subprocess.run(command, text=True, timeout=SECONDS,
                                  stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE)
            said[" ".join(command)] = done.returncode, done.stderr
        os.unlink(overlay)
        return said

    def own_locks(self, pid):
        """Of a process, on all that it has open, by inode and bytes."""
        found = []
        for fd in os.listdir("/proc/%d/fdinfo" % pid):
            with open("/proc/%d/fdinfo/%s" % (pid, fd)) as f:
                found += [line.split()[2:] for line in f
                          if line.startswith("lock:")]
        return sorted(found)

    def test_qemus_tools_see_no_difference(self):
        disks = raw, qcow2 = [self.image("tools.raw"),
                              self.image("tools.qcow2")]
        name = "qemu-%d-tools" % os.getpid()
        idle = self.tools(*disks)
        self.assertEqual({code for code, _ in idle.values()}, {0}, idle)

        alone = subprocess.Popen(
            qemu(disks, self.path("alone.qmp"), self.path("alone.debug")),
            text=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(self.end, alone)
        self.monitor("alone")
        self.booted("alone")
        self.assertFalse(held(raw))
        want = self.tools(*disks)
        self.end(alone)
        for command in ("qemu-img info " + qcow2, "qemu-img check " + qcow2,
                        "qemu-io -f raw -c write 1M 512 " + raw):
            self.assertEqual(want[command][0], 1, command)
            self.assertIn("lock", want[command][1])
        self.assertIn((0, ""), want.values())

        process = self.start(name, disks)
        self.monitor(name)
        self.booted(name)
        self.assert_holds(name, process.pid, disks)
        self.assertEqual(self.tools(*disks), want)
        self.assert_holds(name, process.pid, disks)
        self.end(process)

        # A lease is nothing to them if no QEMU runs.
        holder = subprocess.Popen(
            [GUESTLOCK, "run", "--name", name, "--disk", raw, "--disk", qcow2,
             "--", "cat"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, holder)
        until("it has them", lambda: held(raw) and held(qcow2))
        self.assertEqual(self.tools(*disks), idle)
        self.assert_holds(name, holder.pid, disks)
        self.end(holder)

    def test_qemus_own_locks_stay_as_they_were(self):
        name = "qemu-%d-locks" % os.getpid()
        disks, more = self.images("locks", 3), self.images("late", 2)
        process = self.start(name, disks)
        monitor = self.monitor(name)
        self.booted(name)
        before = self.own_locks(process.pid)
        for path in disks:
            inode = str(os.stat(path).st_ino)
            self.assertTrue(any(lock[-3].split(":")[-1] == inode and
                                int(lock[-2]) >= 100 for lock in before),
                            (path, before))
        for verb in (["attach-disk", name, *more], ["check", name],
                     ["migrate", "prepare", name, "localhost"],
                     ["migrate", "cancel", name],
                     ["detach-disk", name, *more]):
            guestlock(*(doubled(a) if verb[0] == "attach-disk" else a
                        for a in verb))
            self.assertEqual(self.own_locks(process.pid), before, verb)

        # It still opens and closes images as it likes.
        guestlock("attach-disk", name, doubled(more[0]))
        self.plug(monitor, more[0], "late")
        self.assert_qemu_locks(more[0])
        self.unplug(monitor, "late")
        self.assertEqual(self.own_locks(process.pid), before)
        # What it closes takes no lock of ours along.
        self.assert_holds(name, process.pid, disks + more[:1])

    @staticmethod
    def kill_stray(pid):
        """The daemon, if the test ended before it did."""
        try:
            with open("/proc/%d/comm" % pid) as f:
                if f.read().startswith("qemu"):
                    os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass


if __name__ == "__main__":
    if not QEMU or not shutil.which("qemu-io"):
        print("skipped: needs qemu-system-x86_64 and qemu-utils")
        sys.exit(77)
    unittest.main(verbosity=2)
