package doctor

import (
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy"
)

// Bounds: in a large mesh many a Service has no pods for good.
const (
	maxDeadEnds = 1000 // that are looked for
	maxTold     = 8    // of each kind that are told one by one
)

// routes finds what leads nowhere. One object's routes stand in a table for each port that the
// mesh knows, and several may lead to one cluster: that is one finding.
func (e *examiner) routes() {
	type key struct{ cluster, origin string }
	at, more := map[key]int{}, map[Kind]int{}
	kinds := map[Kind]int{}
	for _, d := range e.snap.Envoy.DeadEnds(maxDeadEnds) {
		k, kind, severity := key{d.Cluster, d.Origin}, NoEndpoints, Warning
		if d.Gone {
			kind, severity = NoCluster, Problem
		}
		i, told := at[k]
		switch {
		case told && i >= 0:
			if f := &e.out[i]; len(f.Evidence) < maxEvidence {
				f.Evidence = append(f.Evidence, d.Evidence...)
			}
		case told:
		case kinds[kind] == maxTold:
			at[k] = -1
			more[kind]++
		default:
			at[k] = len(e.out)
			kinds[kind]++
			e.add(kind, severity, d.Evidence, routeWord(d), d.Cluster, d.Origin)
		}
	}
	if n := more[NoCluster]; n > 0 {
		e.add(NoCluster, Problem, nil, strconv.Itoa(n))
	}
	if n := more[NoEndpoints]; n > 0 {
		e.add(NoEndpoints, Warning, nil, strconv.Itoa(n))
	}
}

// routeWord is what a route is called: one without a name is its host's.
func routeWord(d envoy.DeadEnd) string {
	if d.Route != "" {
		return d.Route
	}
	return "of host " + d.Host
}
