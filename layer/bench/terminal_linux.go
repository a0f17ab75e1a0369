package bench

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progress returns what shows how far the measurement is: all the time on a terminal, elsewhere in a line now and then.
func progress(w io.Writer) func(Progress) {
	if terminal(w) {
		return func(p Progress) {
			fmt.Fprint(w, "\r\x1b[K") // to the start of the line, and clear it
			if p.Done < p.Total {
				fmt.Fprintf(w, "%d/%d %s", p.Done+1, p.Total, p.Case)
			}
		}
	}
	told := time.Now()
	return func(p Progress) {
		if time.Since(told) >= quietFor && p.Done < p.Total {
			fmt.Fprintf(w, "measured %d of %d, now %s\n", p.Done, p.Total, p.Case)
			told = time.Now()
		}
	}
}

// quietFor is how long a measurement says nothing where no terminal shows what it says.
const quietFor = time.Minute

func terminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && file.Name() != os.DevNull
}

// width returns the columns of a terminal, and 0 of what is none.
func width(w io.Writer) int {
	if !terminal(w) {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(w.(*os.File).Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
