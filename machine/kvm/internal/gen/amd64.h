// What the template amd64.go calls C: the kernel's declarations and names for what has none there.

#include <stddef.h>
#include <linux/kvm.h>

typedef __typeof__(((struct kvm_run *)0)->msr) exit_msr;
typedef __typeof__(((struct kvm_run *)0)->eoi) exit_eoi;

// What precedes the flexible arrays.
typedef struct { __u32 n, padding; } cpuid_header;
_Static_assert(sizeof(cpuid_header) == sizeof(struct kvm_cpuid2), "kvm_cpuid2");
typedef struct { __u32 n, padding; } msrs_header;
_Static_assert(sizeof(msrs_header) == sizeof(struct kvm_msrs), "kvm_msrs");
typedef struct { __u32 n; } msr_list_header;
_Static_assert(sizeof(msr_list_header) == sizeof(struct kvm_msr_list), "kvm_msr_list");
