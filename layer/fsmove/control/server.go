package control

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"

	"usui/internal/metrics/scrape"
	"usui/internal/rundir"
)

// Move is what is asked.
type Move interface {
	Status() Status
	Pause(paused bool) error                       // everything that no client waits for
	Finish(ctx context.Context, how Consent) error // returns when the destination is in place
	Abort(ctx context.Context) error               // returns when nothing is left of the move
}

// Verify is how much of source and destination is compared before the end.
type Verify string

// Ways to verify.
const (
	Full  Verify = "full"  // all data and metadata are read again
	Quick Verify = "quick" // metadata
	None  Verify = "none"
)

// Consent is what who ends a move wants, and can do without.
type Consent struct {
	Verify  Verify
	Skipped bool // that something of the source is not at the destination
}

func consent(r *http.Request) Consent {
	q := r.URL.Query()
	return Consent{Verify(q.Get("verify")), q.Get("skipped") == "true"}
}

// ErrTaken says that a move at this mount point is running.
var ErrTaken = errors.New("a move at this mount point is running; usui fsmove status tells how it is")

// folderEnv names another folder for the sockets than that of root's: for tests, and for moves in containers that share it.
const folderEnv = "USUI_FSMOVE_RUN"

// folder is where the sockets are. It is not that of a session: a move outlives those, and is asked from others.
func folder() rundir.Folder { return rundir.Folder(cmp.Or(os.Getenv(folderEnv), "/run/usui-fsmove")) }

// name is that of the socket of a move: a path may have what a name may not.
func name(mountPoint string) string {
	sum := sha256.Sum256([]byte(mountPoint))
	return hex.EncodeToString(sum[:10])
}

// Serve lets a move be asked, until the server is closed.
func Serve(m Move, mountPoint string, logger *slog.Logger) (*http.Server, error) {
	l, err := folder().Listen(name(mountPoint))
	if errors.Is(err, rundir.ErrTaken) {
		return nil, ErrTaken
	}
	if err != nil {
		return nil, err
	}
	return serve(l, m, logger), nil
}

func serve(l net.Listener, m Move, logger *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(m.Status()) // who asked has gone
	})
	for path, do := range map[string]func(r *http.Request) error{
		"POST /pause":  func(*http.Request) error { return m.Pause(true) },
		"POST /resume": func(*http.Request) error { return m.Pause(false) },
		"POST /finish": func(r *http.Request) error { return m.Finish(r.Context(), consent(r)) },
		"POST /abort":  func(r *http.Request) error { return m.Abort(r.Context()) },
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			err := errors.Join(c.SetReadDeadline(noDeadline), c.SetWriteDeadline(noDeadline)) // to finish takes as long as it takes
			if err == nil {
				err = do(r)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		})
	}
	return scrape.Serve(l, mux, logger)
}
