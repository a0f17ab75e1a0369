package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// memory is what a monitor takes, in bytes.
type memory struct {
	RssAnon int64 `json:"rssAnonBytes"` // of /proc/PID/status; QEMU's holds its guest's RAM
	PSS     int64 `json:"pssBytes"`     // of /proc/PID/smaps_rollup
	RAM     int64 `json:"ramPssBytes"`  // PSS of the mappings that are the guest's RAM
	Own     int64 `json:"ownAnonBytes"` // anonymous memory outside of them
}

// readMemory looks at a process.
func readMemory(pid int) (memory, error) {
	var m memory
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	if m.RssAnon, err = kibField(string(status), "RssAnon"); err != nil {
		return m, err
	}
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	if m.PSS, err = kibField(string(rollup), "Pss"); err != nil {
		return m, err
	}
	maps, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return m, err
	}
	defer maps.Close()
	m.RAM, m.Own, err = divideMaps(maps, guestMemoryMiB<<20/2)
	return m, err
}

// kibField returns the value of the line "NAME: n kB" in bytes.
func kibField(text, name string) (int64, error) {
	for l := range strings.Lines(text) {
		if n, ok := parseKiB(l, name); ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no line %q", name+": NUMBER kB")
}

func parseKiB(l, name string) (int64, bool) {
	rest, found := strings.CutPrefix(l, name+":")
	if !found {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
	return n << 10, err == nil
}

// divideMaps reads an smaps file and returns the PSS of mappings of at least ramBytes that are in use, which are the guest's RAM,
// and the anonymous memory of all others. Go's runtime reserves large mappings, too, and uses little of them.
func divideMaps(smaps io.Reader, ramBytes int64) (ram, own int64, err error) {
	in := bufio.NewScanner(smaps)
	var size, rss, pss int64
	for in.Scan() {
		l := in.Text()
		if n, ok := parseKiB(l, "Size"); ok {
			size, rss, pss = n, 0, 0
		} else if n, ok := parseKiB(l, "Rss"); ok {
			rss = n
		} else if n, ok := parseKiB(l, "Pss"); ok {
			pss = n
		} else if n, ok := parseKiB(l, "Anonymous"); ok {
			if size >= ramBytes && rss >= ramBytes/16 {
				ram += pss
			} else {
				own += n
			}
		}
	}
	return ram, own, in.Err()
}
