// Package pid1 is the first process of usui's guests.
package pid1
