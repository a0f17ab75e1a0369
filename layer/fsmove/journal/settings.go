package journal

// Settings are what a migration is told beside where it goes, and what became of it.
type Settings struct {
	MountPoint string
	Paused     bool // nothing is fetched that no client waits for
	Changed    bool // a client has changed something: the destination is more than a copy
	GivenUp    bool // all that has arrived is to go
}

// Settings are those of the migration, zero if none were set.
func (j *Journal) Settings() (s Settings, err error) {
	_, err = j.get([]byte{settingsKey}, &s)
	return s, err
}

// SetSettings sets them.
func (c *Change) SetSettings(s Settings) { c.set([]byte{settingsKey}, &s) }

func (s *Settings) write(w *writer) {
	w.text(s.MountPoint)
	w.flag(s.Paused)
	w.flag(s.Changed)
	w.flag(s.GivenUp)
}

func (s *Settings) read(r *reader) {
	s.MountPoint, s.Paused, s.Changed, s.GivenUp = r.text(), r.flag(), r.flag(), r.flag()
}
