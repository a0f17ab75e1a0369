// Folders is a program that does to the first folder it is given what a program may do, or tries to leave it: "folders works" and
// "folders escapes". It prints one line for each step.
package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "escapes" {
		escapes()
		return
	}
	works()
}

func say(what string, err error) {
	if err != nil {
		fmt.Printf("%s: %v\n", what, err)
		return
	}
	fmt.Println(what + ": ok")
}

// works goes through os, as programs do.
func works() {
	say("mkdir", os.Mkdir("d", 0o755))
	say("write", os.WriteFile("d/f", []byte("hello"), 0o600))
	say("rename a file", os.Rename("d/f", "d/g"))
	say("rename a folder", os.Rename("d", "e"))
	say("mkdir again", os.Mkdir("d", 0o755))
	say("rename onto an empty folder", syscall.Rename("e", "d")) // os refuses it
	f, err := os.OpenFile("d/g", os.O_WRONLY|os.O_APPEND, 0)
	say("open to append", err)
	_, err = f.WriteString(", world")
	say("append", err)
	say("close", f.Close())
	say("truncate", os.Truncate("d/g", 9))
	say("link", os.Link("d/g", "d/h"))
	say("symlink", os.Symlink("g", "d/l"))
	text, err := os.Readlink("d/l")
	say("readlink "+text, err)
	content, err := os.ReadFile("d/l")
	say("read through it "+string(content), err)
	at := time.Unix(1_000_000_000, 0)
	say("chtimes", os.Chtimes("d/g", time.Time{}, at))
	info, err := os.Stat("d/l")
	say(fmt.Sprintf("stat %d bytes of %d", info.Size(), info.ModTime().Unix()), err)
	info, err = os.Lstat("d/l")
	say(fmt.Sprintf("lstat %v", info.Mode().Type()), err)
	entries, err := os.ReadDir("d")
	say(fmt.Sprint("readdir ", entries), err)
	_, err = os.OpenFile("d/g", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	say("create what is there", err)
	say("unlink a folder", syscall.Unlink("d"))
	say("rmdir a file", syscall.Rmdir("d/g"))
	say("rmdir a full folder", syscall.Rmdir("d"))
	for _, name := range []string{"d/g", "d/h", "d/l", "d"} {
		say("remove "+name, os.Remove(name))
	}
	_, err = os.Stat("absent")
	say("stat what is not there", err)
}

// escapes makes the calls of WASI itself: os cleans paths. The folder's parent has "secret"; "up" is a link to it, "file" one to secret, and "root" one to /.
func escapes() {
	tryAll := func(how, prefix string) {
		_, errno := open(3, prefix+"secret", read)
		sayErrno(how+" open", errno)
		sayErrno(how+" stat", stat(prefix+"secret"))
		sayErrno(how+" create", second(open(3, prefix+"new", create)))
		sayErrno(how+" mkdir", onPath(mkdir, prefix+"newdir"))
		sayErrno(how+" unlink", onPath(unlink, prefix+"secret"))
		sayErrno(how+" rmdir", onPath(rmdir, prefix+"empty"))
		sayErrno(how+" rename out", rename("mine", prefix+"stolen"))
		sayErrno(how+" rename in", rename(prefix+"secret", "stolen"))
		sayErrno(how+" link in", link(prefix+"secret", "stolen"))
		sayErrno(how+" symlink", symlink("x", prefix+"newlink"))
		sayErrno(how+" times", times(prefix+"secret"))
		sayErrno(how+" readlink", readlink(prefix+"there"))
	}
	say("own file", os.WriteFile("mine", []byte("mine"), 0o600))
	tryAll("by ..", "../")
	tryAll("by a link that is there", "up/")
	sayErrno("by a link's slash readlink", readlink("up/"))
	sayErrno("by a link's slash stat", stat("up/"))
	sayErrno("by a link to a file open", second(open(3, "file", read)))
	sayErrno("by a link to a file write", second(open(3, "file", create)))
	sayErrno("by a link to a file stat", stat("file"))
	sayErrno("by a link to a file times", times("file"))
	sayErrno("by an absolute link open", second(open(3, "root/etc/passwd", read)))
	sayErrno("absolute link", symlink("/", "abs"))
	sayErrno("own link", symlink("..", "own"))
	tryAll("by an own link", "own/")
	sayErrno("own link to a link", symlink("own/own", "two"))
	tryAll("by two own links", "two/")

	// The folder of a descriptor is renamed, and a link takes its place.
	say("mkdir", os.Mkdir("a", 0o755))
	fd, errno := open(3, "a", read)
	sayErrno("open a folder", errno)
	say("rename it", os.Rename("a", "b"))
	sayErrno("a link in its place", symlink("..", "a"))
	sayErrno("by a descriptor open", second(open(fd, "secret", read)))
	sayErrno("by a descriptor and .. open", second(open(fd, "../secret", read)))
}

func second(_ int32, errno uint32) uint32 { return errno }

func sayErrno(what string, errno uint32) {
	if errno != 0 {
		say(what, syscall.Errno(errno))
		return
	}
	say(what, nil)
}

func data(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

// The rights of WASI's path_open that wazero looks at.
const (
	read   = 1 << 1
	create = 1 << 6 // to write, and the file is made
)

// open opens a file.
func open(fd int32, name string, rights uint64) (int32, uint32) {
	var got int32
	oflags := uint32(0)
	if rights == create {
		oflags = 1
	}
	p, n := data(name)
	errno := pathOpen(fd, 1, p, n, oflags, rights, 0, 0, unsafe.Pointer(&got))
	return got, errno
}

func stat(name string) uint32 {
	var buf [64]byte
	p, n := data(name)
	return pathFilestatGet(3, 1, p, n, unsafe.Pointer(&buf))
}

func times(name string) uint32 {
	p, n := data(name)
	return pathFilestatSetTimes(3, 1, p, n, 0, 0, 1|4)
}

func onPath(call func(int32, unsafe.Pointer, uint32) uint32, name string) uint32 {
	p, n := data(name)
	return call(3, p, n)
}

func mkdir(fd int32, p unsafe.Pointer, n uint32) uint32  { return pathCreateDirectory(fd, p, n) }
func unlink(fd int32, p unsafe.Pointer, n uint32) uint32 { return pathUnlinkFile(fd, p, n) }
func rmdir(fd int32, p unsafe.Pointer, n uint32) uint32  { return pathRemoveDirectory(fd, p, n) }

func rename(from, to string) uint32 {
	p, n := data(from)
	q, m := data(to)
	return pathRename(3, p, n, 3, q, m)
}

func link(from, to string) uint32 {
	p, n := data(from)
	q, m := data(to)
	return pathLink(3, 1, p, n, 3, q, m)
}

func symlink(text, name string) uint32 {
	p, n := data(text)
	q, m := data(name)
	return pathSymlink(p, n, 3, q, m)
}

func readlink(name string) uint32 {
	var buf [64]byte
	var used uint32
	p, n := data(name)
	return pathReadlink(3, p, n, unsafe.Pointer(&buf), uint32(len(buf)), unsafe.Pointer(&used))
}

//go:wasmimport wasi_snapshot_preview1 path_open
func pathOpen(fd int32, dirflags uint32, p unsafe.Pointer, n uint32, oflags uint32, rights, inheriting uint64, fdflags uint32, got unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 path_filestat_get
func pathFilestatGet(fd int32, flags uint32, p unsafe.Pointer, n uint32, buf unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 path_filestat_set_times
func pathFilestatSetTimes(fd int32, flags uint32, p unsafe.Pointer, n uint32, atim, mtim uint64, what uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_create_directory
func pathCreateDirectory(fd int32, p unsafe.Pointer, n uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_unlink_file
func pathUnlinkFile(fd int32, p unsafe.Pointer, n uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_remove_directory
func pathRemoveDirectory(fd int32, p unsafe.Pointer, n uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_rename
func pathRename(fd int32, p unsafe.Pointer, n uint32, newFD int32, q unsafe.Pointer, m uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_link
func pathLink(fd int32, flags uint32, p unsafe.Pointer, n uint32, newFD int32, q unsafe.Pointer, m uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_symlink
func pathSymlink(p unsafe.Pointer, n uint32, fd int32, q unsafe.Pointer, m uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_readlink
func pathReadlink(fd int32, p unsafe.Pointer, n uint32, buf unsafe.Pointer, size uint32, used unsafe.Pointer) uint32
