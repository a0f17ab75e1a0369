package kvm

//go:generate go run usui/internal/uapigen internal/gen amd64 arm64
