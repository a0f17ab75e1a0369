// What the template common.go calls C: the kernel's declarations and names for what has none there.

#include <linux/vhost.h>

// What precedes the flexible array.
typedef struct { __u32 nregions, padding; } memory_header;
_Static_assert(sizeof(memory_header) == sizeof(struct vhost_memory), "vhost_memory");
