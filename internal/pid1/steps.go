package pid1

import (
	"errors"
	"os"

	"usui/internal/pid1/wire"
)

// do carries out one step of the run request.
func do(s wire.Step) error {
	switch s.Do {
	case wire.DoMount:
		return mount(s.Type, s.Source, s.Target, s.Options)
	case wire.DoBind:
		return bind(s.Source, s.Target)
	case wire.DoModule:
		return loadModule(s.Source, s.Options)
	case wire.DoWait:
		return waitFor(portTimeout, func() (bool, error) {
			_, err := os.Stat(s.Target)
			return err == nil, nil
		})
	case wire.DoWrite:
		return os.WriteFile(s.Target, []byte(s.Text), 0o644)
	case wire.DoRoot:
		return switchRoot(s.Target)
	case wire.DoHold:
		return holdKVM()
	case wire.DoHeartbeat:
		return heartbeat()
	case wire.DoNet:
		return configureCard("/sys/class/net", s.Source, s.Target, s.Options)
	}
	return errors.New("there is no such step")
}
