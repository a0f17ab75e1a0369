// What the template arm64.go calls C: the kernel's declarations and names for what has none there.

#include <stddef.h>
#include <linux/kvm.h>

#define core_reg(member) (KVM_REG_ARM64 | KVM_REG_ARM_CORE | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE_REG(member))
enum { reg_x_step = sizeof(__u64) / sizeof(__u32) };
#define REG_X0 core_reg(regs.regs[0])
#define REG_SP core_reg(regs.sp)
#define REG_PC core_reg(regs.pc)
#define REG_PSTATE core_reg(regs.pstate)
#define REG_SP_EL1 core_reg(sp_el1)
#define REG_ELR_EL1 core_reg(elr_el1)
#define REG_MPIDR_EL1 ARM64_SYS_REG(3, 0, 0, 0, 5)

typedef __typeof__(((struct kvm_run *)0)->arm_nisv) exit_arm_nisv;
