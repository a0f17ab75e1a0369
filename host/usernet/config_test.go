package usernet

import (
	"flag"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSet(t *testing.T) {
	for _, tt := range []struct {
		word, want string // want: part of the error, or empty
	}{
		{"restrict", ""}, {"noloopback", ""}, {"subnet=192.168.7.0/24", ""}, {"subnet=10.9.8.7/27", ""}, {"mtu=9000", ""},
		{"subnet=10.0.2.0/28", "between /8 and /27"}, {"subnet=fd00::/64", "must be IPv4"}, {"subnet=127.0.0.0/8", "no addresses"},
		{"subnet=224.0.0.0/8", "no addresses"}, {"subnet=10.0.2.0", "write it like"}, {"mtu=100", "must be 576 to"}, {"mtu=x", "not a number"},
		{"mtu=65521", "must be 576 to 65520"}, {"fast", "there are subnet"}, {"restrict=1", "there are"}, {"", "there are"},
	} {
		c := Default()
		err := c.Set(tt.word)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("Set(%q) = %v, want an error with %q", tt.word, err, tt.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	c := Default()
	if got := c.Gateway().String() + " " + c.Resolver().String() + " " + c.Guest().String(); got != "10.0.2.2 10.0.2.3 10.0.2.15" {
		t.Errorf("addresses of %s = %s", c.Subnet, got)
	}
	c.Subnet = netip.MustParsePrefix("192.168.7.231/27")
	if got := c.Gateway().String() + " " + c.Guest().String(); got != "192.168.7.226 192.168.7.239" {
		t.Errorf("addresses of %s = %s", c.Subnet, got)
	}
}

func TestParsePublish(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"8080:80", "127.0.0.1:8080:80"}, {"0.0.0.0:53:53/udp", "0.0.0.0:53:53/udp"}, {"[::1]:8080:80/tcp", "[::1]:8080:80"}, {"0:22", "127.0.0.1:0:22"},
		{"80", ""}, {"8080:0", ""}, {"8080:65536", ""}, {"-1:80", ""}, {"8080:80/sctp", ""}, {"localhost:1:2", ""}, {"::1:1:2", ""}, {"", ""}, {":", ""},
	} {
		p, err := ParsePublish(tt.text)
		if tt.want == "" {
			if err == nil || !strings.Contains(err.Error(), "as in 8080:80") {
				t.Errorf("ParsePublish(%q) = %v, %v, want an error with an example", tt.text, p, err)
			}
			continue
		}
		if err != nil || p.String() != tt.want {
			t.Errorf("ParsePublish(%q) = %s, %v, want %s", tt.text, p, err, tt.want)
		}
	}
	c := Default()
	p, _ := ParsePublish("8080:80")
	q, _ := ParsePublish("8080:81")
	if c.Publish = []Publish{p, q}; c.Check() == nil {
		t.Error("Check accepts one port of the host for two of the guest")
	}
}

// TestArgs takes a configuration to the process's command line and back.
func TestArgs(t *testing.T) {
	want := Default()
	for _, w := range []string{"subnet=10.7.0.0/16", "mtu=9000", "restrict", "noloopback"} {
		if err := want.Set(w); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"8080:80", "[::1]:53:53/udp"} {
		p, err := ParsePublish(text)
		if err != nil {
			t.Fatal(err)
		}
		want.Publish = append(want.Publish, p)
	}
	got := Default()
	f := flag.NewFlagSet(Name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	got.Flags(f)
	if err := f.Parse(want.args()); err != nil {
		t.Fatal(err)
	}
	equal := cmp.Comparer(func(a, b Config) bool { return strings.Join(a.args(), " ") == strings.Join(b.args(), " ") })
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("configuration after %q (-want +got):\n%s", want.args(), diff)
	}
}

func FuzzParsePublish(f *testing.F) {
	f.Add("[::1]:8080:80/udp")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePublish(text)
		if err != nil {
			return
		}
		if again, err := ParsePublish(p.String()); err != nil || again != p {
			t.Errorf("ParsePublish(%q) = %v, which reads as %v, %v", text, p, again, err)
		}
	})
}
