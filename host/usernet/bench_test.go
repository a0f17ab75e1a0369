package usernet_test

import (
	"testing"

	"usui/host/usernet"
)

// BenchmarkStart starts usui-net until its ports listen, and ends it.
func BenchmarkStart(b *testing.B) {
	path, err := program()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := usernet.Start(path, usernet.Default(), 1, nil)
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
