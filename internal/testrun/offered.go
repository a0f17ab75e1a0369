package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
)

// offered returns the names of the needs that this machine meets, as "usui doctor" found them.
func offered(ctx context.Context, usui string) ([]string, error) {
	out, err := command(ctx, usui, "doctor", "--json").Output()
	// Status 1 means that usui run cannot work here; the report is complete all the same.
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("%s doctor --json: %w", usui, err)
	}
	names, err := parseOffered(out)
	if err != nil {
		return nil, fmt.Errorf("%s doctor --json: %w", usui, err)
	}
	return names, nil
}

func parseOffered(report []byte) ([]string, error) {
	var r struct {
		Needs []struct {
			Name string `json:"name"`
			OK   bool   `json:"ok"`
		} `json:"needs"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	if len(r.Needs) == 0 {
		return nil, errors.New("it lists no needs")
	}
	var names []string
	for _, n := range r.Needs {
		if n.OK {
			names = append(names, n.Name)
		}
	}
	return names, nil
}
