package metrics

import (
	"strings"
	"sync"
	"testing"
	"time"
)

type device struct {
	BytesRead uint64
	IOErrors  uint64
	Actual    uint64            `metric:"gauge"`
	Exits     map[string]uint64 `metric:"label=cause"`
	Read      Latency
	Name      string // not shown
	hidden    uint64
}

func TestText(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{0, time.Microsecond, 2 * time.Microsecond, time.Hour} {
		h.Observe(d)
	}
	var s Set
	s.Add("usui_blk", device{BytesRead: 7, IOErrors: 1, Actual: 9, Exits: map[string]uint64{"mmio": 2, "io": 1}, Read: h.Snapshot(), hidden: 3}, Label{"device", "disk \"a\"\n\\ \xff"})
	s.Add("usui_blk", &device{BytesRead: 8}, Label{"device", "b"})
	var b strings.Builder
	n, err := s.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Errorf("WriteTo = %d, %v, want %d", n, err, b.Len())
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		// The middle of the histograms says nothing new.
		if !strings.Contains(line, "le=") || strings.Contains(line, `le="1.024e-06"`) || strings.Contains(line, `le="2.048e-06"`) || strings.Contains(line, "+Inf") {
			got = append(got, line)
		}
	}
	const a = `device="disk \"a\"\n\\ ` + "\uFFFD" + `"`
	want := `# TYPE usui_blk_actual gauge
usui_blk_actual{` + a + `} 9
usui_blk_actual{device="b"} 0
# TYPE usui_blk_bytes_read_total counter
usui_blk_bytes_read_total{` + a + `} 7
usui_blk_bytes_read_total{device="b"} 8
# TYPE usui_blk_exits_total counter
usui_blk_exits_total{` + a + `,cause="io"} 1
usui_blk_exits_total{` + a + `,cause="mmio"} 2
# TYPE usui_blk_io_errors_total counter
usui_blk_io_errors_total{` + a + `} 1
usui_blk_io_errors_total{device="b"} 0
# TYPE usui_blk_read_seconds histogram
usui_blk_read_seconds_bucket{` + a + `,le="1.024e-06"} 2
usui_blk_read_seconds_bucket{` + a + `,le="2.048e-06"} 3
usui_blk_read_seconds_bucket{` + a + `,le="+Inf"} 4
usui_blk_read_seconds_sum{` + a + `} 3600.000003
usui_blk_read_seconds_count{` + a + `} 4
usui_blk_read_seconds_bucket{device="b",le="1.024e-06"} 0
usui_blk_read_seconds_bucket{device="b",le="2.048e-06"} 0
usui_blk_read_seconds_bucket{device="b",le="+Inf"} 0
usui_blk_read_seconds_sum{device="b"} 0
usui_blk_read_seconds_count{device="b"} 0
`
	if text := strings.Join(got, ""); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

func TestBucketsHoldTheirBounds(t *testing.T) {
	for i := range Buckets - 1 {
		bound := UpperBound(i)
		if bucket(bound) != i || bucket(bound+1) != i+1 {
			t.Errorf("%v is in bucket %d and %v in %d, want %d and %d", bound, bucket(bound), bound+1, bucket(bound+1), i, i+1)
		}
	}
	for d, want := range map[time.Duration]int{-1: 0, 0: 0, 1: 0, 1<<63 - 1: Buckets - 1} {
		if got := bucket(max(d, 0)); got != want {
			t.Errorf("bucket(%d) = %d, want %d", d, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var h Histogram
	if got := h.Snapshot().Quantile(0.5); got != 0 {
		t.Errorf("median of nothing is %v", got)
	}
	for range 98 {
		h.Observe(time.Microsecond)
	}
	h.Observe(10 * time.Microsecond)
	h.Observe(time.Hour)
	for q, want := range map[float64]time.Duration{0: UpperBound(0), 0.5: UpperBound(0), 0.98: UpperBound(0), 0.99: UpperBound(4), 1: UpperBound(Buckets - 2)} {
		if got := h.Snapshot().Quantile(q); got != want {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
}

func TestObserveFromManySides(t *testing.T) {
	var h Histogram
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				h.Observe(time.Millisecond)
			}
		})
	}
	all.Wait()
	if l := h.Snapshot(); l.Count() != 4000 || l.Sum != 4*time.Second {
		t.Errorf("%d durations of %v together, want 4000 of 4s", l.Count(), l.Sum)
	}
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Second) }); n != 0 {
		t.Errorf("Observe allocates %v times", n)
	}
}

func TestPlus(t *testing.T) {
	var a, b, both Histogram
	for i, h := range []*Histogram{&a, &b, &b} {
		d := time.Duration(i) * time.Millisecond
		h.Observe(d)
		both.Observe(d)
	}
	if got := a.Snapshot().Plus(b.Snapshot()); got != both.Snapshot() {
		t.Errorf("Plus = %+v, want %+v", got, both.Snapshot())
	}
}

func TestWords(t *testing.T) {
	for name, want := range map[string]string{"BytesRead": "bytes_read", "IOErrors": "io_errors", "Reads": "reads", "GuestRAM": "guest_ram", "TxBytes": "tx_bytes", "A": "a"} {
		if got := words(name); got != want {
			t.Errorf("words(%q) = %q, want %q", name, got, want)
		}
	}
}
