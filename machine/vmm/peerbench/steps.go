package main

// step is one run of one monitor. The steps of a plan are always the same, so what one lab did not live to end another can go on with.
type step struct {
	part    string
	round   int
	monitor string
	choice  bool // between QEMU's variants of a disk
	traced  bool // system calls are counted, which takes time: the rates are of no use
}

// bootNames are the monitors whose boots are compared.
func (p plan) bootNames() []string {
	list := []string{usui, microvm, withRTC}
	if p.Gokvm != "" {
		list = append(list, gokvm)
	}
	return list
}

// blkNames are the monitors whose disks are compared. QEMU's clock has no part in that, and its guest boots sooner with one.
func blkNames() []string { return []string{usui, withRTC} }

// steps lists what is to be done, in its order: in every round each monitor once, each round beginning with another.
func (p plan) steps() []step {
	var list []step
	rounds := func(part string, names []string) {
		for round := range p.Rounds {
			for i := range names {
				list = append(list, step{part: part, round: round, monitor: names[(i+round)%len(names)]})
			}
		}
	}
	traced := func(part string, names []string) {
		for _, name := range names {
			list = append(list, step{part: part, monitor: name, traced: true})
		}
	}
	for _, part := range p.Parts {
		switch part {
		case partBoot:
			rounds(part, p.bootNames())
		case partPhases:
			for _, name := range p.bootNames() {
				list = append(list, step{part: part, monitor: name})
			}
		case partBlk:
			list = append(list, step{part: part, monitor: withRTC, choice: true})
			rounds(part, blkNames())
			traced(part, blkNames())
		case partNet:
			rounds(part, netNames())
			traced(part, netNames())
		}
	}
	return list
}
