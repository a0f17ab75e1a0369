package lab

import (
	"fmt"
	"strconv"
	"strings"
)

// machine is what differs between the architectures' machines.
type machine struct {
	program, aptPackage string // QEMU's
	machine, cpu        string
	console             string // the kernel's name of the serial port
}

func machines(arch string) *machine {
	switch arch {
	case "amd64":
		return &machine{
			program: "qemu-system-x86_64", aptPackage: "qemu-system-x86",
			machine: "q35,usb=off,smbus=off,sata=off,vmport=off",
			// Nested paging (SVM, not VMX, is what QEMU emulates). Five levels of page tables make every TLB miss longer.
			cpu:     "max,+svm,la57=off",
			console: "ttyS0",
		}
	case "arm64":
		return &machine{
			program: "qemu-system-aarch64", aptPackage: "qemu-system-arm",
			// virtualization=on emulates EL2. SVE registers of 2048 bits make each switch of a task slow. The kernel signs the
			// return address of nearly every function: with the cipher of the specification that doubles the time of the boot.
			machine: "virt,virtualization=on,gic-version=3", cpu: "max,sve=off,pauth-impdef=on",
			console: "ttyAMA0",
		}
	}
	return nil
}

// start is all that one QEMU process is started with.
type start struct {
	cfg            Config
	kernel, initrd string
	ports          map[string]int // descriptor, in QEMU's process, of each virtio-serial port
	sizes          []int64        // bytes of each of cfg.NVDIMM
	delayLoops     int64          // see delayLoops; 0 lets the kernel measure
}

// portNames is the order in which the ports are made.
var portNames = [...]string{"usui.control", "usui.stdin", "usui.stdout", "usui.stderr"}

// arguments are QEMU's.
func (s start) arguments() []string {
	m := machines(s.cfg.Arch)
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-name", "usui-lab",
		"-accel", "tcg,thread=multi",
		"-machine", s.machineOption(m),
		"-cpu", m.cpu,
		"-smp", strconv.Itoa(s.cfg.CPUs),
		"-m", s.memoryOption(),
		"-kernel", s.kernel,
		"-initrd", s.initrd,
		"-append", s.cmdline(m),
		"-serial", "stdio",
	}
	if s.cfg.IOMMU {
		// Before all other devices, which are then behind it.
		args = append(args, "-device", "intel-iommu,intremap=on,caching-mode=on")
	}
	args = append(args, s.hostFiles()...)
	args = append(args, s.serialPorts()...)
	args = append(args, "-device", "virtio-rng-pci")
	args = append(args, s.disks()...)
	return append(args, s.nvdimms()...)
}

func (s start) machineOption(m *machine) string {
	option := m.machine
	if s.cfg.IOMMU {
		option += ",kernel-irqchip=split"
	}
	if len(s.cfg.NVDIMM) > 0 {
		option += ",nvdimm=on"
	}
	return option
}

// memoryOption leaves room for the NVDIMMs, which are hot-pluggable memory to QEMU.
func (s start) memoryOption() string {
	option := fmt.Sprintf("%dM", s.cfg.MemoryBytes>>20)
	if len(s.sizes) == 0 {
		return option
	}
	most := s.cfg.MemoryBytes
	for _, size := range s.sizes {
		most += size + 1<<30 // each is aligned to a gigabyte at most
	}
	return fmt.Sprintf("%s,slots=%d,maxmem=%dM", option, len(s.sizes), most>>20)
}

// cmdline is the kernel's command line. What it switches off costs seconds under emulation and shows nothing there: mitigations
// of a processor that does not speculate, self tests of ciphers (a third of the kernel's instructions before init), and the
// checks of timers that stumble over a busy host.
func (s start) cmdline(m *machine) string {
	words := []string{"console=" + m.console, "quiet", "panic=-1", "mitigations=off", "cryptomgr.notests"}
	if s.cfg.Arch == "amd64" {
		// The other CPUs come online in steps; noreplace-smp leaves the code as it is for them.
		words = append(words, "tsc=reliable", "no_timer_check", "maxcpus=1", "noreplace-smp")
	}
	if s.delayLoops > 0 {
		words = append(words, fmt.Sprintf("lpj=%d", s.delayLoops))
	}
	if s.cfg.HugePages > 0 {
		words = append(words, "hugepagesz=2M", fmt.Sprintf("hugepages=%d", s.cfg.HugePages))
	}
	if s.cfg.IOMMU {
		words = append(words, "intel_iommu=on", "iommu=pt")
	}
	return strings.Join(words, " ")
}

// hostFiles are the 9p exports: the host's root, read-only, and the results folder.
func (s start) hostFiles() []string {
	args := []string{
		"-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=host,mount_tag=" + hostTag,
	}
	if s.cfg.Results != "" {
		args = append(args,
			"-fsdev", "local,id=results,security_model=none,multidevs=remap,path="+escape(s.cfg.Results),
			"-device", "virtio-9p-pci,fsdev=results,mount_tag="+resultsTag)
	}
	return args
}

func (s start) serialPorts() []string {
	args := []string{"-device", "virtio-serial-pci"}
	for _, name := range portNames {
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=%s,fd=%d", name, s.ports[name]),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s", name, name))
	}
	return args
}

func (s start) disks() []string {
	var args []string
	for i, d := range s.cfg.Disks {
		args = append(args, "-drive", drive("disk", i, d.Path, d.ReadOnly), "-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	for i, path := range s.cfg.NVMe {
		args = append(args, "-drive", drive("nvme", i, path, false), "-device", fmt.Sprintf("nvme,drive=nvme%d,serial=usui%d", i, i))
	}
	if len(s.cfg.AHCI) > 0 {
		args = append(args, "-device", "ich9-ahci,id=ahci")
	}
	for i, path := range s.cfg.AHCI {
		args = append(args, "-drive", drive("sata", i, path, false), "-device", fmt.Sprintf("ide-hd,drive=sata%d,bus=ahci.%d", i, i))
	}
	if s.cfg.E1000E {
		// A hub without anything else on it: the link is up and nothing is heard.
		args = append(args, "-netdev", "hubport,id=net0,hubid=0", "-device", "e1000e,netdev=net0")
	}
	return args
}

func drive(kind string, i int, path string, readOnly bool) string {
	option := fmt.Sprintf("if=none,id=%s%d,format=raw,discard=unmap,file=%s", kind, i, escape(path))
	if readOnly {
		option += ",readonly=on"
	}
	return option
}

func (s start) nvdimms() []string {
	var args []string
	for i, path := range s.cfg.NVDIMM {
		args = append(args,
			"-object", fmt.Sprintf("memory-backend-file,id=pmem%d,share=on,size=%d,mem-path=%s", i, s.sizes[i], escape(path)),
			"-device", fmt.Sprintf("nvdimm,id=nvdimm%d,memdev=pmem%d", i, i))
	}
	return args
}

// escape writes a path for a QEMU option, in which a comma ends a value and two stand for one.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
