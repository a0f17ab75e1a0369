// Package lab runs a command on bare metal that is not there: QEMU emulates, in software, a machine with hardware virtualization,
// an IOMMU and real device models, and the command finds the host's file system inside.
//
// # Place
//
// Between [usui/cmd/usui] (usui lab, and usui run where /dev/kvm cannot run a stock kernel) and QEMU. The guest's side is
// [usui/internal/pid1], spoken to through [usui/internal/attach].
//
// # Idea
//
// A [Config] says what the machine has; [Run] boots a Debian kernel on it, runs one command and returns its exit status. What
// the command sees:
//
//   - the host's file system as root, read-only (9p), so that every program and test binary of the host runs as it is;
//   - an empty, writable /tmp and /run; what the command or its environment names in the host's /tmp is there too, and writable,
//     but changes to it are lost;
//   - the host's environment, working directory and arguments, and two variables: USUI_LAB lists the features of the machine,
//     USUI_RESULTS is a folder in which files outlive the lab (with Config.Results);
//   - /dev/kvm with nested paging, and modprobe for all other modules of the kernel;
//   - each disk of Config.Disks as a block device at the path of its file.
//
// An amd64 lab is entered without its packed kernel's decompressor: the kernel is unpacked once, on the host, and started through
// its PVH entry. Only what the machine needs is in its initramfs.
//
// Nothing of a lab lies in a folder while it runs: ports are socket pairs and scratch disks are memory files, which vanish with
// the processes that hold them.
//
// # Invariants
//
//   - When Run returns, QEMU is gone, whatever happened. When this process dies, the kernel ends QEMU.
//   - No command inside can change a file of the host, but for the disks and the results folder that the caller named.
//   - A lab that cannot be reached says why: QEMU's own words, or the last lines of its console.
//
// # Limits
//
// Software emulation is 10 to 50 times slower than a processor; VM exits inside are slower still, so times measured in a lab mean
// something only as ratios. What changes on the host while a lab runs is not seen inside, but for the results folder. There is no network inside but loopback. The guest's clock runs freely. An arm64 lab on another
// host cannot run the host's programs: its root is an initramfs with busybox, and the host's files are below /host.
//
// QEMU's SVM is not quite a processor (seen with 7.2 and 10.0, under multi-threaded emulation): about once in ten thousand
// interrupts that another CPU of the lab sends while one enters or leaves a guest, it stores the lab kernel's registers (CR3, RIP, RSP)
// into the VMCB as the guest's. The guest then ends by a triple fault or hangs, whatever the monitor is. Boots hardly meet it, a
// guest that does disk I/O for minutes does. With one CPU (Config.CPUs) such interrupts are rarer.
//
// It also loses an interrupt now and then: VMRUN changes the flags of what is pending without the lock under which other threads set them
// (helper_vmrun in QEMU's svm_helper.c; fixed upstream after 10.0). A CPU that sleeps and lost its timer's would sleep for ever, so
// the CPUs of a lab wake each other every second; one CPU alone may stop for good. And an event that a monitor injected is delivered twice if
// QEMU's other threads ask for a pause at that moment (the same helper leaves exception_index set).
package lab
