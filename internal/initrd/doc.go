// Package initrd builds initial RAM file systems: the cpio archive that a Linux kernel unpacks into its first root.
//
// # Place
//
// Below [usui/internal/guestimage] (the default guest) and [usui/internal/lab] (the virtual bare metal). It knows the cpio
// format and the files that depmod writes; it does not know what an image is for.
//
// # Idea
//
// An initramfs should cost the booting guest as little as possible. The archive is therefore not compressed, holds only the
// modules that are asked for and what they depend on ([Modules.Closure]), and holds them unpacked: .ko.xz files are
// decompressed on the host, where it is faster by far than in a guest. The file [ModuleList] inside names the modules in the
// order in which they can be loaded one after the other.
//
// # Invariants
//
//   - The same input gives the same bytes: entries are in the order in which they are added, times are zero, owners are root.
//   - A module comes after everything it depends on. A module that is built into the kernel is never in the list.
//   - The parsers of modules.dep and modules.builtin take any bytes: wrong ones give an error, never a panic or an endless loop.
//
// # Limits
//
// Files of 4 GiB and more do not fit the newc format. Soft dependencies (modules.softdep) are not followed: whoever needs such
// a module names it. Hard links and devices other than character devices are not written.
package initrd
