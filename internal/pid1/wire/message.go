package wire

import "time"

// Protocol is the version of this vocabulary. The guest names it in its [Hello]; the host refuses any other.
const Protocol = 1

// Stream names one of the two output streams of the command.
type Stream string

// The output streams. With a terminal there is only Stdout.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Request is a message from the host to the guest. Exactly one member is set.
type Request struct {
	Run      *Run      `json:"run,omitempty"`
	Winsize  *Winsize  `json:"winsize,omitempty"`
	Signal   *Signal   `json:"signal,omitempty"`
	StdinEOF *StdinEOF `json:"stdinEOF,omitempty"`
	Close    *Close    `json:"close,omitempty"`
	Poweroff *Poweroff `json:"poweroff,omitempty"`
}

// Report is a message from the guest to the host. Exactly one member is set.
type Report struct {
	Hello   *Hello   `json:"hello,omitempty"`
	Started *Started `json:"started,omitempty"`
	Exit    *Exit    `json:"exit,omitempty"`
	Error   *Error   `json:"error,omitempty"`
	Log     *Log     `json:"log,omitempty"`
}

// Run asks for the one command of this guest's life. A second Run is refused with an [Error].
type Run struct {
	// Steps are done in order before the command starts. The first that goes wrong ends the run with an [Error].
	Steps []Step `json:"steps,omitempty"`
	// Argv is the program and its arguments. A program without a slash is looked for in the PATH of Env, after the steps.
	Argv Strings `json:"argv"`
	// Env is the environment, NAME=VALUE. PATH and HOME get a default when they are absent.
	Env Strings `json:"env,omitempty"`
	// Dir is the working directory; empty means "/".
	Dir string `json:"dir,omitempty"`
	// TTY gives the command a pseudo-terminal of Rows x Cols characters as its controlling terminal. Without it the
	// command gets three pipes.
	TTY  bool   `json:"tty,omitempty"`
	Rows uint16 `json:"rows,omitempty"`
	Cols uint16 `json:"cols,omitempty"`
}

// Winsize gives the terminal a new size, in characters.
type Winsize struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Signal is delivered to the process group of the command.
type Signal struct {
	Name string `json:"name"` // as in signal(7): "SIGINT"
}

// StdinEOF says that the command's standard input ends after Bytes bytes in all.
type StdinEOF struct {
	Bytes int64 `json:"bytes"`
}

// Close says that nobody reads the stream any more: the guest closes its end of the pipe and the command gets SIGPIPE.
type Close struct {
	Stream Stream `json:"stream"`
}

// Poweroff ends the guest: before [Exit] it stops what runs, after it the host says that it has read all output.
// The end of the control port means the same.
type Poweroff struct{}

// Hello is the guest's first message.
type Hello struct {
	Protocol    int    `json:"protocol"`
	Kernel      string `json:"kernel"`      // release, as uname -r
	CPUs        int    `json:"cpus"`        // online
	MemoryBytes int64  `json:"memoryBytes"` // as the kernel counts it, without what it keeps for itself
	// Since the kernel's clock began (CLOCK_BOOTTIME, which starts some time after the first instruction):
	Init    time.Duration `json:"initNs"`    // first line of init
	Mounts  time.Duration `json:"mountsNs"`  // proc, sysfs, devtmpfs and the rest are there
	Modules time.Duration `json:"modulesNs"` // modules of the initramfs are loaded
	Control time.Duration `json:"controlNs"` // the ports are open and the host is connected
}

// Started says that the command runs.
type Started struct {
	PID int `json:"pid"`
}

// Exit is the guest's last message. When it is sent all other processes are gone and the file systems are synced, so the
// host may end the machine as soon as it has read StdoutBytes and StderrBytes from the ports.
type Exit struct {
	// Status is that of a shell: the command's own, 128+n after signal n, 126 cannot execute, 127 not found.
	Status int `json:"status"`
	// Signal is the name of the signal that ended the command, if one did.
	Signal      string `json:"signal,omitempty"`
	StdoutBytes int64  `json:"stdoutBytes"`
	StderrBytes int64  `json:"stderrBytes"`
}

// Error says why a request was not carried out.
type Error struct {
	Message string `json:"message"`
}

// Log is a remark for the host's log.
type Log struct {
	Message string `json:"message"`
}
