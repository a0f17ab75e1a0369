package blind

import (
	"encoding/binary"
	"fmt"

	"usui/layer/blind/wasm"
)

// maxPadding bounds what is added to one br_table. A count with a dirty third byte would need 65,536 labels and as many
// words of code.
const maxPadding = 1024

// cleanCount reports whether a br_table of n labels besides the default may stand in code, where a comparison has its count.
func (w *rewriter) cleanCount(n uint32) bool {
	s := w.strictSet()
	return s.Clean(w.arch, bytesOf(uint64(n), 4)) && s.Clean(w.arch, bytesOf(uint64(n)+1, 4))
}

// appendPadded appends br_table with more labels, that all are the default: what an index beyond the last label chooses anyway.
func (f *function) appendPadded(in *wasm.Instr) error {
	n := in.Index
	for !f.w.cleanCount(n) {
		if n++; n-in.Index > maxPadding {
			return fmt.Errorf("br_table of %d labels: code would hold this count, whose bytes are a control-flow instruction, and more than %d labels would have to be added", in.Index, maxPadding)
		}
	}
	immediates := in.Bytes[in.Imm:]
	_, skip := binary.Uvarint(immediates)
	labels := immediates[skip:]
	last := len(labels) - 1
	for last > 0 && labels[last-1]&0x80 != 0 { // a number ends with a byte without the high bit
		last--
	}
	f.out = wasm.AppendIndex(f.out, wasm.OpBrTable, n)
	f.out = append(f.out, labels[:last]...)
	for range n - in.Index + 1 {
		f.out = append(f.out, labels[last:]...)
	}
	return nil
}
