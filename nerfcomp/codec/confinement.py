"""What a process on Linux takes away from itself before it decodes bytes of unknown origin.

Only the standard library: the decoding child imports this as a neighbouring file. Every step is taken where the kernel
offers it, and left out where it does not; none needs privileges. After `confine`, a process can compute, use memory
that it is granted, and read and write files that it has open. Anything else fails with EPERM.
"""

import ctypes
import os
import platform
import struct
import sys

_NO_NEW_PRIVILEGES, _DUMPABLE, _SECCOMP, _FILTER = 38, 4, 22, 2  # prctl(2)
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # seccomp(2): EPERM
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # of the packet filter
_CREATE_RULES, _OBEY_RULES = 444, 446  # landlock(7), the same numbers on all machines
_FILES, _PORTS, _SCOPES = ((1, 13), (2, 14), (3, 15), (5, 16)), (4, 2), (6, 2)  # (since which version, bits known)
_CALLS = {  # by machine: its audit number, then what stays allowed
    "x86_64": (
        0xC000003E,
        "read 0 write 1 close 3 fstat 5 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12 sigaction 13 sigprocmask 14 "
        "sigreturn 15 pread 17 pwrite 18 writev 20 yield 24 mremap 25 madvise 28 dup 32 getpid 39 exit 60 fcntl 72 "
        "ftruncate 77 sigaltstack 131 gettid 186 futex 202 restart 219 gettime 228 exit_group 231 fstatat 262 "
        "getrandom 318 rseq 334",
    ),
    "aarch64": (
        0xC00000B7,
        "dup 23 fcntl 25 ftruncate 46 close 57 lseek 62 read 63 write 64 writev 66 pread 67 pwrite 68 fstatat 79 "
        "fstat 80 exit 93 exit_group 94 futex 98 gettime 113 yield 124 restart 128 sigaltstack 132 sigaction 134 "
        "sigprocmask 135 sigreturn 139 getpid 172 gettid 178 brk 214 munmap 215 mremap 216 mmap 222 mprotect 226 "
        "madvise 233 getrandom 278 rseq 293",
    ),
}


def confine(keep: tuple[int, ...] = (0, 1, 2)) -> list[str]:
    """Give up, for good, all that decoding does not need.

    Args:
        keep: Open files that stay open.

    Returns:
        What has been given up: ``files``, ``memory`` (of other processes, and this one's for them), ``paths`` (every
        file by name, ports and signals, where the kernel knows them), ``calls``.
    """
    held: list[str] = []
    edges = sorted({-1, *keep, 2**16})
    for low, high in zip(edges, edges[1:]):
        if low + 1 < high:  # an empty range may mean all
            os.closerange(low + 1, high)
    held.append("files")
    if not sys.platform.startswith("linux"):
        return held
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_DUMPABLE, 0, 0, 0, 0) == 0:
        held.append("memory")
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        if _refuse_paths(library):
            held.append("paths")
        if _refuse_calls(library):
            held.append("calls")
    return held


def _refuse_paths(library: ctypes.CDLL) -> bool:
    """Let the kernel refuse every path, and what else its version of Landlock can refuse: no rule allows any."""
    version = int(library.syscall(_CREATE_RULES, None, ctypes.c_size_t(0), 1))
    if version < 1:
        return False
    files = max(bits for since, bits in _FILES if since <= version)
    others = [bits if version >= since else 0 for since, bits in (_PORTS, _SCOPES)]
    known = 8 * (1 + (version >= 4) + (version >= 6))  # bytes of the structure
    rules = struct.pack("@QQQ", *(2**bits - 1 for bits in (files, *others)))[:known]
    made = int(library.syscall(_CREATE_RULES, rules, ctypes.c_size_t(len(rules)), 0))
    if made < 0:
        return False
    refused = library.syscall(_OBEY_RULES, made, 0) == 0
    os.close(made)
    return bool(refused)


def _refuse_calls(library: ctypes.CDLL) -> bool:
    """Let the kernel refuse all system calls but a few."""
    known = _CALLS.get(platform.machine())
    if known is None or sys.maxsize < 2**32:
        return False
    audit, words = known
    numbers = [int(word) for word in words.split()[1::2]]
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, 0)]
    for place, number in enumerate(numbers):
        program.append((_EQUAL, len(numbers) - place, 0, number))
    program += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    packed = b"".join(struct.pack("<HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(buffer))
    return bool(library.prctl(_SECCOMP, _FILTER, ctypes.create_string_buffer(header, len(header)), 0, 0) == 0)
