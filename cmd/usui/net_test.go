package main

import (
	"slices"
	"strings"
	"testing"

	"usui/internal/lab"
)

func TestParseNet(t *testing.T) {
	for text, want := range map[string]netCard{
		"tap":             {kind: "tap", queues: 1},
		"tap=t0":          {kind: "tap", name: "t0", queues: 1},
		"tap,queues=2":    {kind: "tap", queues: 2},
		"tap=t0,mtu=9000": {kind: "tap", name: "t0", mtu: 9000, queues: 1},
		"tap=t0,mac=02:00:00:00:00:0a,mtu=9000,queues=16": {kind: "tap", name: "t0", mac: [6]byte{2, 0, 0, 0, 0, 10}, mtu: 9000, queues: 16},
		"tap,rx-bw=100M,rx-pps=9,tx-bw=1500,tx-pps=8":     {kind: "tap", queues: 1, receive: rate{9, 100 << 20}, send: rate{8, 1500}},
		"tap,tx-pps=8":       {kind: "tap", queues: 1, send: rate{frames: 8}},
		"tap,queues=2,vhost": {kind: "tap", queues: 2, vhost: true},
	} {
		got, err := parseNet(text)
		if got != want || err != nil {
			t.Errorf("parseNet(%q) = %+v, %v; want %+v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("parseNet(%q).String() = %q", text, got)
		}
	}
	for _, text := range []string{"", "=", "tap=", "tap=a b", "tap=a/b", "tapp", "tap,", "tap,mac=", "tap,mac=x", "tap,mac=00:00:00:00:00:00",
		"tap,mac=02:00:00:00:00:00:00:01", "tap,mtu=", "tap,mtu=70000", "tap,queues=17", "tap,queues=two", "tap,t0",
		"tap,rx-bw=", "tap,rx-bw=0", "tap,tx-bw=fast", "tap,rx-pps=0", "tap,tx-pps=-1", "tap,tx-pps=1M", "tap,vhost,tx-pps=1", "tap,rx-bw=1M,vhost", "tap,bw=1M",
		"tap,vhost=on"} {
		if got, err := parseNet(text); err == nil {
			t.Errorf("parseNet(%q) = %+v, want an error", text, got)
		}
	}
}

func TestPluggedCardsAreInTaps(t *testing.T) {
	if c, err := parsePluggedCard("tap=t0,tx-pps=8"); err != nil || c.name != "t0" {
		t.Errorf("parsePluggedCard = %+v, %v", c, err)
	}
	for _, text := range []string{"user", "user,rx-pps=8", "tap=", ""} {
		if c, err := parsePluggedCard(text); err == nil {
			t.Errorf("parsePluggedCard(%q) = %+v, want an error", text, c)
		}
	}
}

func TestRandomMACIsOfOneCardAndNobodys(t *testing.T) {
	for range 100 {
		if mac := randomMAC(); mac[0]&3 != 2 {
			t.Fatalf("randomMAC() = %x", mac)
		}
	}
}

func TestLabTakesOnlyTapsThatAreMade(t *testing.T) {
	made, _ := parseNet("tap,queues=2")
	existing, _ := parseNet("tap=t0")
	p := netPart{list: []netCard{made}}
	if err := p.prepareLab(&lab.Config{}); err != nil {
		t.Error(err)
	}
	if got, want := p.argv(), []string{"--net", "tap,queues=2"}; !slices.Equal(got, want) {
		t.Errorf("argv() = %q, want %q", got, want)
	}
	p.list = append(p.list, existing)
	if err := p.prepareLab(&lab.Config{}); err == nil || !strings.Contains(err.Error(), "--net tap=t0: ") || !strings.Contains(err.Error(), "--no-lab") {
		t.Errorf("prepareLab = %v, want a refusal that names the tap and --no-lab", err)
	}
}
