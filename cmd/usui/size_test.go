package main

import "testing"

func TestSizeValue(t *testing.T) {
	for _, tt := range []struct {
		text string
		want uint64
		back string
	}{
		{"0", 0, "0"}, {"4096", 4096, "4K"}, {"1000", 1000, "1000"}, {"512M", 512 << 20, "512M"}, {"1g", 1 << 30, "1G"}, {"2T", 2 << 40, "2T"},
		{"1025K", 1025 << 10, "1025K"},
	} {
		var v sizeValue
		if err := v.Set(tt.text); err != nil || uint64(v) != tt.want || v.String() != tt.back {
			t.Errorf("Set(%q) = %v, %d, %s; want %d, %s", tt.text, err, v, v.String(), tt.want, tt.back)
		}
	}
	for _, text := range []string{"", "M", "-1", "1.5G", "1GB", "0x10", "9223372036854775808", "8388608T", "1 G", "١G"} {
		var v sizeValue
		if err := v.Set(text); err == nil {
			t.Errorf("Set(%q) = %d, want an error", text, v)
		}
	}
}
