// Package guestimage makes the default guest.
package guestimage
