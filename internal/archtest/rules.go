package archtest

import "strings"

// module is the path that go.mod gives this repository.
const module = "usui"

// mayImport says which strata the packages of a stratum may import. A layer may also import what lies in its
// own folder, and never another layer.
var mayImport = map[string][]string{
	"cmd":      {"layer", "machine", "host", "internal"},
	"layer":    {"machine", "host", "internal"},
	"machine":  {"machine", "host", "internal"},
	"host":     {"host", "internal"},
	"internal": {"internal"},
}

// place says which files may import something: any file below one of the folders, or a file whose name
// ends in one of the suffixes, in any folder. The zero place is nowhere.
type place struct{ folders, suffixes []string }

func (p place) allows(file string) bool {
	for _, f := range p.folders {
		if strings.HasPrefix(file, f+"/") {
			return true
		}
	}
	for _, s := range p.suffixes {
		if strings.HasSuffix(file, s) {
			return true
		}
	}
	return false
}

// owners are the outside modules with the folders that may import them. RATIONALE.md has a line on each.
var owners = map[string]place{
	"github.com/cilium/ebpf":            {folders: []string{"host/xdp"}},
	"github.com/cockroachdb/pebble/v2":  {folders: []string{"layer/fsmove/journal"}},
	"github.com/hanwen/go-fuse/v2":      {folders: []string{"layer/fsmove/front"}},
	"github.com/dchest/siphash":         {folders: []string{"layer/kv/engine"}},
	"github.com/google/go-cmp":          testFiles,
	"github.com/klauspost/compress":     {folders: []string{"machine/boot", "internal/initrd"}},
	"github.com/pierrec/lz4/v4":         {folders: []string{"machine/boot"}},
	"github.com/redis/go-redis/v9":      testFiles,
	"github.com/rogpeppe/go-internal":   testFiles,
	"github.com/anishathalye/porcupine": testFiles,
	"github.com/spf13/cobra":            {folders: []string{"internal/cli"}},
	"github.com/spf13/pflag":            {folders: []string{"internal/cli"}},
	"github.com/tetratelabs/wazero":     {folders: []string{"layer/blind", "cmd/usui-blind"}},
	"github.com/ulikunitz/xz":           {folders: []string{"machine/boot", "internal/initrd"}},
	"golang.org/x/arch":                 testFiles,
	"golang.org/x/sys":                  {folders: []string{"machine", "host", "internal", "cmd"}, suffixes: []string{"_linux.go", "_linux_test.go", "_darwin.go"}},
	"golang.org/x/term":                 {folders: []string{"cmd/usui"}},
	"golang.org/x/text":                 {folders: []string{"layer/fsmove/survey"}},
	"gvisor.dev/gvisor":                 {folders: []string{"host/netstack"}, suffixes: []string{"host/tcp/gvisor_test.go"}},
	"honnef.co/go/tools":                {}, // a tool: run, never imported
}

// knownTo are packages of the standard library or of ours that only some files may import.
var knownTo = map[string]struct {
	place    place
	programs bool // packages main may, too
}{
	"usui/internal/cli":  {place{folders: []string{"cmd", "internal/cli"}, suffixes: []string{"/command.go"}}, false},
	"usui/host/netstack": {place{folders: []string{"cmd/usui-net", "host/netstack"}}, false}, // large, and reads what guests send: a process of its own
	"unsafe":             {unsafeFiles, false},
	"C":                  {place{}, false}, // products are static and built without cgo
	"log":                {place{}, true},  // libraries: log/slog, by a Logger in a Config
}

// forbiddenCalls are functions that only some files may mention.
var forbiddenCalls = map[string]struct {
	place    place
	programs bool // packages main may, too
	why      string
}{
	"unix.Syscall":              {unsafeFiles, false, rawCall},
	"unix.Syscall6":             {unsafeFiles, false, rawCall},
	"unix.RawSyscall":           {unsafeFiles, false, rawCall},
	"unix.RawSyscall6":          {unsafeFiles, false, rawCall},
	"unix.SyscallNoError":       {unsafeFiles, false, rawCall},
	"unix.RawSyscallNoError":    {unsafeFiles, false, rawCall},
	"syscall.Syscall":           {unsafeFiles, false, rawCall},
	"syscall.Syscall6":          {unsafeFiles, false, rawCall},
	"syscall.RawSyscall":        {unsafeFiles, false, rawCall},
	"syscall.RawSyscall6":       {unsafeFiles, false, rawCall},
	"syscall.AllThreadsSyscall": {unsafeFiles, false, rawCall},
	"os.Exit":                   {testFiles, true, "a library returns its errors; main decides"},
	"slog.Default":              {place{}, false, globalLog},
	"slog.SetDefault":           {place{}, false, globalLog},
	"slog.Debug":                {place{}, false, globalLog},
	"slog.Info":                 {place{}, false, globalLog},
	"slog.Warn":                 {place{}, false, globalLog},
	"slog.Error":                {place{}, false, globalLog},
}

var (
	unsafeFiles = place{suffixes: []string{"_unsafe.go", "_unsafe_test.go"}}
	testFiles   = place{suffixes: []string{"_test.go"}}
)

const (
	rawCall   = "raw system calls live in files named *_unsafe.go"
	globalLog = "a *slog.Logger comes in a Config; there is no package-level logging"
)

// sections are the headings that a library's package comment has.
var sections = []string{"# Place", "# Idea", "# Invariants", "# Limits"}

// emptyNames are package names that say nothing.
var emptyNames = []string{"api", "base", "common", "data", "helper", "helpers", "info", "manager", "misc", "shared", "types", "util", "utils"}
