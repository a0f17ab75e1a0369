package server

import "usui/layer/kv/engine"

// backupCommands are not of Redis: "usui kv backup" sends them. A client pulls what it wants, so that no reply is long, and a slow client slows nothing.
func backupCommands() []command {
	const flags = "admin noscript no_multi"
	return []command{
		{"backup", -2, "", 0, 0, 0, nil},
		{"backup|begin", 2, flags, 0, 0, 0, backupBegin},
		{"backup|read", 5, flags, 0, 0, 0, backupRead},
		{"backup|end", 2, flags, 0, 0, 0, func(k *call) { k.s.endBackup(k.c); k.w.Status("OK") }},
	}
}

// backupBegin replies with the length of a segment, and with how much of each there is to read.
func backupBegin(k *call) {
	k.s.endBackup(k.c)
	p, err := k.l.store.Snapshot()
	if err != nil {
		k.fail("ERR " + err.Error())
		return
	}
	k.c.backup = p
	ends := p.Ends()
	k.w.Array(1 + len(ends))
	k.w.Int(int64(p.SegmentBytes()))
	for _, end := range ends {
		k.w.Int(int64(end))
	}
}

// backupRead replies with bytes of a segment: BACKUP READ SEGMENT OFFSET LENGTH.
func backupRead(k *call) {
	var n [3]int
	for i := range n {
		v, ok := k.integer(k.args[2+i])
		if !ok {
			return
		}
		n[i] = int(v)
	}
	if k.c.backup == nil {
		k.fail("ERR BACKUP BEGIN comes first")
		return
	}
	p, err := k.c.backup.Bytes(n[0], n[1], min(n[2], engine.MaxCopy))
	if err != nil {
		k.fail("ERR " + err.Error())
		return
	}
	k.w.Bulk(p)
}

// endBackup lets the room that a client's backup holds be used again.
func (s *Server) endBackup(c *client) {
	if c.backup != nil {
		c.backup.Close()
		c.backup = nil
	}
}
