package kvm_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/machine/kvm"
)

// kvmFiles returns the process's open descriptors that belong to KVM.
func kvmFiles(t *testing.T) (open []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(target, "kvm") {
			open = append(open, target)
		}
	}
	return open
}

func TestCloseLeavesNoDescriptor(t *testing.T) {
	need.KVM(t)
	before := len(kvmFiles(t))
	for range 3 {
		s, err := kvm.Open("/dev/kvm")
		if err != nil {
			t.Fatal(err)
		}
		vm, err := s.NewVM()
		if err != nil {
			t.Fatal(err)
		}
		var cpus []*kvm.VCPU
		for id := range 4 {
			v, err := vm.NewVCPU(id)
			if err != nil {
				t.Fatal(err)
			}
			cpus = append(cpus, v)
		}
		if _, err := vm.NewVCPU(0); err == nil {
			t.Error("a second vCPU 0 was made")
		}
		if fd, err := vm.CreateVCPU(4); err != nil || unix.Close(fd) != nil {
			t.Errorf("CreateVCPU() = %d, %v", fd, err)
		}
		if _, err := vm.Stats(); err != nil {
			t.Error(err)
		}
		if len(kvmFiles(t)) <= before+5 {
			t.Fatalf("open are %v: the test does not see all", kvmFiles(t))
		}
		if err := errors.Join(cpus[2].Close(), s.Close(), vm.Close(), vm.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		if _, err := cpus[0].MPState(); err == nil {
			t.Error("a vCPU outlived its machine")
		}
		if _, err := vm.NewVCPU(7); err == nil {
			t.Error("a closed machine made a vCPU")
		}
	}
	if after := kvmFiles(t); len(after) != before {
		t.Errorf("%d descriptors before, after Close %v", before, after)
	}
}

func TestDescriptorsCloseOnExec(t *testing.T) {
	need.KVM(t)
	s, err := kvm.Open("/dev/kvm")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	vm, err := s.NewVM()
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	if _, err := vm.NewVCPU(0); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, e := range entries {
		target, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if !strings.Contains(target, "kvm") {
			continue
		}
		flags, err := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		checked++
		if _, line, _ := strings.Cut(string(flags), "flags:\t"); !strings.HasPrefix(line, "02") { // O_CLOEXEC is 02000000
			t.Errorf("%s stays open on exec: flags %.9s", target, line)
		}
	}
	if checked < 4 { // /dev/kvm, machine, vCPU, statistics
		t.Errorf("%d descriptors seen, want 4", checked)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := kvm.Open("/nonexistent/kvm"); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, new(*fs.PathError)) {
		t.Errorf("Open of nothing: %v, want an *fs.PathError", err)
	}
	if _, err := kvm.Open(os.DevNull); err == nil || !strings.HasPrefix(err.Error(), "/dev/null: KVM_GET_API_VERSION: ") {
		t.Errorf("Open(/dev/null): %v", err)
	}
}
