package netstack

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"
)

// DNS messages, RFC 1035 section 4.1: id, flags, then the counts of questions, answers, authorities and additional records.
const (
	dnsPort        = 53
	dnsHeaderBytes = 12
	dnsMostBytes   = 65535

	dnsResponse  = 0x8000
	dnsRecursion = 0x0180 // desired and available
	dnsOpcode    = 0x7800
	dnsServFail  = 2
	dnsRefused   = 5

	dnsTypeA   = 1
	dnsClassIN = 1
)

// hostName is what the gateway answers for with its own address.
const hostName = "host.usui.internal"

const (
	maxQuestions = 64              // under way; more are dropped, and asked again
	resolverTime = 5 * time.Second // for one resolver to answer
	nameSeconds  = 60              // how long hostName may be kept
)

// question is the first question of a message.
type question struct {
	name  string // in lower case, without the last dot
	kind  uint16
	class uint16
	bytes int // of the message, up to its end
}

// parseQuestion reads the first question of a query. A message with an unusual one is left to the resolver.
func parseQuestion(p []byte) (q question, ok bool) {
	if len(p) < dnsHeaderBytes || binary.BigEndian.Uint16(p[2:4])&(dnsResponse|dnsOpcode) != 0 || binary.BigEndian.Uint16(p[4:6]) != 1 {
		return q, false
	}
	var name []byte
	at := dnsHeaderBytes
	for {
		if at >= len(p) {
			return q, false
		}
		length := int(p[at])
		at++
		if length == 0 {
			break
		}
		if length > 63 || at+length > len(p) { // above 63 is a pointer: there is nothing before it to point to
			return q, false
		}
		if len(name) > 0 {
			name = append(name, '.')
		}
		if name = append(name, p[at:at+length]...); len(name) > 253 {
			return q, false
		}
		at += length
	}
	if at+4 > len(p) {
		return q, false
	}
	q.name = strings.ToLower(string(name))
	q.kind, q.class = binary.BigEndian.Uint16(p[at:at+2]), binary.BigEndian.Uint16(p[at+2:at+4])
	q.bytes = at + 4
	return q, true
}

// dnsAnswer makes an answer to a query with one parsed question: a result code, and addresses of type A.
func dnsAnswer(query []byte, q question, code uint16, addresses ...netip.Addr) []byte {
	p := append([]byte(nil), query[:q.bytes]...)
	flags := binary.BigEndian.Uint16(query[2:4])
	binary.BigEndian.PutUint16(p[2:4], flags&0x0100|dnsResponse|dnsRecursion|code)
	binary.BigEndian.PutUint16(p[6:8], uint16(len(addresses)))
	clear(p[8:12])
	for _, a := range addresses {
		four := a.As4()
		p = append(p, 0xc0, dnsHeaderBytes) // the name of the question
		p = binary.BigEndian.AppendUint16(p, dnsTypeA)
		p = binary.BigEndian.AppendUint16(p, dnsClassIN)
		p = binary.BigEndian.AppendUint32(p, nameSeconds)
		p = binary.BigEndian.AppendUint16(p, 4)
		p = append(p, four[:]...)
	}
	return p
}

// ownAnswer answers what needs no resolver; nil is for one.
func (n *Network) ownAnswer(query []byte, q question) []byte {
	switch {
	case q.name == hostName && q.class == dnsClassIN && q.kind == dnsTypeA:
		return dnsAnswer(query, q, 0, n.cfg.Gateway())
	case q.name == hostName:
		return dnsAnswer(query, q, 0) // the name is there, and has nothing else
	case n.cfg.Restrict:
		return dnsAnswer(query, q, dnsRefused)
	}
	return nil
}

// serveDNS starts the forwarder of UDP; that of TCP is a connection as any other. It ends with ctx.
func (n *Network) serveDNS(ctx context.Context) error {
	conn, err := n.listenUDP(n.cfg.Resolver(), dnsPort)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	slots := make(chan struct{}, maxQuestions)
	n.start(func() {
		buffer := make([]byte, dnsMostBytes)
		for {
			count, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			q, ok := parseQuestion(buffer[:count])
			if !ok {
				continue
			}
			n.stats.questionsAsked.Add(1)
			if answer := n.ownAnswer(buffer[:count], q); answer != nil {
				_, _ = conn.WriteTo(answer, from) // the guest asks again
				continue
			}
			select {
			case slots <- struct{}{}:
			default:
				n.stats.questionsFailed.Add(1)
				continue
			}
			query := append([]byte(nil), buffer[:count]...)
			if !n.start(func() {
				defer func() { <-slots }()
				_, _ = conn.WriteTo(n.ask(ctx, query, q), from)
			}) {
				return
			}
		}
	})
	return nil
}

// ask asks the host's resolvers in turn. Without an answer of any it is one of ours that says so.
func (n *Network) ask(ctx context.Context, query []byte, q question) []byte {
	for _, r := range n.resolvers() {
		if answer, err := askOne(ctx, query, r); err == nil {
			return answer
		}
	}
	n.stats.questionsFailed.Add(1)
	return dnsAnswer(query, q, dnsServFail)
}

// askOne asks one resolver from a socket of its own, so that each question has another port.
func askOne(ctx context.Context, query []byte, resolver netip.AddrPort) ([]byte, error) {
	conn, err := dialUDP(ctx, resolver)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	unhook := context.AfterFunc(ctx, func() { conn.Close() })
	defer unhook()
	if err := conn.SetDeadline(time.Now().Add(resolverTime)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buffer := make([]byte, dnsMostBytes)
	for {
		count, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		p := buffer[:count]
		if count >= dnsHeaderBytes && p[0] == query[0] && p[1] == query[1] && p[2]&(dnsResponse>>8) != 0 {
			return p[:min(count, maxUDPBytes)], nil
		}
	}
}
