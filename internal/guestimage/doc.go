// Package guestimage makes the default guest: a stock Debian kernel and an initramfs that holds busybox and our init.
//
// # Place
//
// Between [usui/cmd/usui], which boots the guest, and [usui/internal/debian] and [usui/internal/initrd], which fetch its parts and
// pack them. What happens inside is [usui/internal/pid1].
//
// # Idea
//
// The kernel boots as Debian ships it. The initramfs is its whole system and stays in memory, and unpacking it is part of every
// boot, so it is as small as it can be: one static busybox with a link for each of its commands, the static usui-init as
// /init, and the few modules that make virtio devices work. It is built once and kept in the cache under the hash of its parts;
// when one of them changes (a newer kernel, another usui-init) it is built anew.
//
// # Invariants
//
//   - The same parts give the same file, byte for byte.
//   - A cached guest needs no network, no apt and no write: it works in the lab, whose file system is read-only.
//
// # Limits
//
// There is no package manager in the guest. Its kernel loads the modules in the initramfs and no others; drivers of network cards,
// balloons, sockets and shared folders only where there is such a device.
package guestimage
