package report

import (
	"encoding/json"
	"fmt"
	"io"

	"usui/layer/bench/where"
)

// maxFile bounds a report's JSON in bytes; one of 60 rows has some 200 KiB.
const maxFile = 4 << 20

// maxRows bounds the rows of a report.
const maxRows = 1000

// Read reads a report that Write wrote. The bytes may come from anywhere: what no benchmark writes is refused.
// Fields that are not known are passed over.
func Read(r io.Reader) (Report, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return Report{}, err
	}
	if len(b) > maxFile {
		return Report{}, fmt.Errorf("report: more than %d bytes", maxFile)
	}
	var head struct{ Version int }
	if err := json.Unmarshal(b, &head); err != nil {
		return Report{}, fmt.Errorf("report: %v", err)
	}
	if head.Version != Version {
		return Report{}, fmt.Errorf("report: version %d, only %d is known", head.Version, Version)
	}
	// Rows are counted before they are decoded: each takes two bytes here and hundreds as a Row.
	var file struct {
		Report
		Rows []json.RawMessage `json:"rows"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return Report{}, fmt.Errorf("report: %v", err)
	}
	if len(file.Rows) > maxRows {
		return Report{}, fmt.Errorf("report: %d rows, at most %d are read", len(file.Rows), maxRows)
	}
	rep := file.Report
	for i, raw := range file.Rows {
		var row Row
		if err := json.Unmarshal(raw, &row); err != nil {
			return Report{}, fmt.Errorf("report: row %d: %v", i, err)
		}
		rep.Rows = append(rep.Rows, row)
	}
	if err := rep.check(); err != nil {
		return Report{}, fmt.Errorf("report: %v", err)
	}
	return rep, nil
}

// Write writes the report as JSON that [Read] reads. Texts become plain ones, and what Read would refuse is
// an error.
func (r Report) Write(w io.Writer) error {
	r = r.plain()
	if err := r.check(); err != nil {
		return fmt.Errorf("report: %v", err)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// texts are all texts of a row.
func (r *Row) texts() []*string {
	return []*string{&r.Name, &r.Group, &r.Doc, &r.NA, &r.Method, &r.Halves}
}

// plain returns the report with texts that can be shown as they are: reasons may hold anything.
func (r Report) plain() Report {
	r.Rows = append([]Row{}, r.Rows...) // an empty list in JSON, not null
	for i := range r.Rows {
		for _, text := range r.Rows[i].texts() {
			*text = where.Plain(*text)
		}
	}
	return r
}
