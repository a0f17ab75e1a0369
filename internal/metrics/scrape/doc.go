// Package scrape serves small answers over HTTP to few clients: metrics to Prometheus, and what a machine says of itself.
//
// # Place
//
// Stratum internal, on package metrics, which stays free of net/http for those that only count.
//
// # Idea
//
// An address is HOST:PORT or a path, as users write it behind --metrics-listen. What clients may do is bounded once, here: their number, the
// size of their headers, and the time of a request.
//
// # Invariants
//
//   - [Serve] starts one goroutine, which ends when the server is closed.
//   - What clients do wrong is logged at debug level only.
//
// # Limits
//
// No TLS, no password: an address that others reach is the user's choice.
package scrape
