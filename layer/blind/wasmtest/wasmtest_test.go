package wasmtest

import (
	"bytes"
	"testing"

	"usui/layer/blind/wasm"
)

func TestRandomIsReproducible(t *testing.T) {
	if !bytes.Equal(Random(7, 5), Random(7, 5)) {
		t.Error("Random(7, 5) differs from itself")
	}
	if bytes.Equal(Random(7, 5), Random(8, 5)) {
		t.Error("Random(7, 5) = Random(8, 5)")
	}
}

func TestRandomParses(t *testing.T) {
	m, err := wasm.Parse(Random(1, 50))
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Functions {
		s := wasm.NewScanner(m.Functions[i].Code)
		for s.Next() {
			continue
		}
		if s.Err() != nil || s.Pos() != len(m.Functions[i].Code) {
			t.Errorf("function %d: %v, at %d of %d", i, s.Err(), s.Pos(), len(m.Functions[i].Code))
		}
	}
}
