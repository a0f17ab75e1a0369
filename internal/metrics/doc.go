// Package metrics turns plain structs of counters into what Prometheus reads.
//
// # Place
//
// Stratum internal. Devices and layers keep a struct of counters (stats.go in each of them) and know nothing of this package, but for
// [Histogram] where a time is worth its distribution. What serves metrics collects such structs in a [Set].
//
// # Idea
//
// The struct is the definition: its fields are found by reflection at the time of a scrape, and the name of a field in words, BytesRead, is
// the name of a metric, prefix_bytes_read_total. The text format of Prometheus (its exposition_formats.md, version 0.0.4) is a few lines of
// printing; the client library of Prometheus has its own registry and its own counters, and a monitor has no room for either.
//
// # Invariants
//
//   - Observe allocates nothing, takes no lock, and may be called from any goroutine.
//   - The same values give the same text: families and samples are sorted.
//   - Names and label values cannot break the text, whatever is in them.
//
// # Limits
//
// A field is a uint64 (a counter), a uint64 tagged `metric:"gauge"`, a [Latency], or a map[string]uint64 tagged `metric:"label=NAME"`. Other
// fields are not shown. Buckets are powers of two.
package metrics
