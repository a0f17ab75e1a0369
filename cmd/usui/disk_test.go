package main

import (
	"os"
	"path/filepath"
	"testing"

	"usui/internal/lab"
)

func TestParseMachineDisk(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "a,ro")
	if err := os.WriteFile(odd, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]disk{
		"d.img":                              {Disk: lab.Disk{Path: "d.img"}},
		"d.img,ro":                           {Disk: lab.Disk{Path: "d.img", ReadOnly: true}, options: ",ro"},
		"d.img,queues=2,iops=100,bw=1M":      {Disk: lab.Disk{Path: "d.img"}, options: ",queues=2,iops=100,bw=1M", queues: 2, iops: 100, bytes: 1 << 20},
		odd:                                  {Disk: lab.Disk{Path: odd}},
		odd + ",ro":                          {Disk: lab.Disk{Path: odd, ReadOnly: true}, options: ",ro"},
		filepath.Join(dir, "b") + ",bw=1,ro": {Disk: lab.Disk{Path: filepath.Join(dir, "b"), ReadOnly: true}, options: ",bw=1,ro", bytes: 1},
	} {
		if got, err := parseMachineDisk(text); err != nil || got != want {
			t.Errorf("parseMachineDisk(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", ",ro", "d,rw", "d,queues=0", "d,queues=x", "d,iops=0", "d,iops=-1", "d,bw=0", "d,bw=", "d,=", "d,"} {
		if got, err := parseMachineDisk(text); err == nil {
			t.Errorf("parseMachineDisk(%q) = %+v, want an error", text, got)
		}
	}
}

func TestNewLimit(t *testing.T) {
	if p, err := newLimit(10, 100); err != nil || p.Ops == nil || p.Bytes == nil {
		t.Errorf("newLimit(10, 100) = %+v, %v, want both", p, err)
	}
	if p, err := newLimit(0, 0); err != nil || p.Limited() {
		t.Errorf("newLimit(0, 0) = %+v, %v, want none", p, err)
	}
}
