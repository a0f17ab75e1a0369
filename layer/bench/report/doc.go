// Package report turns samples into a report and compares reports.
//
// # Place
//
// Below layer/bench, which measures and hands over its samples; a report says what they mean, as a table, as
// JSON, and beside another report. It knows nothing of KVM.
//
// # Idea
//
// # Invariants
//
// # Limits
package report
