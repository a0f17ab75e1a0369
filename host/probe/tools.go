package probe

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
)

// tools are the programs that usui or its tests start, with the Debian package that has them.
var tools = [...]struct {
	name, pkg string
	static    bool // it runs where there are no libraries
}{
	{"qemu-system-x86_64", "qemu-system-x86", false},  // the lab
	{"qemu-system-aarch64", "qemu-system-arm", false}, // the arm64 lab
	{"busybox", "busybox-static", true},               // user space of the default guest
	{"depmod", "kmod", false},                         // modules of the lab and the default guest
	{"virtiofsd", "qemu-system-common", false},        // shared folders; Debian 13 has it in a package of its own
	{"apt-get", "apt", false},                         // fetches kernel packages
	{"dpkg-deb", "dpkg", false},                       // unpacks them
	{"mkfs.ext4", "e2fsprogs", false},                 // tests: disks that guests write
	{"e2fsck", "e2fsprogs", false},                    // tests: likewise
	{"lspci", "pciutils", false},                      // tests: what a lab shows
	{"redis-server", "redis-server", false},           // tests: the peer of usui kv
	{"redis-cli", "redis-tools", false},               // tests: likewise
	{"redis-benchmark", "redis-tools", false},         // tests: likewise
	{"iasl", "acpica-tools", false},                   // tests: the ACPI tables
	{"objdump", "binutils", false},                    // tests: the lengths of instructions
	{"ganesha.nfsd", "nfs-ganesha", false},            // tests: likewise
	{"nfs-ls", "libnfs-utils", false},                 // tests: brings the library of its client
	{"python3", "python3", false},                     // tests: calls that
	{"sshfs", "sshfs", false},                         // tests: a source of usui fsmove
	{"mkfs.xfs", "xfsprogs", false},                   // tests: a destination of usui fsmove
	{"smbd", "samba", false},                          // tests: exports what usui fsmove moves
	{"smbclient", "smbclient", false},                 // tests: its client
	{"sftp", "openssh-client", false},                 // tests: likewise
	{"sftp-server", "openssh-sftp-server", false},     // tests: its server
	{"nginx", "nginx-light", false},                   // tests: likewise
	{"ROPgadget", "python3-ropgadget", false},         // tests: what is found in machine code
}

// Tools returns one fact, "tool:NAME", for each program that usui or its tests start.
func Tools() []Fact {
	facts := make([]Fact, 0, len(tools))
	for _, t := range tools {
		f := Tool(t.name, t.pkg)
		if f.OK && t.static && !static(f.Detail) {
			f.OK, f.Detail, f.Remedy = false, f.Detail+" needs libraries, which a guest lacks", "apt-get install "+t.pkg
		}
		facts = append(facts, f)
	}
	return facts
}

// Tool is the fact that a program can be started; pkg is the Debian package that has it.
func Tool(name, pkg string) Fact {
	f := Fact{Name: "tool:" + name, How: "looked for in PATH and the system's folders"}
	if path := find(name, append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin", "/usr/bin", "/bin",
		"/usr/libexec", "/usr/lib", "/usr/lib/qemu", "/usr/lib/openssh")); path != "" {
		f.OK, f.Detail = true, path
		return f
	}
	f.Detail, f.Remedy = name+" is not installed", "apt-get install "+pkg
	return f
}

// find returns the first executable file of that name in the folders.
func find(name string, folders []string) string {
	for _, dir := range folders {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// static says that an ELF program asks for no interpreter, and so for no shared library.
func static(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}
