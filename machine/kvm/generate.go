package kvm

//go:generate go run ./internal/gen
