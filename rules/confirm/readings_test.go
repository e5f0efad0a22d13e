package confirm

import (
	"slices"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// A counter that stayed, and one of another endpoint that grew, contradict only a request that
// began after the first reading and was answered before the second: what came while either was
// read is maybe in it already, or not yet.
func TestCountersReadMeanwhile(t *testing.T) {
	ms := func(n int) time.Time { return t0.Add(time.Duration(n) * time.Millisecond) }
	read := func(b0, b1, a0, a1 int) *flow.Readings {
		return &flow.Readings{Before: flow.Interval{Begin: ms(b0), End: ms(b1)}, After: flow.Interval{Begin: ms(a0), End: ms(a1)}}
	}
	at := func(r *flow.Readings, all ...flow.Observation) []flow.Observation {
		for i := range all {
			all[i].Readings = r
		}
		return all
	}
	stays := func(r *flow.Readings) []flow.Observation {
		return at(r, counter("ip nat OUTPUT 2", redirect, 41, 41), counter(clusterCount, "", 7, 7))
	}
	elsewhere := func(r *flow.Readings) []flow.Observation {
		return at(r, counter("cluster c endpoint 10.107.42.99:80 rq_total", "", 3, 4), counter(endpointCount, "", 7, 7))
	}
	cause := func(r *flow.Readings) []flow.Observation {
		return at(r, counter("cluster.c.upstream_cx_none_healthy", "", 3, 3), counter("cluster.c.upstream_cx_overflow", "", 3, 4))
	}
	// The request is made from 10 to 14, and answered at 13.
	for _, c := range []struct {
		what string
		read *flow.Readings
		rule bool // the SYN lies between the readings
		all  bool // the answer does, too
	}{
		{"before and after", read(0, 9, 15, 16), true, true},
		{"the first goes on when it begins", read(0, 11, 15, 16), false, false},
		{"the first begins later", read(20, 21, 25, 26), false, false},
		{"the second begins before the answer", read(0, 9, 12, 16), true, false},
		{"the second ends before it begins", read(0, 1, 2, 3), false, false},
		{"it is not known when", nil, false, false},
	} {
		want := func(yes bool, not Word) Word {
			if yes {
				return Contradicted
			}
			return not
		}
		asked := asks(10, app, cart)
		watch := Known{ProxyUID: 1337, HasProxy: true}
		r := Check(watched(), append(asked, stays(c.read)...), flow.Loss{}, watch)
		if word(r, 0, 1) != want(c.rule, Confirmed) { // by conntrack
			t.Errorf("%s: rule %v %v", c.what, word(r, 0, 1), r.Steps[1].Why)
		}
		r = Check(watched(), append(asked, stays(c.read)[1]), flow.Loss{}, watch)
		if word(r, 0, 4) != want(c.all, NotObserved) {
			t.Errorf("%s: cluster %v %v", c.what, word(r, 0, 4), r.Steps[4].Why)
		}
		r = Check(watched(), append(asked, elsewhere(c.read)...), flow.Loss{}, watch)
		if word(r, 0, 5) != want(c.all, NotObserved) {
			t.Errorf("%s: endpoint %v %v", c.what, word(r, 0, 5), r.Steps[5].Why)
		}
		shut := slices.Concat(asked[:4], []flow.Observation{pkt(13, "lo", svc, app, flow.FIN|flow.ACK, 0)}, cause(c.read))
		none := blocked()
		none.Request.HTTP = watched().Request.HTTP
		if r = Check(none, shut, flow.Loss{}, watch); word(r, 0, 4) != want(c.all, NotObserved) {
			t.Errorf("%s: cause %v %v", c.what, word(r, 0, 4), r.Steps[4].Why)
		}
		// What meshtop sends itself always lies between them.
		r = Check(watched(), slices.Concat(asked, []flow.Observation{answer("200", "ok")}, stays(c.read)), flow.Loss{}, ours)
		if word(r, 0, 1) != Contradicted {
			t.Errorf("%s: sent, rule %v %v", c.what, word(r, 0, 1), r.Steps[1].Why)
		}
	}
}

// A request is the only one on its connection only if all that its client wrote is known: what
// was let go, and what follows a head in its packet and is no body, may be another one.
func TestOneOfSeveral(t *testing.T) {
	post := "POST /cart HTTP/1.1\r\nHost: svc\r\nContent-Length: 4\r\n\r\n"
	const endpoint = 5
	for _, c := range []struct {
		what    string
		wrote   []string
		thinned bool
		alone   bool
	}{
		{"one", []string{cart}, false, true},
		{"one with a body", []string{post + "body"}, false, true},
		{"one, its body in another packet", []string{post, "body"}, false, true},
		{"one, its body in two", []string{post + "bo", "dy"}, false, true},
		{"two in one packet", []string{cart + other}, false, false},
		{"two in one packet, the first with a body", []string{post + "body" + other}, false, false},
		{"two, the second begins with the end of a body", []string{post + "bo", "dy" + other}, false, false},
		{"no body is asked for, and more comes", []string{cart, "x"}, false, false},
		{"an unknown length", []string{"POST /cart HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"}, false, true},
		{"some was let go", []string{post, "body"}, true, false},
	} {
		seen := asks(0, app, c.wrote[0])
		seen[3].Seq, seen[3].Thinned = 100, c.thinned
		for i, w := range c.wrote[1:] {
			p := wrote(2, "lo", app, trap, w)
			p.Seq = 100 + uint32(len(c.wrote[0]))
			seen = slices.Insert(seen, 4+i, p)
		}
		tr := watched()
		if c.wrote[0] != cart && c.wrote[0] != cart+other {
			tr.Request.HTTP.Method = "POST"
		}
		grew := []flow.Observation{counter(clusterCount, "", 7, 8), counter(endpointCount, "", 7, 8)}
		r := Check(tr, append(seen, grew...), flow.Loss{}, Known{})
		if got := word(r, 0, endpoint) == Confirmed; got != c.alone {
			t.Errorf("%s: endpoint %v %v", c.what, word(r, 0, endpoint), r.Steps[endpoint].Why)
		}
	}
	// Another client's connection of which some was let go may have asked at any time.
	beside := asks(-20, client(20999), other)
	for thinned, want := range map[bool]Word{false: Confirmed, true: NotObserved} {
		beside[3].Thinned = thinned
		r := Check(watched(), slices.Concat(beside, asks(0, app, cart), dials(2, up, "")), flow.Loss{}, ours)
		if word(r, 0, endpoint) != want {
			t.Errorf("beside one that was let go %v: %v %v", thinned, word(r, 0, endpoint), r.Steps[endpoint].Why)
		}
	}
}
