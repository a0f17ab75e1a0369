package tinyguest_test

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"usui/host/need"
	"usui/machine/tinyguest"
)

// The modules that are loaded say which kind of KVM this is; the measurement must find out by itself.
func TestRing0SpeedTellsSoftwareFromHardware(t *testing.T) {
	need.KVM(t)
	got, err := tinyguest.Ring0Speed("/dev/kvm")
	if err != nil {
		t.Fatal(err)
	}
	software := runtime.GOARCH == "amd64" // arm64 has no other than the hardware's
	for _, module := range []string{"kvm_intel", "kvm_amd"} {
		if _, err := os.Stat("/sys/module/" + module); err == nil {
			software = false
		}
	}
	if (got > tinyguest.SoftwareThreshold) != software {
		t.Errorf("Ring0Speed() = %v an instruction, threshold %v; software KVM: %t", got, tinyguest.SoftwareThreshold, software)
	}
}

func TestRing0SpeedWithoutKVM(t *testing.T) {
	if _, err := tinyguest.Ring0Speed("/nonexistent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Ring0Speed(/nonexistent) error = %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := tinyguest.Ring0Speed(os.DevNull); err == nil {
		t.Error("Ring0Speed(/dev/null) succeeded")
	}
}
