package metrics

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Label is a name and a value that tell samples of one metric apart.
type Label struct{ Name, Value string }

// Set collects structs of counters for one scrape. The zero value is empty.
type Set struct {
	families map[string]*family
}

// family is all samples of one metric.
type family struct {
	kind    string // counter, gauge, histogram
	samples []string
}

// Add adds the fields of stats, a struct or a pointer to one, as metrics whose names begin with prefix.
func (s *Set) Add(prefix string, stats any, labels ...Label) {
	v := reflect.Indirect(reflect.ValueOf(stats))
	if v.Kind() != reflect.Struct {
		panic(fmt.Sprintf("BUG: metrics of %T, which is no struct", stats))
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name, tag := prefix+"_"+words(field.Name), field.Tag.Get("metric")
		switch value := v.Field(i).Interface().(type) {
		case uint64:
			if tag == "gauge" {
				s.sample("gauge", name, value, labels)
			} else {
				s.sample("counter", name+"_total", value, labels)
			}
		case map[string]uint64:
			label, _ := strings.CutPrefix(tag, "label=")
			for _, key := range slices.Sorted(maps.Keys(value)) {
				s.sample("counter", name+"_total", value[key], append(slices.Clip(labels), Label{label, key}))
			}
		case Latency:
			s.histogram(name+"_seconds", value, labels)
		}
	}
}

func (s *Set) family(kind, name string) *family {
	if s.families == nil {
		s.families = map[string]*family{}
	}
	f := s.families[name]
	if f == nil {
		f = &family{kind: kind}
		s.families[name] = f
	}
	return f
}

func (s *Set) sample(kind, name string, value uint64, labels []Label) {
	f := s.family(kind, name)
	f.samples = append(f.samples, fmt.Sprintf("%s%s %d\n", name, braces(labels), value))
}

// histogram adds cumulative buckets, as the format wants them.
func (s *Set) histogram(name string, l Latency, labels []Label) {
	f := s.family("histogram", name)
	var b strings.Builder
	seen := uint64(0)
	for i, n := range l.Counts {
		seen += n
		bound := "+Inf"
		if i < Buckets-1 {
			bound = fmt.Sprint(UpperBound(i).Seconds())
		}
		fmt.Fprintf(&b, "%s_bucket%s %d\n", name, braces(append(slices.Clip(labels), Label{"le", bound})), seen)
	}
	fmt.Fprintf(&b, "%s_sum%s %v\n%s_count%s %d\n", name, braces(labels), l.Sum.Seconds(), name, braces(labels), seen)
	f.samples = append(f.samples, b.String())
}

// WriteTo writes the text format.
func (s *Set) WriteTo(w io.Writer) (int64, error) {
	out := &counting{w: w}
	b := bufio.NewWriter(out)
	for _, name := range slices.Sorted(maps.Keys(s.families)) {
		f := s.families[name]
		fmt.Fprintf(b, "# TYPE %s %s\n", name, f.kind)
		for _, sample := range f.samples {
			b.WriteString(sample)
		}
	}
	err := b.Flush()
	return out.n, err
}

type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// escaper is for label values.
var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func braces(labels []Label) string {
	if len(labels) == 0 {
		return ""
	}
	parts := make([]string, len(labels))
	for i, l := range labels {
		parts[i] = l.Name + `="` + escaper.Replace(strings.ToValidUTF8(l.Value, "\uFFFD")) + `"`
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// words turns BytesRead into bytes_read, and IOErrors into io_errors.
func words(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		next := i+1 < len(runes) && unicode.IsLower(runes[i+1])
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || next) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
