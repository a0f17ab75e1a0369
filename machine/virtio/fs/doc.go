// Package fs is the virtio file system device: a folder of the host that a guest mounts, served by virtiofsd.
//
// # Place
//
// A device type of machine/virtio/vhostuser; cmd/usui starts virtiofsd (usui run --share). Sources: virtio 1.2 section 5.11; the kernel's
// include/uapi/linux/fuse.h for the messages that travel on the queues.
//
// # Idea
//
// The configuration is a tag, by which the guest mounts the folder (mount -t virtiofs TAG /mnt), and the number of request queues. All the
// rest is between the guest's FUSE client and virtiofsd.
//
// When virtiofsd is gone the device answers each request with ENOTCONN, as a kernel does for a FUSE file system whose server died: an
// access to the folder fails ("Transport endpoint is not connected") instead of waiting for ever, the folder can be unmounted, and what is
// in it after another mount fails too. A request is open when its answer does not bear its number (fuse_out_header.unique and
// fuse_in_header.unique).
//
// # Invariants
//
// A refusal writes the 16 bytes of a FUSE answer without a body or nothing, and never outside of the request's buffers.
//
// # Limits
//
//   - One request queue, which is what virtiofsd serves, and one for requests that must not wait behind others.
//   - No DAX window and no notifications.
//   - A tag has 1 to 36 bytes.
package fs
