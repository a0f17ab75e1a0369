package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
)

// usui is the built program, which "make test" makes first.
const usui = "bin/usui"

// offered returns the names of the needs that this machine meets, as "usui doctor" found them.
func offered(ctx context.Context) ([]string, error) {
	out, err := command(ctx, usui, "doctor", "--json").Output()
	// Status 1 means that usui run cannot work here; the report is complete all the same.
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("%s doctor --json: %w", usui, err)
	}
	return parseOffered(out)
}

func parseOffered(report []byte) ([]string, error) {
	var r struct {
		Needs []struct {
			Name string `json:"name"`
			OK   bool   `json:"ok"`
		} `json:"needs"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return nil, fmt.Errorf("read the report of %s doctor --json: %w", usui, err)
	}
	if len(r.Needs) == 0 {
		return nil, fmt.Errorf("%s doctor --json lists no needs", usui)
	}
	var names []string
	for _, n := range r.Needs {
		if n.OK {
			names = append(names, n.Name)
		}
	}
	return names, nil
}
