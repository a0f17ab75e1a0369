"""Does the commands of its standard input, as sftp(1) calls them, by NFS: nfs.py URL. The first error ends it."""
import ctypes
import ctypes.util
import os
import sys

libnfs = ctypes.CDLL(ctypes.util.find_library("nfs"))
libnfs.nfs_init_context.restype = ctypes.c_void_p
libnfs.nfs_parse_url_full.restype = ctypes.c_void_p
libnfs.nfs_get_error.restype = ctypes.c_char_p
nfs = ctypes.c_void_p(libnfs.nfs_init_context())


class URL(ctypes.Structure):
    _fields_ = [("server", ctypes.c_char_p), ("path", ctypes.c_char_p), ("file", ctypes.c_char_p)]


def call(name, *args):
    n = getattr(libnfs, name)(nfs, *args)
    if n < 0:
        raise OSError(-n, "%s: %s" % (name, libnfs.nfs_get_error(nfs).decode()))
    return n


def opened(path, flags):
    fh = ctypes.c_void_p()
    call("nfs_open2", path, flags, 0o644, ctypes.byref(fh))
    return fh


def get(path, local):
    fh = opened(path, os.O_RDONLY)
    room = ctypes.create_string_buffer(1 << 16)
    with open(local, "wb") as f:
        while n := call("nfs_read", fh, ctypes.c_uint64(len(room)), room):
            f.write(room.raw[:n])
    call("nfs_close", fh)


def put(local, path):
    with open(local, "rb") as f:
        content = f.read()
    try:
        fh = opened(path, os.O_WRONLY | os.O_TRUNC)
    except FileNotFoundError:  # libnfs does not open with O_CREAT what is there
        fh = opened(path, os.O_WRONLY | os.O_CREAT)
    while content:
        content = content[call("nfs_write", fh, ctypes.c_uint64(len(content)), content):]
    call("nfs_fsync", fh)
    call("nfs_close", fh)


commands = {
    "get": get,
    "put": put,
    "rename": lambda *paths: call("nfs_rename", *paths),
    "rm": lambda path: call("nfs_unlink", path),
    "mkdir": lambda path: call("nfs_mkdir", path),
}
libnfs.nfs_parse_url_dir.restype = ctypes.POINTER(URL)
url = libnfs.nfs_parse_url_dir(nfs, sys.argv[1].encode())
if not url:
    sys.exit(libnfs.nfs_get_error(nfs).decode())
call("nfs_mount", url.contents.server, url.contents.path)
for line in sys.stdin:
    name, *args = line.split()
    try:
        commands[name](*(a.encode() for a in args))
    except OSError as e:
        sys.exit("%s: %s" % (line.strip(), e))
