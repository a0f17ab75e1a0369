package main

import (
	"testing"
	"time"
)

func TestBalloonFlag(t *testing.T) {
	on, off := true, false
	for text, want := range map[string]balloonPart{
		"on":                       {},
		"0":                        {},
		"128M":                     {size: 128 << 20},
		"size=128M":                {size: 128 << 20},
		"on,reporting=off":         {reporting: &off},
		"1G,reporting=on,stats=1s": {size: 1 << 30, reporting: &on, every: time.Second},
		"on,deflate-on-oom=off":    {noOOM: true},
		"on,deflate-on-oom=on":     {},
	} {
		var p balloonPart
		err := p.set(text)
		if err != nil || p.text != text || p.size != want.size || p.noOOM != want.noOOM || p.every != want.every ||
			(p.reporting == nil) != (want.reporting == nil) || p.reporting != nil && *p.reporting != *want.reporting {
			t.Errorf("set(%q) = %+v, %v, want %+v", text, p, err, want)
		}
		if err := p.set("on"); err == nil {
			t.Errorf("a second balloon after %q is taken", text)
		}
	}
	for _, text := range []string{"", "off", "1X", "-1", "size=", "on,", ",", "on,size=1M", "on,reporting", "on,reporting=yes", "on,deflate-on-oom=", "on,stats=0s", "on,stats=-1s", "on,stats=1"} {
		var p balloonPart
		if err := p.set(text); err == nil {
			t.Errorf("set(%q) = %+v, want an error", text, p)
		}
	}
}

func TestBalloonLeavesTheGuestSomething(t *testing.T) {
	for _, tt := range []struct {
		size, memory sizeValue
		ok           bool
	}{
		{0, 32 << 20, true}, {96 << 20, 128 << 20, true}, {97 << 20, 128 << 20, false}, {1<<63 - 1, 128 << 20, false},
	} {
		if err := (&balloonPart{size: tt.size}).checkMemory(tt.memory); (err == nil) != tt.ok {
			t.Errorf("balloon of %d in %d: %v, want ok %t", tt.size, tt.memory, err, tt.ok)
		}
	}
}
