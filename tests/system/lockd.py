# SPDX-License-Identifier: LGPL-2.1-or-later
"""What libvirtd does with a guest's disks, done by libvirt's own lockd.so.

lockd.py CONFIG VERB PID UUID RESOURCE...

VERB is acquire or release; RESOURCE is a path, with ,shared or ,readonly behind
it. As libvirtd does, a context lives for one operation. It must run where
/run is that of a virtlockd: see Virtlockd.lockd(). Exit code 1: refused, and
stderr has libvirt's words.

The table and the enumerations are those of libvirt's lock_driver.h, version
1.0.0 of the interface.
"""

import ctypes
import glob
import os
import sys
import uuid

PLUGINS = glob.glob("/usr/lib/*/libvirt/lock-driver/lockd.so") + \
    glob.glob("/usr/lib*/libvirt/lock-driver/lockd.so")
LOCKD_SO = PLUGINS[0] if PLUGINS else None

VERSION = 1000000
TYPE_DOMAIN, TYPE_DISK = 0, 0
MODES = {"": 0, "readonly": 1, "shared": 2}
STRING, CSTRING, UINT, UUID = 0, 1, 4, 7


class Value(ctypes.Union):
    _fields_ = [("i", ctypes.c_int), ("s", ctypes.c_char_p),
                ("uuid", ctypes.c_ubyte * 16)]


class Param(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("key", ctypes.c_char_p),
                ("value", Value)]


class Manager(ctypes.Structure):
    _fields_ = [("driver", ctypes.c_void_p), ("private", ctypes.c_void_p)]


def function(*arguments):
    return ctypes.CFUNCTYPE(ctypes.c_int, *arguments)


MANAGER, FLAGS, TEXT = ctypes.POINTER(Manager), ctypes.c_uint, ctypes.c_char_p
PARAMS = ctypes.POINTER(Param)
TEXTS = ctypes.POINTER(TEXT)


class Driver(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint), ("flags", ctypes.c_uint),
        ("init", function(ctypes.c_uint, TEXT, FLAGS)),
        ("deinit", function()),
        ("new", function(MANAGER, ctypes.c_uint, ctypes.c_size_t, PARAMS,
                         FLAGS)),
        ("free", ctypes.CFUNCTYPE(None, MANAGER)),
        ("add_resource", function(MANAGER, ctypes.c_uint, TEXT,
                                  ctypes.c_size_t, PARAMS, FLAGS)),
        ("acquire", function(MANAGER, TEXT, FLAGS, ctypes.c_int,
                             ctypes.POINTER(ctypes.c_int))),
        ("release", function(MANAGER, TEXTS, FLAGS)),
        ("inquire", function(MANAGER, TEXTS, FLAGS))]


def describe(pid, guest):
    params = (Param * 5)(
        Param(UUID, b"uuid"), Param(STRING, b"name", Value(s=b"domain")),
        Param(UINT, b"id", Value(i=1)), Param(UINT, b"pid", Value(i=pid)),
        Param(CSTRING, b"uri", Value(s=b"qemu:///system")))
    params[0].value.uuid[:] = uuid.UUID(guest).bytes
    return params


def main(config, verb, pid, guest, *resources):
    libvirt = ctypes.CDLL("libvirt.so.0", mode=ctypes.RTLD_GLOBAL)
    libvirt.virGetLastErrorMessage.restype = ctypes.c_char_p
    driver = Driver.in_dll(ctypes.CDLL(LOCKD_SO), "virLockDriverImpl")
    manager = Manager(ctypes.addressof(driver))

    def check(status):
        if status < 0:
            sys.exit(libvirt.virGetLastErrorMessage().decode())

    check(libvirt.virInitialize())
    check(driver.init(VERSION, os.fsencode(config), 0))
    check(driver.new(manager, TYPE_DOMAIN, 5, describe(int(pid), guest), 0))
    for resource in resources:
        path, _, mode = resource.partition(",")
        check(driver.add_resource(manager, TYPE_DISK, os.fsencode(path), 0,
                                  None, MODES[mode]))
    if verb == "acquire":
        check(driver.acquire(manager, None, 0, 0, None))
    else:
        check(driver.release(manager, None, 0))
    driver.free(manager)


if __name__ == "__main__":
    main(*sys.argv[1:])
