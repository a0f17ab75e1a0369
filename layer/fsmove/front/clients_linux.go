package front

// tell tells the background of a request of a client until the function that it returns is called. A request for which somebody began to wait for a listing may have waited itself.
func (s *fileSystem) tell(request []byte) (answered func()) {
	pacer, asks := s.m.Pacer(), s.m.Asks()
	r := pacer.Begin()
	return func() {
		waited := asks != s.m.Asks()
		if _, fetched := s.fetching.LoadAndDelete(unique(request)); fetched {
			waited = true
		}
		r.End(waited)
	}
}

// fetches says of a request that it may have to wait for the source.
func (s *fileSystem) fetches(unique uint64) { s.fetching.Store(unique, nil) }
