package main

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadCounters(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{
		"exits":                          "999\n", // of all machines
		"17-12/exits":                    "1\n",
		"4711-9/exits":                   "14292\n",
		"4711-9/io_exits":                "337\n",
		"4711-9/halt_wait_hist":          "0 1 2\n",
		"4711-9/vcpu0/lapic_timer":       "3\n",
		"4711-9/mmu_page_header_caching": "",
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	idle := []string{filepath.Join(root, "17-12")}
	got, err := readCounters(root, idle)
	want := counters{"exits": 14292, "io_exits": 337}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("readCounters = %v, %v, want %v", got, err, want)
	}
	if got, err := readCounters(root, nil); err == nil {
		t.Errorf("readCounters of two machines = %v, want an error", got)
	}
	if got := want.minus(counters{"exits": 14000, "io_exits": 7}); !cmp.Equal(got, counters{"exits": 292, "io_exits": 330}) {
		t.Errorf("minus = %v", got)
	}
}

const smaps = `7f0000000000-7f0020000000 rw-s 00000000 00:01 1024 /memfd:guest (deleted)
Size:             524288 kB
Rss:               94208 kB
Pss:               94000 kB
Pss_Dirty:         94000 kB
Anonymous:             0 kB
c000000000-c004000000 rw-p 00000000 00:00 0
Size:             524288 kB
Rss:                3072 kB
Pss:                3072 kB
Anonymous:          3072 kB
00400000-00800000 r-xp 00000000 00:20 77 /usr/bin/monitor
Size:               4096 kB
Rss:                2000 kB
Pss:                1000 kB
Anonymous:            12 kB
`

func TestDivideMaps(t *testing.T) {
	ram, own, err := divideMaps(strings.NewReader(smaps), 256<<20)
	if want := int64(94000 << 10); err != nil || ram != want {
		t.Errorf("RAM = %d, %v, want %d", ram, err, want)
	}
	if want := int64(3084 << 10); own != want {
		t.Errorf("anonymous outside = %d, want %d", own, want)
	}
}

func TestKiBField(t *testing.T) {
	status := "Name:\tusui\nRssAnon:\t    4832 kB\nRssFile:\t 5000 kB\n"
	if got, err := kibField(status, "RssAnon"); err != nil || got != 4832<<10 {
		t.Errorf("kibField(RssAnon) = %d, %v, want %d", got, err, 4832<<10)
	}
	if got, err := kibField(status, "Rss"); err == nil {
		t.Errorf("kibField(Rss) = %d, want an error", got)
	}
}

func TestReadMemoryOfThisProcess(t *testing.T) {
	m, err := readMemory(os.Getpid())
	if err != nil || m.RssAnon <= 0 || m.PSS < m.RssAnon/2 || m.Own <= 0 || m.RAM != 0 {
		t.Errorf("readMemory = %+v, %v", m, err)
	}
}

const hist = `# event histogram
#
# trigger info: hist:keys=port,rw:vals=hitcount:sort=hitcount:size=4096 [active]
#

{ port:         98, rw:          0 } hitcount:          1
{ port:       1021, rw:          0 } hitcount:         74
{ port:       1016, rw:          1 } hitcount:         83

Totals:
    Hits: 158
    Entries: 3
    Dropped: 0
`

func TestParseHistogram(t *testing.T) {
	ports := histograms()[1]
	got, err := ports.parse(strings.NewReader(hist))
	want := []hit{{"write 0x3f8", 83}, {"read 0x3fd", 74}, {"read 0x62", 1}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("parse = %v, %v, want %v", got, err, want)
	}
	if got, err := ports.parse(strings.NewReader("{ port: x, rw: 0 } hitcount: 1\n")); err == nil {
		t.Errorf("parse of nonsense = %v, want an error", got)
	}
}

func TestSVMExits(t *testing.T) {
	for code, want := range map[uint64]string{0x14: "write CR4", 0x4e: "exception 14", 0x7b: "I/O port", 0x400: "nested page fault", 0x403: "code 0x403"} {
		if got := svmExit(code); got != want {
			t.Errorf("svmExit(%#x) = %q, want %q", code, got, want)
		}
	}
}

func TestKernelLog(t *testing.T) {
	var k kernelLog
	for _, r := range []string{
		"5,0,0,-;Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org)\n",
		"7,400,2000000,-;calling  cmos_init+0x0/0x7e @ 1\n",
		"7,401,2010000,-;initcall cmos_init+0x0/0x7e returned -19 after 9847800 usecs\n",
		"7,402,2020000,-;initcall inet_init+0x0/0x36b returned 0 after 366 usecs\n SUBSYSTEM=x\n",
		"6,403,8374900,-;Run /peerbench as init process\n",
		"12,404,8400000,-;" + initRuns,
		"6,405,9000000,-;Linux version again\n",
		"nonsense",
		"1,2;3",
		"a,b,c;d",
	} {
		k.add(r)
	}
	k.finish()
	want := kernelLog{
		End:        8400 * time.Millisecond,
		Milestones: []milestone{{"kernel entered", 0}, {"init called", 8374900 * time.Microsecond}, {"init runs", 8400 * time.Millisecond}},
		Initcalls:  []initcall{{"cmos_init", 9847800 * time.Microsecond}, {"inet_init", 366 * time.Microsecond}},
		CallsTotal: 9848166 * time.Microsecond,
	}
	if diff := cmp.Diff(want, k); diff != "" {
		t.Error(diff)
	}
}

func FuzzKernelLog(f *testing.F) {
	f.Add("7,401,2010000,-;initcall cmos_init+0x0/0x7e returned -19 after 9847800 usecs\n")
	f.Add("6,403,8374900,-;Run /init as init process\n")
	f.Fuzz(func(t *testing.T, text string) {
		var k kernelLog
		k.add(text)
		k.add(text)
		k.finish()
		if len(k.Milestones) > len(milestones) || len(k.Initcalls) > longestCalls {
			t.Errorf("%d milestones, %d initcalls", len(k.Milestones), len(k.Initcalls))
		}
	})
}

func TestSerialOfEvents(t *testing.T) {
	events := `{"event":"boot","atNs":1,"boot":{"monitorNs":50,"imageNs":700}}
{"event":"output","stream":"serial","text":"peer"}
{"event":"output","stream":"stderr","text":"not this"}
{"event":"output","stream":"serial","text":"bench: up\r\nmore"}
`
	var start *startPhases
	r := bufio.NewReader(serialOfEvents(strings.NewReader(events), time.Now(), &start))
	if got, err := r.ReadString('\n'); err != nil || got != "peerbench: up\r\n" {
		t.Errorf("first line = %q, %v", got, err)
	}
	if start == nil || start.Monitor != 50 || start.Image != 700 || start.Entered <= 0 {
		t.Errorf("start = %+v", start)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "more" {
		t.Errorf("rest = %q, %v", rest, err)
	}
}
