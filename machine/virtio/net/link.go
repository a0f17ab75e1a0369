package net

// Bits of the status in the configuration (virtio 1.2 section 5.1.4).
const (
	statusLinkUp   = 1
	statusAnnounce = 2
)

// status is what the driver reads. The driver that did not accept F_GUEST_ANNOUNCE is never asked to announce.
func (d *Net) status() (s uint16) {
	if !d.unplugged.Load() {
		s |= statusLinkUp
	}
	if d.announcing.Load() {
		s |= statusAnnounce
	}
	return s
}

// unplug notes that the backend has gone, for good: the driver sees the link go down, and what it sends is dropped.
func (d *Net) unplug(why error) {
	if d.unplugged.CompareAndSwap(false, true) {
		d.log.Warn("virtio-net: the link is down: what is behind the card has gone", "card", d.name, "error", why)
		d.changed()
	}
}

// Announce implements [virtio.Announcing]: the driver is asked to tell the network where the guest is now (gratuitous ARP).
func (d *Net) Announce() {
	if d.accepted.Load()&FeatureGuestAnnounce != 0 {
		d.announcing.Store(true)
		d.changed()
	}
}
