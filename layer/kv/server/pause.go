package server

// pause is CLIENT PAUSE: commands of clients are put off until it ends.
type pause struct {
	until   int64 // Unix time in milliseconds, 0 for none
	all     bool  // else those that may change keys or tell others
	stalled []*client
}

func pauseClients(k *call) {
	all := true
	switch n := len(k.args); {
	case n > 4:
		k.failSub()
		return
	case n == 4 && is(k.args[3], "WRITE"):
		all = false
	case n == 4 && !is(k.args[3], "ALL"):
		k.fail("ERR CLIENT PAUSE mode must be WRITE or ALL")
		return
	}
	n, ok := k.timeout(k.args[2])
	if !ok {
		return
	}
	p := &k.s.pause
	p.until, p.all = max(p.until, k.l.now+min(n, maxPause)), all || p.until > 0 && p.all
	k.w.Status("OK")
}

// maxPause is a year: later is never.
const maxPause = 365 * 24 * 3600 * 1000

// putsOff says that a command has to wait. Its client is not read from until then.
func (s *Server) putsOff(c *client, cmd *known) bool {
	p := &s.pause
	if p.until == 0 || !p.all && !cmd.spreads && !(cmd.name == "exec" && c.queue != nil && c.queue.spreads) {
		return false
	}
	if !c.stalled {
		c.stalled = true
		p.stalled = append(p.stalled, c)
	}
	return true
}

// unpause has all that waited go on.
func (s *Server) unpause() {
	stalled := s.pause.stalled
	s.pause = pause{}
	for _, c := range stalled {
		s.wake(c)
	}
}

// wake has a client go on that was stalled by a pause, or was blocked.
func (s *Server) wake(c *client) {
	c.loop.woke = append(c.loop.woke, c)
	c.loop.tell()
}

// resume executes what clients have sent while they were paused or blocked.
func (l *loop) resume() {
	for len(l.woke) > 0 {
		all := l.woke
		l.woke = nil
		for _, c := range all {
			if c.stalled = false; c.fd >= 0 {
				l.s.goOn(c)
			}
		}
	}
}
