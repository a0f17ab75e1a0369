package tcp

// piece is payload where the link put it.
type piece struct {
	seq   sequence // of early ones
	frame uint32
	data  []byte
}

func (p *piece) end() sequence { return p.seq + sequence(len(p.data)) }

// pieces is a queue.
type pieces struct {
	all  []piece
	head int
}

func (q *pieces) len() int        { return len(q.all) - q.head }
func (q *pieces) at(i int) *piece { return &q.all[q.head+i] }
func (q *pieces) push(p piece)    { q.all = append(q.all, p) }
func (q *pieces) insert(i int, p piece) {
	q.all = append(q.all, piece{})
	copy(q.all[q.head+i+1:], q.all[q.head+i:])
	q.all[q.head+i] = p
}

func (q *pieces) remove(i int) {
	if i == 0 {
		q.pop()
		return
	}
	copy(q.all[q.head+i:], q.all[q.head+i+1:])
	q.all = q.all[:len(q.all)-1]
}

// pop drops the first. The queue moves to the front when it is empty, or when half of it is.
func (q *pieces) pop() {
	q.head++
	switch {
	case q.head == len(q.all):
		q.all, q.head = q.all[:0], 0
		if cap(q.all) > 64 { // what a burst took
			q.all = nil
		}
	case q.head > 32 && q.head > len(q.all)/2:
		q.all, q.head = q.all[:copy(q.all, q.all[q.head:])], 0
	}
}
