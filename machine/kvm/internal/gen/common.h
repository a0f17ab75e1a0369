// What the template common.go calls C: the kernel's declarations and names for what has none there.

#include <stddef.h>
#include <linux/kvm.h>

// The anonymous members of struct kvm_run's union get names, so that Go can speak of them.
#define exit_type(name, member) typedef __typeof__(((struct kvm_run *)0)->member) name
exit_type(exit_fail_entry, fail_entry);
exit_type(exit_io, io);
exit_type(exit_mmio, mmio);
exit_type(exit_hypercall, hypercall);
exit_type(exit_internal, internal);
exit_type(exit_system_event, system_event);
exit_type(exit_memory_fault, memory_fault);

// The kernel passes user pointers as __u64 or in unions; with a pointer type in their place Go's garbage collector
// sees them too. The layouts must agree.
#define same_layout(a, b, member, other) \
	_Static_assert(sizeof(a) == sizeof(struct b) && offsetof(a, member) == offsetof(struct b, other), #b)

typedef struct { __u32 slot, padding1; void *bitmap; } dirty_log;
same_layout(dirty_log, kvm_dirty_log, bitmap, dirty_bitmap);
typedef struct { __u32 slot, num_pages; __u64 first_page; void *bitmap; } clear_dirty_log;
same_layout(clear_dirty_log, kvm_clear_dirty_log, bitmap, dirty_bitmap);
same_layout(clear_dirty_log, kvm_clear_dirty_log, first_page, first_page);
typedef struct { __u32 flags, group; __u64 attr; void *addr; } device_attr;
same_layout(device_attr, kvm_device_attr, addr, addr);
same_layout(device_attr, kvm_device_attr, attr, attr);
typedef struct { __u64 id; void *addr; } one_reg;
same_layout(one_reg, kvm_one_reg, addr, addr);

// What precedes the flexible arrays.
typedef struct { __u32 nr, flags; } routing_header;
_Static_assert(sizeof(routing_header) == sizeof(struct kvm_irq_routing), "kvm_irq_routing");
typedef struct { __u64 n; } reg_list_header;
_Static_assert(sizeof(reg_list_header) == sizeof(struct kvm_reg_list), "kvm_reg_list");
