//go:build long

package main_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"usui/host/need"
	"usui/internal/lab"
)

const longTransferBytes = 256 << 20

// TestLabLongNetTransfers moves 256 MiB over TCP each way through every kind of network card.
func TestLabLongNetTransfers(t *testing.T) {
	need.Lab(t, lab.KVM)
	host(t, "ip", "tuntap", "add", "dev", "long", "mode", "tap", "multi_queue")
	t.Cleanup(func() { exec.Command("ip", "link", "del", "long").Run() })
	host(t, "ip", "addr", "add", "10.6.0.1/24", "dev", "long")
	for name, tt := range map[string]struct{ net, address, script string }{
		"tap":   {"tap=long,queues=2", "10.6.0.1", ""},
		"vhost": {"tap=long,queues=2,vhost", "10.6.0.1", ""},
		"user":  {"user", "127.0.0.1", "10.0.2.2"},
	} {
		t.Run(name, func(t *testing.T) {
			up, down := upload(t, tt.address+":0"), downloadBytes(t, tt.address+":0", longTransferBytes)
			script := guestSide("10.6.0", up, down)
			if tt.script != "" {
				script = transfers(tt.script, up, down)
			}
			began := time.Now()
			cmd := exec.CommandContext(t.Context(), program, "run", "--no-lab", "--cpus", "2", "--memory", "1G", "--net", tt.net, "--", "sh", "-c", script)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("usui run: %v\n%s", err, &stderr)
			}
			checkSums(t, stdout.String(), up, down)
			t.Attr(name, fmt.Sprintf("256 MiB each way, boot included: %.0f s", time.Since(began).Seconds()))
		})
	}
}
