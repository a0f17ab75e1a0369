// Package boot puts a kernel, its initial RAM disk, its command line and the tables that it reads first into guest memory,
// and says in which state a processor enters it.
//
// # Place
//
// Between the files that a user names and the first KVM_RUN. [Load] fills a [guestmem.Memory] and returns an [Entry]; the
// caller, machine/vmm, sets registers from it. Package boot knows nothing of KVM. The ACPI tables are made by package
// machine/boot/acpi beforehand; Load only passes their address on.
//
// # Idea
//
// A stock bzImage unpacks itself in the guest, which is where most of the time before the kernel's first line goes. Here
// the host unpacks it: the payload is decompressed straight into guest memory, at the place where most of the ELF image
// inside comes to lie at its physical addresses, and what does not is moved, as the kernel's own extract_kernel does. Guest
// memory is therefore the decompressor's window as well as its output, so no decompressor but XZ's needs a heap of any size.
// The kernel is then entered at the 64-bit entry of the vmlinux (startup_64), so neither real mode nor the decompressor
// stub runs.
//
// Which image is entered how:
//
//   - bzImage, protocol 2.12 or newer: its payload (LZ4, ZSTD, XZ or GZIP), by [Linux64].
//   - ELF with the note XEN_ELFNOTE_PHYS32_ENTRY: by [PVH32], Linux or not, 32 or 64 bits.
//   - ELF of 64 bits without that note: taken for a Linux vmlinux, by [Linux64].
//   - a kernel for another architecture, or anything else: an error that names what it is.
//
// # Invariants
//
// Guest memory is zero when Load starts (a fresh [guestmem.Memory]) and afterwards holds only what Load put there.
// Below 1 MiB lie the boot structures, and nothing of an image is ever placed there; [0xA0000, 0x100000) is
// left to the ACPI tables. Image bytes are hostile: no count or address in them is used before it was checked against the
// file, guest memory, or the size that the image's own header promises, so an unpacked image never exceeds guest memory
// or that promise. Files are only read; a file that shrinks under the load is an error, not a crash.
//
// # Limits
//
// No kernel address space randomisation (the kernel lies where it was linked), no real-mode or 32-bit Linux entry, no
// bzip2, LZMA, LZO payloads, no EFI, no kernels of 32 bits except by PVH. Kernels and initial RAM disks lie below
// 4 GiB. Context cancellation is noticed between files, blocks and chunks, but not inside a ZSTD payload, which is decoded in
// one call that its promised size bounds. XZ needs a heap of the dictionary's size while it unpacks.
// On arm64, images are recognised, but not loaded.
//
// Sources: Linux Documentation/arch/x86/boot.rst (boot protocol 2.15), Documentation/arch/x86/zero-page.rst,
// arch/x86/boot/compressed/misc.c (extract_kernel, parse_elf), Documentation/arch/arm64/booting.rst; Xen
// docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h (the PVH boot protocol); the ELF gABI; the LZ4 frame
// format (legacy frame); RFC 8878 (Zstandard); The .xz File Format 1.2.1; RFC 1952 (gzip).
package boot
