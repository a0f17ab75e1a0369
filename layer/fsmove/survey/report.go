package survey

import (
	"slices"
	"sync"
)

// Report is what a survey found.
type Report struct {
	Source      Source      `json:"source"`
	Destination Destination `json:"destination"`
	Needed      Room        `json:"needed"`
	Estimate    Estimate    `json:"estimate"`
	Findings    []Finding   `json:"findings"` // the worst first
}

// Source is what was counted. What an inode has counts once, whatever number of names it has.
type Source struct {
	Path        string   `json:"path"`
	Entries     uint64   `json:"entries"`
	Files       uint64   `json:"files"`
	Folders     uint64   `json:"folders"`
	Links       uint64   `json:"symbolic_links"`
	Specials    uint64   `json:"specials"` // devices, fifos, sockets
	Bytes       uint64   `json:"bytes"`    // that files are long
	Allocated   uint64   `json:"allocated_bytes"`
	Sparse      uint64   `json:"sparse_files"`
	Linked      uint64   `json:"linked_inodes"` // with several names
	LinkedNames uint64   `json:"linked_names"`  // of these in the tree
	Largest     Place    `json:"largest_folder"`
	Deepest     Place    `json:"deepest_path"`
	Mounts      []string `json:"mount_points,omitempty"` // within the tree
	Compresses  bool     `json:"may_compress"`           // its file system
}

// Place is the path of something that is the most of its kind, and how much that is.
type Place struct {
	Path  string `json:"path"`
	Count int    `json:"count"`
}

// Destination is what the destination has.
type Destination struct {
	Path    string          `json:"path"`
	Exists  bool            `json:"exists"`
	Asked   string          `json:"asked"` // the path whose file system was asked: what exists of Path
	Room    Room            `json:"room"`
	NameLen int64           `json:"longest_name"`
	Tried   bool            `json:"tried"`
	WhyNot  string          `json:"why_not_tried,omitempty"`
	Has     map[string]bool `json:"has,omitempty"` // by what was tried
}

// Room is what a file system has, or what is needed of it.
type Room struct {
	Bytes  uint64 `json:"bytes"`
	Inodes uint64 `json:"inodes"` // 0 if the file system has no bound
}

// Estimate is how long a move may take.
type Estimate struct {
	EntriesPerSecond float64 `json:"entries_per_second"`
	FilesPerSecond   float64 `json:"files_per_second"` // opened, and their first piece read
	BytesPerSecond   float64 `json:"bytes_per_second"` // behind that
	Seconds          float64 `json:"seconds"`
	How              string  `json:"how"`
}

// Classes of findings.
const (
	Cannot = "cannot be moved"
	Differ = "will differ"
	Know   = "good to know"
)

var classes = []string{Cannot, Differ, Know}

// Finding is one kind of what was found, with the first of its paths.
type Finding struct {
	Class string   `json:"class"`
	What  string   `json:"what"`
	Count uint64   `json:"count,omitempty"` // of entries; 0 for what is of none
	Paths []string `json:"paths,omitempty"`
}

// Movable says that nothing keeps anything from being moved.
func (r *Report) Movable() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Class == Cannot })
}

// findings are what is found by several workers.
type findings struct {
	most int // paths of each

	mu  sync.Mutex
	all []*Finding // guarded by mu
}

// add adds an entry to what was found of its kind. An empty path is of none.
func (f *findings) add(class, what, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.all, func(o *Finding) bool { return o.What == what && o.Class == class })
	if i < 0 {
		i = len(f.all)
		f.all = append(f.all, &Finding{Class: class, What: what})
	}
	if path == "" {
		return
	}
	o := f.all[i]
	if o.Count++; len(o.Paths) < f.most {
		o.Paths = append(o.Paths, path)
	}
}

// sorted are all, the worst first.
func (f *findings) sorted() (all []Finding) {
	for _, class := range classes {
		for _, o := range f.all {
			if o.Class == class {
				all = append(all, *o)
			}
		}
	}
	return all
}
