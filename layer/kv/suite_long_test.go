//go:build long

package kv

import (
	"bufio"
	_ "embed"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"usui/host/need"
)

// suiteUnits are the parts of Redis' own tests that are about what this store has.
var suiteUnits = []string{
	"unit/type/string", "unit/type/incr", "unit/keyspace", "unit/expire", "unit/type/hash", "unit/type/list",
	"unit/type/list-3", "unit/type/set", "unit/type/zset", "unit/sort", "unit/multi", "unit/scan", "unit/pubsub", "unit/protocol",
}

// suiteExceptions are tests that Redis passes and this store cannot: a unit, a test's name and the reason in each line, separated by tabs.
//
//go:embed testdata/suite-exceptions
var suiteExceptions string

// outcome is what one of Redis' tests came to; its values are the words of the suite.
type outcome string

const (
	passed outcome = "ok"
	failed outcome = "err"
)

// TestLongRedisSuite runs the tests of Redis 7.0, from the folder "redis" of USUI_SUITES, against Redis and against this store. What Redis
// passes has to pass here, but for the exceptions, which are skipped: one that fails leaves clients behind that disturb those after it.
func TestLongRedisSuite(t *testing.T) {
	tclsh := need.Tool(t, "tclsh", "tcl")
	suite := need.Suite(t, "redis")
	excepted := map[string][]string{}
	for line := range strings.Lines(suiteExceptions) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			t.Fatalf("testdata/suite-exceptions has the line %q; want unit, test and reason", line)
		}
		excepted[fields[0]] = append(excepted[fields[0]], fields[1])
	}
	theirs, ours := redis(t), startMeasured(t).address
	for _, unit := range suiteUnits {
		t.Run(strings.TrimPrefix(unit, "unit/"), func(t *testing.T) {
			want := runSuite(t, tclsh, suite, unit, theirs, nil)
			got := runSuite(t, tclsh, suite, unit, ours, excepted[unit])
			count := func(m map[string]outcome) (n int) {
				for _, o := range m {
					if o == passed {
						n++
					}
				}
				return n
			}
			if count(want) == 0 {
				t.Fatal("Redis passes none")
			}
			t.Attr("passed", fmt.Sprintf("%d, Redis %d, exceptions %d", count(got), count(want), len(excepted[unit])))
			for _, name := range slices.Sorted(maps.Keys(want)) {
				switch {
				case want[name] != passed || slices.Contains(excepted[unit], name):
				case got[name] == "":
					t.Errorf("%q did not run", name)
				case got[name] != passed:
					t.Errorf("%q: %s", name, got[name])
				}
			}
		})
	}
}

var suiteLine = regexp.MustCompile(`^\[(ok|err|exception)\]: (.*?)( \(\d+ ms\)| in tests/\S+\.tcl)?$`)

// runSuite runs one unit but for some tests, and returns what its tests came to, by name. A test whose name comes twice has failed if one of them did.
func runSuite(t *testing.T, tclsh, suite, unit, address string, skip []string) map[string]outcome {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), tclsh, "tests/test_helper.tcl", "--host", host, "--port", port, "--single", unit, "--singledb", "--durable",
		"--ignore-encoding", "--ignore-digest", "--clients", "1", "--timeout", "300", "--tags", "-needs:debug -needs:repl -needs:save -needs:reset -slow -large-memory -cluster -scripting")
	for _, name := range skip {
		c.Args = append(c.Args, "--skiptest", name)
	}
	c.Dir = suite
	c.Env = append(os.Environ(), "TERM=dumb")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]outcome{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20) // an error may show a whole value
	for lines.Scan() {
		m := suiteLine.FindStringSubmatch(plainText(lines.Text()))
		if m == nil {
			continue
		}
		name := m[2]
		if o := outcome(m[1]); o != passed || outcomes[name] == "" {
			outcomes[name] = o
		}
		if m[1] != string(passed) {
			t.Logf("%s: %s", address, lines.Text()[:min(len(lines.Text()), 400)])
		}
	}
	_ = c.Wait() // it fails when a test does
	return outcomes
}

var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// plainText takes the colours away.
func plainText(s string) string { return colour.ReplaceAllString(s, "") }
