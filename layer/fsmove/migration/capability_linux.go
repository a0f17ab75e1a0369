package migration

import (
	"context"

	"usui/layer/fsmove/tree"
)

// capabilityName is the attribute that has file capabilities (capabilities(7)). Each write to the file removes it, also one of what was fetched.
const capabilityName = "security.capability"

// capabilityOf are the file capabilities that something of the source has.
func capabilityOf(m *tree.Meta) string {
	for _, x := range m.Xattrs {
		if x.Name == capabilityName {
			return string(x.Value)
		}
	}
	return ""
}

// capable says that a file has capabilities which are the source's. f.io is held, and the file is open.
func (f *File) capable() bool {
	if f.rec.Capability == "" {
		return false
	}
	n, err := tree.GetXattr(f.dst, "", capabilityName, nil)
	return err == nil && n > 0
}

// giveCapability gives a file the capabilities back that a write has taken away. f.io is held, and the file is open.
func (f *File) giveCapability() error {
	if f.rec.Capability == "" {
		return nil
	}
	return tree.SetXattr(f.dst, "", capabilityName, []byte(f.rec.Capability), 0)
}

// OwnCapability is called before a client changes the capabilities of a file: from then on they are the file's own.
func (m *Migration) OwnCapability(ctx context.Context, h tree.Handle) error {
	f, err := m.Use(h)
	if err != nil || f == nil {
		return err
	}
	defer f.Release()
	f.mu.Lock()
	has := f.rec.Capability != ""
	f.mu.Unlock()
	if !has {
		return nil
	}
	return f.Settle(ctx)
}
