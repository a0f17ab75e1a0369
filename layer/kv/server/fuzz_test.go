package server

import (
	"log/slog"
	"net"
	"syscall"
	"testing"

	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// FuzzCommands gives any bytes to the commands of a server, as two clients have sent them, and looks at what is left of each.
func FuzzCommands(f *testing.F) {
	for _, seed := range []string{
		"SET a 1\r\nGET a\r\nSETRANGE a 5 x\r\nGETRANGE a -3 2\r\nINCRBYFLOAT a 1e3\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n",
		"SCAN 0 MATCH [a-\\ COUNT 3\r\nKEYS *[^\r\n", "EXPIRE a 10 NX\r\nHELLO 3 AUTH a b\r\nCLIENT LIST\r\nINFO\r\n", "CONFIG GET *\r\nCOMMAND\r\nFLUSHALL\r\nRENAME a b\r\n",
		"WATCH a b\r\nSET a 1\r\nMULTI\r\nGET a\r\nPUBLISH c x\r\nEXEC\r\nMULTI\r\nSET b\r\nEXEC\r\nDISCARD\r\nMULTI\r\nRESET\r\n",
		"SUBSCRIBE c d\r\nPSUBSCRIBE c*\r\nPUBLISH c x\r\nPING\r\nUNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nSSUBSCRIBE s\r\nPUBSUB CHANNELS *\r\nPUBSUB NUMSUB c\r\n",
		"CLIENT REPLY SKIP\r\nCLIENT PAUSE 1 WRITE\r\nSET a 1\r\nCLIENT UNPAUSE\r\nCLIENT KILL ID 1 SKIPME NO\r\nCLIENT LIST ID 1 2\r\n",
		"CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 3\r\nSLOWLOG GET -1\r\nCOMMAND GETKEYS MSET a b c d\r\nOBJECT ENCODING a\r\nMEMORY USAGE a SAMPLES 1\r\nINFO ALL\r\nSHUTDOWN NOSAVE\r\n",
		"HSET h f 1 g 2\r\nHINCRBY h f 3\r\nHGETALL h\r\nHRANDFIELD h -3 WITHVALUES\r\nHSCAN h 0 MATCH f*\r\nHDEL h f g\r\nCOPY h i\r\n",
		"RPUSH l a b c\r\nLPOS l a RANK -1 COUNT 0\r\nLINSERT l BEFORE b x\r\nLMOVE l m LEFT RIGHT\r\nLTRIM l 1 -2\r\nLMPOP 2 m l RIGHT COUNT 3\r\nLREM l -1 b\r\n",
		"ZADD z 1 a -inf b (1 c\r\nZADD z GT CH 2 a 0x1p3 d\r\nZRANGE z (1 +inf BYSCORE REV LIMIT 0 -1 WITHSCORES\r\nZUNIONSTORE y 2 z z WEIGHTS 1 inf AGGREGATE MIN\r\nZRANGE z [a + BYLEX\r\nZPOPMAX z 3\r\n",
		"SORT l BY w*->f LIMIT 0 2 GET # GET n* DESC ALPHA STORE d\r\nBLPOP none 0.5\r\nRPUSH none x\r\n", "MULTI\r\nBLMOVE a b LEFT LEFT 0\r\nEXEC\r\nBZMPOP 0 1 z MIN COUNT 2\r\nZADD z 1 a\r\n",
		"SADD s a b c\r\nSADD t b\r\nSMOVE s t a\r\nSINTERSTORE u s t\r\nSPOP s 2\r\nSINTERCARD 2 s t LIMIT 1\r\nSDIFF t s\r\nOBJECT ENCODING t\r\nGET t\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		s := newServer(t)
		for id := range uint64(2) {
			c := &client{loop: s.loops[0], fd: 1000 + int(id), id: id, trusted: true}
			c.parser.MaxBulk, c.parser.MaxCommand, c.out.Max = s.maxBulk(), 2*s.maxBulk(), outputBytes
			s.execute(c, p)
			if at := c.ready(); at > len(c.out.Out) || c.sent > at {
				t.Errorf("%q: %d bytes of %d may be sent, %d were", p, at, len(c.out.Out), c.sent)
			}
		}
		if err := s.store.Drain(); err != nil {
			t.Error(err)
		}
	})
}

// newServer makes one that nobody can reach, on a disk in memory.
func newServer(t testing.TB) *Server {
	t.Helper()
	return serverOn(t, disktest.New())
}

func newServerOn(t testing.TB, open func(engine.Options) (*engine.Store, error)) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Listeners: []int{fd}, Logger: slog.New(slog.DiscardHandler), Open: open})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestCommandsAllocateNothing(t *testing.T) {
	s := newServer(t)
	c := &client{loop: s.loops[0], fd: 1000, trusted: true}
	c.parser.MaxBulk = s.maxBulk()
	p := []byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n")
	s.execute(c, p)
	if n := testing.AllocsPerRun(100, func() {
		c.out.Out, c.marks = c.out.Out[:0], c.marks[:0]
		s.execute(c, p)
	}); n != 0 {
		t.Errorf("SET, GET and INCR allocate %v times, want 0", n)
	}
}

func TestCollectionsInSteadyStateAllocateNothing(t *testing.T) {
	s := newServer(t)
	c := &client{loop: s.loops[0], fd: 1000, trusted: true}
	c.parser.MaxBulk = s.maxBulk()
	p := []byte("HSET h f 1 g 2\r\nHGET h f\r\nHINCRBY h n 1\r\nSADD s a\r\nSISMEMBER s a\r\nHGETALL h\r\nSMEMBERS s\r\n")
	s.execute(c, p)
	if n := testing.AllocsPerRun(100, func() {
		c.out.Out, c.marks = c.out.Out[:0], c.marks[:0]
		s.execute(c, p)
	}); n != 0 {
		t.Errorf("commands of hashes and sets allocate %v times, want 0", n)
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"", "", true}, {"", "a", false}, {"a*c", "abc", true}, {"a*c", "abcd", false}, {"a**c", "ac", true},
		{"?", "", false}, {"?", "a", true}, {"[abc]", "b", true}, {"[^abc]", "b", false}, {"[a-c]x", "bx", true}, {"[c-a]", "b", true},
		{"[a-c", "b", true}, {"\\*", "*", true}, {"\\*", "a", false}, {"[\\]]", "]", true}, {"*a*b*c", "xxaxxbxxc", true}, {"[", "[", false},
	} {
		if got := match([]byte(tt.pattern), []byte(tt.text)); got != tt.want {
			t.Errorf("match(%q, %q) = %v, want %v", tt.pattern, tt.text, got, tt.want)
		}
	}
}
