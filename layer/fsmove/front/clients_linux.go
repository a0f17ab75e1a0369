package front

import "encoding/binary"

// uniqueAt is where struct fuse_in_header of linux/fuse.h has the number of a request.
const uniqueAt = 8

// tell tells the background of a request of a client until the function that it returns is called. A request for which somebody began to wait for a listing may have waited itself.
func (s *fileSystem) tell(request []byte) (answered func()) {
	pacer, asks := s.m.Pacer(), s.m.Asks()
	r := pacer.Begin()
	return func() {
		waited := asks != s.m.Asks()
		if len(request) >= uniqueAt+8 {
			if _, fetched := s.fetching.LoadAndDelete(binary.NativeEndian.Uint64(request[uniqueAt:])); fetched {
				waited = true
			}
		}
		r.End(waited)
	}
}

// fetches says of a request that it may have to wait for the source.
func (s *fileSystem) fetches(unique uint64) { s.fetching.Store(unique, nil) }
