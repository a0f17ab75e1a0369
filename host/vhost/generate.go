package vhost

//go:generate go run usui/internal/uapigen internal/gen
