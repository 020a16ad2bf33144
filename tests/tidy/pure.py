#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pure layers call nothing that could see or change the outside world.

`pure.py ARCHIVE…` lists each symbol that an archive needs and that is neither
its own nor on the list below: no system call, clock, thread or output.
`pure.py --self-test COMPILER…` plants such calls and must catch them.
"""

import os
import re
import subprocess
import sys
import tempfile

ALLOWED = {
    # memory and strings
    "calloc", "free", "malloc", "realloc", "reallocarray",
    "memchr", "memcmp", "memcpy", "memmove", "memset", "qsort",
    "strcasecmp", "strchr", "strcmp", "strcspn", "strlen", "strncasecmp",
    "strncmp", "strnlen", "strspn", "strstr",
    "inet_pton",
    # core/base, as far as it is pure; bug_report() is the assertion
    "bug_report", "sm_init", "sm_may", "sm_move", "sm_name",
    "uuid_format", "uuid_parse",
    # what the compiler adds
    "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail",
}
ADDED = re.compile(r"__(asan|ubsan|tsan|msan|lsan|sanitizer|gcov|llvm)_")
CHECKED = re.compile(r"__(\w+)_chk")  # _FORTIFY_SOURCE


def symbols(archive):
    """Two sets: what the archive defines, and what it needs."""
    out = subprocess.run([os.environ.get("NM", "nm"), "-P", archive],
                         stdout=subprocess.PIPE, check=True, text=True).stdout
    defined, needed = set(), set()
    for line in out.splitlines():
        words = line.split()
        if len(words) < 2 or line.endswith(":"):
            continue
        (needed if words[1] in "Uvw" else defined).add(words[0])
    return defined, needed


def pure(symbol):
    match = CHECKED.fullmatch(symbol)
    return (symbol in ALLOWED or bool(ADDED.match(symbol))
            or bool(match and match.group(1) in ALLOWED))


def check(archive):
    defined, needed = symbols(archive)
    if not defined:
        yield "%s: no symbols in it" % archive
    for symbol in sorted(needed - defined):
        if not pure(symbol):
            yield "%s: needs %s" % (archive, symbol)


PLANTS = {
    "time": "#include <time.h>\nlong f(void) { return time(0); }",
    "fcntl": "#include <fcntl.h>\nint f(int d) { return fcntl(d, 1); }",
    "printf": "#include <stdio.h>\n"
              "int f(int d) { return printf(\"%d %d\", d, d); }",
    "pthread_mutex_lock": "#include <pthread.h>\n"
                          "int f(pthread_mutex_t *m)"
                          " { return pthread_mutex_lock(m); }",
    "errno": "#include <errno.h>\nint f(void) { return errno; }",
    "getenv": "#include <stdlib.h>\nchar *f(void) { return getenv(\"A\"); }",
    "uuid_generate": "int uuid_generate(void *u);\n"
                     "int f(void *u) { return uuid_generate(u); }",
    None: "#include <stdlib.h>\n#include <string.h>\n"
          "static void *g(size_t n) { return calloc(n, n); }\n"
          "void *f(void *a, const char *b)"
          " { free(a); return memcpy(g(9), b, strlen(b)); }",
}


def plant(compiler, source):
    with tempfile.TemporaryDirectory(prefix="glk-tidy.") as folder:
        name = os.path.join(folder, "plant")
        with open(name + ".c", "w", encoding="ascii") as f:
            f.write(source)
        subprocess.run(compiler + ["-c", "-o", name + ".o", name + ".c"],
                       check=True)
        return [p.rpartition(" ")[2] for p in check(name + ".o")]


def self_test(compiler):
    failed = 0
    for symbol, source in PLANTS.items():
        found = plant(compiler, source)
        wanted = {"errno": "__errno_location"}.get(symbol, symbol)
        if found != ([wanted] if wanted else []):
            failed += 1
            print("planted %s, caught %s" % (wanted, found))
    print("%d of %d plants judged well" % (len(PLANTS) - failed, len(PLANTS)))
    return 1 if failed else 0


def main():
    if sys.argv[1:2] == ["--self-test"]:
        sys.exit(self_test(sys.argv[2:]))
    if len(sys.argv) < 2:
        sys.exit("usage: %s ARCHIVE… | --self-test COMPILER…" % sys.argv[0])
    problems = [p for archive in sys.argv[1:] for p in check(archive)]
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
