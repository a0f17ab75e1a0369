package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"usui/host/usernet"
	"usui/internal/lab"
	"usui/internal/pid1/wire"
	"usui/machine/virtio/net"
)

func TestParseNetUser(t *testing.T) {
	for _, text := range []string{"user", "user,restrict", "user,subnet=192.168.7.0/24,mtu=9000,noloopback", "user,mac=02:00:00:00:00:0a,queues=2", "user,restrict,queues=2,rx-bw=1M,tx-pps=8"} {
		got, err := parseNet(text)
		if err != nil || got.kind != "user" || got.user == nil || got.String() != text {
			t.Errorf("parseNet(%q) = %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"user=", "user,", "user,mtu=1", "user,mac=x", "user,queues=0", "user,mtu=1500,mtu=1500", "user,restrict,restrict"} {
		if got, err := parseNet(text); err == nil {
			t.Errorf("parseNet(%q) = %+v, want an error", text, got)
		}
	}
}

// TestUserNetworkInALab goes on inside, with its ports, and says what that means.
func TestUserNetworkInALab(t *testing.T) {
	card, err := parseNet("user,noloopback")
	if err != nil {
		t.Fatal(err)
	}
	port, err := usernet.ParsePublish("8080:80")
	if err != nil {
		t.Fatal(err)
	}
	p := netPart{list: []netCard{card}, publish: []usernet.Publish{port}}
	if got, want := p.argv(), []string{"--net", "user,noloopback", "--publish", "127.0.0.1:8080:80"}; !slices.Equal(got, want) {
		t.Errorf("argv() = %q, want %q", got, want)
	}
	var said bytes.Buffer
	if err := p.prepareLab(&lab.Config{Progress: &said}); err != nil || strings.Count(said.String(), "\n") != 1 || !strings.Contains(said.String(), "inside the lab") {
		t.Errorf("prepareLab = %v, said %q, want a line on the lab", err, &said)
	}
}

func TestGuestSteps(t *testing.T) {
	cfg := usernet.Default()
	want := []wire.Step{wire.Net("02:00:00:00:00:01", "10.0.2.15/24", "10.0.2.2"), wire.Write("/etc/resolv.conf", "nameserver 10.0.2.3\n")}
	if diff := cmp.Diff(want, guestSteps(cfg, "02:00:00:00:00:01")); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	cfg.Restrict = true
	if got := guestSteps(cfg, "02:00:00:00:00:01")[0]; got.Options != "" {
		t.Errorf("a restricted guest has the gateway %q", got.Options)
	}
}

// TestUserBackendTellsOffloads is read by the process at the other end.
func TestUserBackendTellsOffloads(t *testing.T) {
	for features, want := range map[uint64]usernet.Offload{
		0: 0, net.FeatureGuestCsum: usernet.OffloadChecksum,
		net.FeatureGuestCsum | net.FeatureGuestTSO4 | net.FeatureCsum: usernet.OffloadChecksum | usernet.OffloadTSO4,
	} {
		ours, theirs := seqpacket(t)
		u := userBackend{&usernet.Process{Frames: []int{ours}}}
		if err := u.Use(features, 2); err != nil {
			t.Fatal(err)
		}
		if got, ok := usernet.ParseDriver(receive(t, theirs)); !ok || got.Offload != want || got.Pairs != 2 {
			t.Errorf("features %#x: %+v, %v, want offloads %#x and 2 pairs", features, got, ok, want)
		}
	}
}

// seqpacket is a pair of sockets like those of a card.
func seqpacket(t *testing.T) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	return fds[0], fds[1]
}

// receive reads what is there.
func receive(t *testing.T, fd int) []byte {
	t.Helper()
	p := make([]byte, 256)
	n, err := unix.Read(fd, p)
	if err != nil {
		t.Fatal(err)
	}
	return p[:n]
}
