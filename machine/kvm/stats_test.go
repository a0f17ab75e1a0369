package kvm

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
)

// statsImage lays a file of binary statistics out as the kernel does.
func statsImage(nameSize uint32, names []string, values [][]uint64) []byte {
	h := statsHeader{NameSize: nameSize, NumDesc: uint32(len(names)), IdOffset: 24, DescOffset: 24 + nameSize}
	h.DataOffset = h.DescOffset + h.NumDesc*(16+nameSize)
	var b, data bytes.Buffer
	write := func(x any) {
		if err := binary.Write(&b, binary.NativeEndian, x); err != nil {
			panic(err)
		}
	}
	write(h)
	write(make([]byte, nameSize)) // the id
	for i, name := range names {
		write(statsDesc{Size: uint16(len(values[i])), Offset: uint32(data.Len())})
		write(append([]byte(name), make([]byte, int(nameSize)-len(name))...))
		for _, v := range values[i] {
			data.Write(binary.NativeEndian.AppendUint64(nil, v))
		}
	}
	b.Write(data.Bytes())
	return b.Bytes()
}

func TestStatsAreRead(t *testing.T) {
	image := statsImage(48, []string{"exits", "hist"}, [][]uint64{{7}, {1, 2, 3}})
	var l statsLayout
	if err := l.read(bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	got, err := l.values(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string][]uint64{"exits": {7}, "hist": {1, 2, 3}}; !reflect.DeepEqual(got, want) {
		t.Errorf("values = %v, want %v", got, want)
	}
	for n := range image {
		var l statsLayout
		err := l.read(bytes.NewReader(image[:n]))
		if err == nil {
			_, err = l.values(bytes.NewReader(image[:n]))
		}
		if err == nil {
			t.Errorf("the first %d of %d bytes were taken for the whole", n, len(image))
		}
	}
}

func FuzzStats(f *testing.F) {
	f.Add(statsImage(48, []string{"exits", "hist"}, [][]uint64{{7}, {1, 2, 3}}))
	f.Fuzz(func(t *testing.T, image []byte) {
		var l statsLayout
		if err := l.read(bytes.NewReader(image)); err != nil {
			return
		}
		if values, err := l.values(bytes.NewReader(image)); err == nil && len(values) > len(l.stats) {
			t.Errorf("%d values of %d statistics", len(values), len(l.stats))
		}
	})
}
