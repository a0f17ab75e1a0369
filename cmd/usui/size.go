package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeValue is a flag for an amount of memory: a whole number with K, M, G or T (powers of 1024); a bare number is bytes.
type sizeValue uint64

// String implements flag.Value.
func (v *sizeValue) String() string {
	n, units := uint64(*v), []string{"", "K", "M", "G", "T"}
	for len(units) > 1 && n != 0 && n%1024 == 0 {
		n, units = n/1024, units[1:]
	}
	return strconv.FormatUint(n, 10) + units[0]
}

// Set implements flag.Value.
func (v *sizeValue) Set(text string) error {
	digits, shift := text, 0
	if i := len(text) - 1; i > 0 {
		if unit := strings.IndexByte("KMGT", text[i]&^0x20); unit >= 0 {
			digits, shift = text[:i], 10*(unit+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return fmt.Errorf("%q is no size: write a number with K, M, G or T, as in 512M", text)
	}
	*v = sizeValue(n << shift)
	return nil
}

// bytesASecond reads the value of an option that limits bytes.
func bytesASecond(name, value string) (uint64, error) {
	var size sizeValue
	if err := size.Set(value); err != nil || size == 0 {
		return 0, fmt.Errorf("%s=%s: want bytes a second, such as %s=100M", name, value, name)
	}
	return uint64(size), nil
}

// countASecond reads the value of an option that limits how many of something there are.
func countASecond(name, value, what string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s=%s: want a number of %s a second", name, value, what)
	}
	return n, nil
}
