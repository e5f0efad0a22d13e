package check

import (
	"sort"

	"github.com/meshtop/meshtop/rules/flow"
)

// Object is something of the configuration that a case can cover.
type Object struct {
	Kind   flow.Stage // Listener, FilterChain, VirtualHost or Route
	Parent string     // what it is in; empty where its name alone tells it
	Name   string
	Ref    string // where it stands in the dump
}

// Coverage is how much of one kind the cases cover: what the traces of those that are met
// came by. A case that is not met, or unknown, proves nothing of its way, and so covers
// nothing; Envoy's router_check_tool counts so as well (test/tools/router_check/router.cc).
type Coverage struct {
	Kind   flow.Stage
	Total  int
	Hit    int
	Missed []Object
}

// Report is the answer to a table of cases.
type Report struct {
	Results  []Result
	Coverage []Coverage

	seen visited
}

// Count says how many cases have status s.
func (r Report) Count(s Status) int {
	n := 0
	for _, c := range r.Results {
		if c.Status == s {
			n++
		}
	}
	return n
}

// Covered is the share of all objects that the cases cover, in percent; false where there
// is no object, and so nothing to cover.
func (r Report) Covered() (percent float64, ok bool) {
	hit, total := 0, 0
	for _, c := range r.Coverage {
		hit, total = hit+c.Hit, total+c.Total
	}
	if total == 0 {
		return 0, false
	}
	return 100 * float64(hit) / float64(total), true
}

// Run judges every case by its trace.
func Run(cases []Case, trace func(Case) flow.Trace) Report {
	r := Report{seen: visited{refs: map[string]bool{}, names: map[named]bool{}}}
	for _, c := range cases {
		t := trace(c)
		res := Judge(c, t)
		if res.Status == Met {
			r.seen.trace(t)
		}
		r.Results = append(r.Results, res)
	}
	return r
}

// Cover counts which of the objects the cases of Run cover.
func (r *Report) Cover(objects []Object) { r.Coverage = r.seen.coverage(objects) }

type named struct {
	kind flow.Stage
	name string
}

// visited is what traces came by: by place in the dump where steps tell it, and by name.
type visited struct {
	refs  map[string]bool
	names map[named]bool
}

func (v *visited) trace(t flow.Trace) {
	v.legs(t.Legs)
	for _, w := range t.Variants {
		v.legs(w.Legs)
	}
}

func (v *visited) legs(legs []flow.Leg) {
	for _, l := range legs {
		for _, s := range l.Steps {
			switch s.Stage {
			case flow.Listener, flow.Handoff, flow.FilterChain, flow.VirtualHost, flow.Route:
			default:
				continue
			}
			for _, e := range s.Evidence {
				if e.Ref != "" {
					v.refs[e.Ref] = true
				}
			}
			kind := s.Stage
			if kind == flow.Handoff {
				kind = flow.Listener
			}
			v.names[named{kind, s.Subject}] = true
		}
	}
}

// coverage counts by place where objects have one, since names of chains and routes are
// often empty or not unique; by name where they have none.
func (v *visited) coverage(objects []Object) []Coverage {
	var out []Coverage
	for _, kind := range []flow.Stage{flow.Listener, flow.FilterChain, flow.VirtualHost, flow.Route} {
		c := Coverage{Kind: kind}
		for _, o := range objects {
			if o.Kind != kind {
				continue
			}
			c.Total++
			if o.Ref != "" && v.refs[o.Ref] || o.Ref == "" && v.names[named{kind, o.Name}] {
				c.Hit++
			} else {
				c.Missed = append(c.Missed, o)
			}
		}
		sort.SliceStable(c.Missed, func(i, j int) bool {
			a, b := c.Missed[i], c.Missed[j]
			return a.Parent < b.Parent || a.Parent == b.Parent && a.Name < b.Name
		})
		if c.Total > 0 {
			out = append(out, c)
		}
	}
	return out
}
