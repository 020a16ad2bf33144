#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run test programs on another kernel: boot one of Debian's under QEMU.

lab.py --init INIT [--file FILE]... [--env NAME=VALUE]... SERIES PROGRAM...

SERIES is "6.1" or "6.12": the newest cloud kernel of it that apt offers is
fetched once into a cache, and boots with an initramfs that holds INIT, the
programs, the extra files and every shared library that they need, each at the
path that it has here. No KVM: nested virtualisation is often broken, and these
kernels boot in seconds without.

Exit: 0 if every program passed or was skipped, and one at least passed; 77 if
the tools or the package cannot be had (1 with GUESTLOCK_LAB=require, so that
CI cannot pass by skipping); else 1.
"""
import argparse
import fcntl
import glob
import lzma
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time

MODULES = ["loop", "unix_diag", "fuse", "overlay", "xfs", "btrfs"]
TAINT_DIED, TAINT_WARNED, TAINT_LOCKUP = 1 << 7, 1 << 9, 1 << 14
TRIES = 3


class Skip(Exception):
    """The lab cannot be run here."""


class Failure(Exception):
    """The lab ran, or should have, and something is wrong."""


def output(*command):
    return subprocess.run(command, check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def natural(text):
    return [int(part) if part.isdigit() else part
            for part in re.split(r"(\d+)", text)]


# Getting a kernel

def cache_dir():
    path = os.environ.get("GUESTLOCK_LAB_CACHE")
    if not path:
        home = "/var/cache" if os.geteuid() == 0 else \
            os.path.expanduser("~/.cache")
        path = os.path.join(os.environ.get("XDG_CACHE_HOME", home),
                            "guestlock-lab")
    os.makedirs(path, exist_ok=True)
    return path


def offered(series):
    """The series' cloud kernels that apt knows, newest first."""
    pattern = rf"linux-image-{re.escape(series)}[.][0-9][^ ]*-cloud-amd64"
    found = output("apt-cache", "search", "--names-only", f"^{pattern}$")
    names = [line.split()[0] for line in found.splitlines() if line]
    names = [name for name in names if re.fullmatch(pattern, name)]
    return sorted(names, key=natural, reverse=True)


def unpack(package, cache):
    """Download and unpack into the cache; a crash leaves no half of it."""
    done = os.path.join(cache, package)
    if os.path.isdir(done):
        return done
    part = os.path.join(cache, f"{package}.part")
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    try:
        subprocess.run(["apt-get", "-q", "download", package], cwd=part,
                       check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        (deb,) = glob.glob(os.path.join(part, "*.deb"))
        subprocess.run(["dpkg", "-x", deb, part], check=True)
        os.unlink(deb)
        os.rename(part, done)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return done


def cached(series, cache):
    found = glob.glob(os.path.join(cache, f"linux-image-{series}.*-amd64"))
    return max(found, key=natural, default=None)


def kernel_tree(series):
    cache = cache_dir()
    with open(os.path.join(cache, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for package in offered(series)[:TRIES]:
            try:
                return unpack(package, cache)
            except (subprocess.CalledProcessError, ValueError):
                print(f"lab: cannot fetch {package}")
        tree = cached(series, cache)
    if not tree:
        raise Skip(f"no {series} cloud kernel from apt (apt-get update?)")
    return tree


# Its modules

def module_name(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def read_module(path):
    opener = lzma.open if path.endswith(".xz") else open
    with opener(path, "rb") as module:
        return module.read()


def modules_in_order(tree, more):
    """[(name, parameters, contents)]: of MODULES, of the lines @more, and before
    each what it depends on."""
    where = glob.glob(os.path.join(tree, "lib/modules/*"))[0]
    files = {module_name(path): path for path in
             glob.glob(os.path.join(where, "kernel/**/*.ko*"), recursive=True)}
    with open(os.path.join(where, "modules.builtin")) as listing:
        builtin = {module_name(line.strip()) for line in listing}
    done = {}

    def load(name):
        if name in done or name in builtin:
            return
        if name not in files:
            raise Failure(f"{tree} has no module {name}")
        contents = read_module(files[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", contents)
        for other in depends.group(1).decode().split(","):
            if other:
                load(other.replace("-", "_"))
        done[name] = contents

    parameters = dict(line.partition(" ")[::2] for line in more)
    for name in [*MODULES, *parameters]:
        load(name)
    return [(name, parameters.get(name, ""), contents)
            for name, contents in done.items()]


# The initramfs

class Archive:
    """A cpio archive in the "newc" format, as the kernel unpacks it."""

    def __init__(self):
        self.parts = []
        self.names = set()

    def entry(self, name, mode, contents=b"", device=(0, 0)):
        encoded = name.encode() + b"\0"
        fields = [len(self.names) + 1, mode, 0, 0, 1, 0, len(contents), 0, 0,
                  *device, len(encoded), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (head + encoded, contents):
            self.parts.append(part + b"\0" * (-len(part) % 4))
        self.names.add(name)

    def parents(self, name):
        above = os.path.dirname(name)
        if above and above not in self.names:
            self.parents(above)
            self.entry(above, stat.S_IFDIR | 0o755)

    def add(self, path, contents, mode=0o755):
        name = path.lstrip("/")
        if name not in self.names:
            self.parents(name)
            self.entry(name, stat.S_IFREG | mode, contents)

    def add_program(self, path):
        for part in [path, *libraries(path)]:
            with open(part, "rb") as file:
                self.add(part, file.read())

    def finish(self):
        self.entry("TRAILER!!!", 0)
        return b"".join(self.parts)


def libraries(path):
    """The shared libraries and the interpreter of a program, as ldd says."""
    result = subprocess.run(["ldd", path], text=True, capture_output=True)
    if "not found" in result.stdout:
        raise Failure(f"{path}: {result.stdout}")
    return re.findall(r"(/\S+) \(0x", result.stdout)


def initramfs(args, tree):
    archive = Archive()
    archive.entry("dev", stat.S_IFDIR | 0o755)
    archive.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    with open(args.init, "rb") as init:
        archive.add("init", init.read())
    listing = ""
    for name, parameters, contents in modules_in_order(tree, args.module):
        archive.add(f"/lab/{name}.ko", contents)
        listing += f"/lab/{name}.ko {parameters}".rstrip() + "\n"
    archive.add("/lab/modules", listing.encode())
    for path in args.file + args.program:
        archive.add_program(path)
    for name, lines in ("programs", args.program), ("environment", args.env):
        archive.add(f"/lab/{name}", "\n".join([*lines, ""]).encode())
    archive.add("/lab/seconds", b"%d\n" % args.seconds)
    return archive.finish()


# Running it

def boot(tree, image, results, args):
    kernel = glob.glob(os.path.join(tree, "boot/vmlinuz-*"))[0]
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi",
               "-cpu", "max", "-smp", "1", "-m", "1024",
               "-nodefaults", "-display", "none", "-no-reboot",
               "-serial", "stdio", "-serial", f"file:{results}",
               "-kernel", kernel, "-initrd", image,
               "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
               *[word for more in args.qemu for word in shlex.split(more)]]
    sys.stdout.flush()
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL,
                       timeout=args.limit, check=True)
    except subprocess.TimeoutExpired:
        raise Failure(f"the kernel still ran after {args.limit} s") from None


def judge(lines, programs):
    """What the kernel reported: names by result; raises on any failure."""
    records = [line.split()[1:] for line in lines if line.startswith("LAB ")]
    status = {r[1]: r[3] for r in records if r[0] == "program"}
    ms = {r[1]: int(r[2]) for r in records if r[0] == "program"}
    broken = [" ".join(r[1:]) for r in records if r[0] == "module-failed"]
    names = [os.path.basename(program) for program in programs]
    for name in names:
        print(f"lab: {name} {status.get(name, 'did not run')}, "
              f"{ms.get(name, 0) / 1000:.1f} s")
    bad = [name for name in names if status.get(name) not in ("0", "77")]
    taint = sum(int(r[1]) for r in records if r[0] == "tainted")
    if taint & (TAINT_DIED | TAINT_WARNED | TAINT_LOCKUP):
        bad.append(f"the kernel warned or oopsed (tainted {taint})")
    if ["done"] not in records:
        bad.append("the last line is missing")
    if "0" not in status.values():
        bad.append("no program passed")
    if bad or broken:
        raise Failure(", ".join(bad + broken))


def work_dir(series):
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"),
                        f"guestlock-lab-{series}-{os.getpid()}")
    os.makedirs(path)
    return path


def find_tool(name):
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not path:
        raise Skip(f"needs {name}")
    return path


def lab(args):
    for tool in "qemu-system-x86_64", "apt-get", "apt-cache", "dpkg", "ldd":
        find_tool(tool)
    args.file += map(find_tool, args.tool)
    for paths in args.program, args.file:
        paths[:] = map(os.path.abspath, paths)
    tree = kernel_tree(args.series)
    work = work_dir(args.series)
    results = os.path.join(work, "results")
    image = os.path.join(work, "initrd")
    start = time.monotonic()
    try:
        with open(image, "wb") as file:
            file.write(initramfs(args, tree))
        print(f"lab: {os.path.basename(tree)}, "
              f"initramfs {os.path.getsize(image) >> 20} MiB")
        boot(tree, image, results, args)
        with open(results) as file:
            judge(file.read().splitlines(), args.program)
    finally:
        shutil.rmtree(work)
        print(f"lab: {time.monotonic() - start:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--init", required=True)
    parser.add_argument("--file", action="append", default=[],
                        help="carry this program along, without running it")
    parser.add_argument("--tool", action="append", default=[],
                        help="likewise, from PATH; skipped if it is not there")
    parser.add_argument("--module", action="append", default=[],
                        help="NAME [PARAMETERS]: load this one, too")
    parser.add_argument("--env", action="append", default=[],
                        help="NAME=VALUE for the programs")
    parser.add_argument("--qemu", action="append", default=[],
                        help="more options for QEMU, quoted as in a shell")
    parser.add_argument("--seconds", type=int, default=60,
                        help="limit of one program")
    parser.add_argument("--limit", type=int, default=300,
                        help="limit of the whole boot, in seconds")
    parser.add_argument("series", help='"6.1", "6.12"')
    parser.add_argument("program", nargs="+")
    # Meson ends a test like that: what "finally" cleans up must be gone then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        lab(parser.parse_args())
    except Skip as why:
        print(f"lab: skipped: {why}")
        return 1 if os.environ.get("GUESTLOCK_LAB") == "require" else 77
    except (Failure, subprocess.CalledProcessError) as why:
        print(f"lab: FAILED: {why}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
