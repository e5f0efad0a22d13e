package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/e2e/kernel"
	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/rules/flow"
)

// packet is the first packet of one connection: how it was made, the rules that it hit, and
// where it ended.
type packet struct {
	src, dst netip.AddrPort
	as       netip.AddrPort // its source in the end
	hits     []string
	to       netip.AddrPort // as a local socket got it, or as it left; zero: it did neither
	local    bool
}

// String is for the message of a test that failed.
func (p packet) String() string {
	return fmt.Sprintf("%s>%s %q to %s local %v", p.src, p.dst, p.hits, p.to, p.local)
}

// seen is what all parties saw of one request.
type seen struct {
	answer  lab.Answer
	packets []packet // the client's first
	proxied bool     // the kernel gave the connection to Envoy
	line    lab.Line // of the filter that served it, else the listener's; nil: Envoy wrote none
	verdict flow.Verdict
	caller  flow.Symptom
	outcome flow.Outcome // only what an access log tells
}

// observer watches one lab.
type observer struct {
	l     *lab.Lab
	ear   *kernel.Ear
	ports map[uint16]bool // where Envoy's listeners listen
}

// observe sends a request and gathers what was seen of it.
func (o *observer) observe(ctx context.Context, r flow.Request) (seen, error) {
	if _, err := o.ear.Events(); err != nil {
		return seen{}, err
	}
	var s seen
	var err error
	if s.answer, err = o.l.Send(ctx, r); err != nil {
		return seen{}, err
	}
	events, err := o.ear.Events()
	if err != nil {
		return seen{}, err
	}
	if s.packets = packets(events); len(s.packets) == 0 {
		return s, fmt.Errorf("the kernel told of no packet")
	}
	// What an earlier request left behind, such as the end of a loop, may come before.
	mine := slices.IndexFunc(s.packets, func(p packet) bool { return p.src == s.answer.Local })
	if mine < 0 && s.answer.Local.IsValid() {
		return s, fmt.Errorf("the kernel told of no packet from %s", s.answer.Local)
	}
	p := s.packets[max(mine, 0)]
	s.packets = append([]packet{p}, slices.Delete(s.packets, max(mine, 0), max(mine, 0)+1)...)
	s.proxied = p.local && o.ports[p.to.Port()] && r.Proto == flow.TCP && s.answer.TCP != flow.TCPRefused
	if s.proxied {
		if err := o.readLog(ctx, &s, p.as.Port()); err != nil {
			return s, err
		}
	}
	s.judge(r)
	return s, nil
}

// readLog waits for the lines of the request's connection.
func (o *observer) readLog(ctx context.Context, s *seen, port uint16) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	lines, err := o.l.Wait(ctx, port, complete)
	if err != nil {
		return err
	}
	s.line = lines[0]
	for _, l := range lines {
		if l.Text("logged_by") != "listener" {
			s.line = l
		}
	}
	s.outcome = flow.Outcome{Listener: s.line.Text("listener_name"), FilterChain: s.line.Text("filter_chain_name"), VirtualHost: s.line.Text("xds_virtual_host_name"),
		Cluster: s.line.Text("upstream_cluster_raw"), Endpoint: s.line.Text("upstream_host")}
	if s.caller.Flags = s.line.Text("response_flags"); s.caller.Flags == "-" {
		s.caller.Flags = ""
	}
	if s.looped() {
		// The innermost connection of a loop is the one that Envoy refused.
		for _, l := range o.l.Lines() {
			if f := l.Text("response_flags"); f != "-" {
				s.caller.Flags = f
			}
		}
	}
	o.l.Forget()
	return nil
}

// complete says whether a connection's lines are all there. A listener's own line comes when
// the connection ends: after those of its HTTP requests, and before that of a TCP proxy,
// which is to be expected where the listener's line has a cluster.
func complete(lines []lab.Line) bool {
	for _, l := range lines {
		if l.Text("logged_by") == "listener" {
			return l.Text("upstream_cluster_raw") == "" || len(lines) > 1
		}
	}
	return false
}

// judge puts what was seen into the words of a trace.
func (s *seen) judge(r flow.Request) {
	s.caller.TCP, s.caller.Code = s.answer.TCP, s.answer.Code
	if r.HTTP == nil && strings.HasPrefix(string(s.answer.Body), "HTTP/1.1 ") {
		// Bytes that are no HTTP request were answered in HTTP.
		s.caller.Code, _ = strconv.Atoi(strings.Fields(string(s.answer.Body))[1])
	}
	switch {
	case s.looped():
		s.verdict = flow.Looped
	case s.answer.TCP == flow.TCPTimeout:
		s.verdict = flow.Dropped
	case s.answer.TCP == flow.TCPOK && (!s.proxied || s.byServer() || r.HTTP == nil && s.caller.Code == 0):
		s.verdict = flow.Delivered
	default:
		s.verdict = flow.Refused
	}
}

// byServer says whether one of the lab's servers answered, not Envoy.
func (s *seen) byServer() bool { return s.answer.Header.Get("x-server") != "" }

// looped says whether Envoy dialled itself over and over.
func (s *seen) looped() bool { return len(s.packets) > 100 }

// packets takes the events apart by connection. Only the first event of a base chain carries
// the packet; a packet that loopback carries comes in a second time and stays the same; one
// that is sent again counts once.
func packets(events []kernel.Event) []packet {
	var out []packet
	index := map[netip.AddrPort]int{}
	began := map[netip.AddrPort]int{}
	at, again := -1, false
	for _, e := range events {
		if e.Src.IsValid() {
			i, known := index[e.Src]
			switch begins := !e.Own() || e.Chain == "out" || e.Chain == "pre" && e.In != 1; {
			case !known && !begins && at >= 0 && !out[at].to.IsValid():
				// The last one has another source now: to the kernel, connections to many
				// addresses that are all sent to one port may come to be the same.
				i, index[e.Src] = at, at
			case !known:
				i = len(out)
				index[e.Src] = i
				out = append(out, packet{src: e.Src, dst: e.Dst})
			}
			out[i].as = e.Src
			if at = i; e.Own() && (e.Chain == "out" || e.Chain == "pre" && e.In != 1) {
				began[e.Src]++
			}
			again = began[e.Src] > 1
			out[at].end(e)
		}
		if at >= 0 && !again && !e.Own() && e.Rule > 0 {
			out[at].hits = append(out[at].hits, e.Subject())
		}
	}
	return out
}

// end notes where the packet is when all rules have seen it: for a local socket, or about to
// leave by a device that is not lo.
func (p *packet) end(e kernel.Event) {
	if e.Own() && (e.Chain == "end-in" || e.Chain == "end-out" && e.Out != 1) {
		p.to, p.local = e.Dst, e.Chain == "end-in"
	}
}
